"""One sequence: what is asked of the engine, how far it is, and the events that tell its waiter."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from appliance.engine.constraint import Constraint
from appliance.engine.llama import Logits, Model
from appliance.engine.prefix_cache import Ids
from appliance.engine.sampling import Sampler, Sampling, TokenScore, check_finite, score
from appliance.engine.text import Delta, TextStream
from appliance.errors import ApplianceError

FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class SequenceRequest:
    """A prompt to continue or to score, in the lane of `lane`.

    `max_new` tokens at most are generated (0: score only). `score_from`: log-probabilities of the prompt's
    tokens from this index (at least 1) on; `logprobs`: this many alternatives with every scored token, None for
    no scores of the answer. `deadline` is on the monotonic clock, in seconds. `background` work runs only in
    steps that no foreground work wants. `partition`: sequences of other partitions never share state with it.
    `cohort`: whose places in the waiting room it takes.
    """

    lane: str
    prompt: Items[int]
    max_new: int
    sampling: Sampling = field(default_factory=Sampling)
    stops: Items[str] = ()
    stop_tokens: frozenset[int] = frozenset()
    ignore_end: bool = False
    logprobs: int | None = None
    score_from: int | None = None
    constraint: Constraint | None = None
    deadline: float = float("inf")
    background: bool = False
    partition: str = ""
    cohort: str = ""


@dataclass(frozen=True, slots=True)
class PromptScores:
    """Log-probabilities of the prompt's tokens from `score_from` on, given what precedes each."""

    scores: tuple[TokenScore, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer. Times in seconds on the monotonic clock."""

    reason: FinishReason
    prompt_tokens: int
    reused_tokens: int
    answer_tokens: int
    submitted: float
    admitted: float
    first_token: float
    ended: float


@dataclass(frozen=True, slots=True)
class Failed:
    error: ApplianceError


AnswerEvent: TypeAlias = Delta | PromptScores | Finished
Event: TypeAlias = AnswerEvent | Failed
Sink: TypeAlias = Callable[[Event], None]


@dataclass(slots=True, eq=False)
class Sequence:
    """The engine thread's state of one request. `n_past` tokens of `tokens` lie in the lane's memory; `slot` is the
    llama.cpp sequence id while admitted. Parking it (`slot = None`, `n_past = 0`) loses no answer: the tokens
    so far are its prompt when it is admitted again."""

    request: SequenceRequest
    sink: Sink
    submitted: float
    tokens: list[int] = field(init=False)
    text: TextStream = field(init=False)
    slot: int | None = None
    n_past: int = 0
    reused: int = 0
    generated: int = 0
    admitted: float = 0.0
    first_token: float = 0.0
    cancelled: bool = False
    sampler: Sampler | None = None
    prompt_scores: list[TokenScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = list(self.request.prompt)
        self.text = TextStream(self.request.stops)

    @property
    def ids(self) -> Ids:
        return np.asarray(self.tokens, np.int32)

    @property
    def left(self) -> int:
        """Tokens not yet in memory; 1 while decoding."""
        return len(self.tokens) - self.n_past

    @property
    def decoding(self) -> bool:
        return self.generated > 0 and self.left == 1

    def wants_logits(self, position: int) -> bool:
        """Whether the logits after the token at `position` are needed."""
        if position == len(self.tokens) - 1:
            return self.request.max_new > 0
        return self._wants_score(position)

    def _wants_score(self, position: int) -> bool:
        """Whether the prompt token after `position` is to be scored and was not before a parking."""
        if self.request.score_from is None:
            return False
        return self.request.score_from + len(self.prompt_scores) <= position + 1 < len(self.request.prompt)

    def score_prompt(self, position: int, row: Logits) -> None:
        """Note the log-probability of the prompt token after `position`."""
        check_finite(row)
        self.prompt_scores.append(score(row, self.tokens[position + 1], self.request.logprobs or 0))

    def take(self, token: int, scored: TokenScore | None, model: Model) -> tuple[Delta, FinishReason | None]:
        """Append a sampled token; returns what may be sent and why the answer ends, if it does."""
        self.tokens.append(token)
        self.generated += 1
        if self._ends(token, model):
            return self.text.feed(b"", scored), "stop"
        delta = self.text.feed(model.pieces[token], scored)
        if self.text.stopped:
            return delta, "stop"
        return delta, "length" if self.generated >= self.request.max_new else None

    def _ends(self, token: int, model: Model) -> bool:
        if token in self.request.stop_tokens:
            return True
        return token in model.end_tokens and not self.request.ignore_end

    def finished(self, reason: FinishReason, now: float) -> Finished:
        return Finished(
            reason,
            len(self.request.prompt),
            min(self.reused, len(self.request.prompt)),
            self.generated,
            self.submitted,
            self.admitted,
            self.first_token or now,
            now,
        )
