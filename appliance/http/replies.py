"""From the engine's events to OpenAI's replies: whole, and in chunks. Pure."""

from __future__ import annotations

import base64 as encoding
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from appliance.answer import AnswerStarted, ChoiceEvent
from appliance.embeddings import Embedded
from appliance.engine.sampling import TokenScore
from appliance.engine.sequence import Finished, PromptScores
from appliance.engine.text import Delta
from appliance.http.logprobs import Echo, Offsets, Vocabulary
from appliance.routing.encoder_package import NAME
from appliance.wire.replies import (
    ChatAnswer,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatLogprobs,
    Completion,
    CompletionChoice,
    Embedding,
    EmbeddingList,
    EmbeddingUsage,
    FinishReason,
    PromptDetails,
    Timings,
    Usage,
)


@dataclass(slots=True)
class ChoiceResult:
    """One choice so far."""

    text: str = ""
    prompt_scores: list[TokenScore] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    finished: Finished | None = None

    @property
    def all_scores(self) -> list[TokenScore]:
        """Of the prompt, then of the answer."""
        return [*self.prompt_scores, *self.scores]

    def add(self, said: ChoiceEvent) -> None:
        event = said.event
        if isinstance(event, Delta):
            self.text += event.text
            self.scores += event.scores
        elif isinstance(event, PromptScores):
            self.prompt_scores += event.scores
        else:
            self.finished = event


def usage(finished: Sequence[Finished], choices: int) -> Usage:
    """A prompt's tokens count once, however many choices it has."""
    prompt = sum(f.prompt_tokens for f in finished[::choices])
    answer = sum(f.answer_tokens for f in finished)
    cached = PromptDetails(cached_tokens=sum(f.reused_tokens for f in finished[::choices]))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=answer,
        total_tokens=prompt + answer,
        prompt_tokens_details=cached,
    )


def timings(finished: Sequence[Finished], choices: int) -> Timings:
    """Of the first choice; token counts of all. `prompt_n` are the prompt tokens computed, `cache_n` those reused."""
    counts, first = usage(finished, choices), finished[0]
    cached = counts.prompt_tokens_details.cached_tokens
    prompt_ms = (first.first_token - first.admitted) * 1e3
    predicted_ms = (max(f.ended for f in finished) - first.first_token) * 1e3
    prompt_n, predicted_n = counts.prompt_tokens - cached, counts.completion_tokens
    return Timings(
        queue_ms=round((first.admitted - first.submitted) * 1e3, 3),
        cache_n=cached,
        prompt_n=prompt_n,
        prompt_ms=round(prompt_ms, 3),
        prompt_per_token_ms=round(prompt_ms / max(prompt_n, 1), 3),
        prompt_per_second=round(prompt_n / max(prompt_ms, 1e-3) * 1e3, 3),
        predicted_n=predicted_n,
        predicted_ms=round(predicted_ms, 3),
        predicted_per_token_ms=round(predicted_ms / max(predicted_n, 1), 3),
        predicted_per_second=round(predicted_n / max(predicted_ms, 1e-3) * 1e3, 3),
    )


def fingerprint(placed: AnswerStarted) -> str:
    """Names what answered: the release's digest, or the base."""
    target = placed.place.target
    return f"fp_{target.digest[:12]}" if target else "fp_base"


def chat(
    placed: AnswerStarted, gathered: Sequence[ChoiceResult], vocabulary: Vocabulary, scored: bool
) -> ChatCompletion:
    finished = [g.finished for g in gathered if g.finished]
    return ChatCompletion(
        id=placed.request_id,
        created=placed.created,
        model=placed.model,
        choices=[
            ChatChoice(
                index=index,
                message=ChatAnswer(content=g.text),
                logprobs=vocabulary.chat(g.scores) if scored else None,
                finish_reason=finished[index].reason,
            )
            for index, g in enumerate(gathered)
        ],
        usage=usage(finished, len(finished)),
        timings=timings(finished, len(finished)),
        system_fingerprint=fingerprint(placed),
    )


class ChatChunks:
    """The stream of a chat: who speaks, the deltas, the ends (timings on the last), and the usage if wanted."""

    def __init__(
        self, placed: AnswerStarted, choices: int, vocabulary: Vocabulary, scored: bool, wants_usage: bool
    ) -> None:
        self._placed, self._choices, self._vocabulary = placed, choices, vocabulary
        self._scored, self._wants_usage = scored, wants_usage

    def opening(self) -> Iterator[ChatChunk]:
        for index in range(self._choices):
            yield _chat_chunk(self._placed, index, ChatDelta(role="assistant", content=""))

    def delta(self, said: ChoiceEvent) -> Iterator[ChatChunk]:
        event = said.event
        if isinstance(event, Delta) and (event.text or event.scores):
            logprobs = self._vocabulary.chat(event.scores) if self._scored else None
            yield _chat_chunk(self._placed, said.index, ChatDelta(content=event.text), logprobs)

    def closing(self, finished: Sequence[Finished]) -> Iterator[ChatChunk]:
        for index, end in enumerate(finished):
            chunk = _chat_chunk(self._placed, index, ChatDelta(), reason=end.reason)
            last = index == len(finished) - 1
            yield chunk.model_copy(update={"timings": timings(finished, self._choices)}) if last else chunk
        if self._wants_usage:
            counts = usage(finished, self._choices)
            empty = _chat_chunk(self._placed, 0, ChatDelta())
            yield empty.model_copy(update={"choices": [], "usage": counts})


def _chat_chunk(
    placed: AnswerStarted,
    index: int,
    delta: ChatDelta,
    logprobs: ChatLogprobs | None = None,
    reason: FinishReason | None = None,
) -> ChatChunk:
    return ChatChunk(
        id=placed.request_id,
        created=placed.created,
        model=placed.model,
        choices=[ChatChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=reason)],
        system_fingerprint=fingerprint(placed),
    )


def completion(
    placed: AnswerStarted,
    gathered: Sequence[ChoiceResult],
    echoes: Sequence[Echo],
    vocabulary: Vocabulary,
    scored: bool,
) -> Completion:
    finished = [g.finished for g in gathered if g.finished]
    choices = len(gathered) // len(echoes)
    return _completion(
        placed,
        [
            CompletionChoice(
                index=index,
                text=echoes[index // choices].text + g.text,
                logprobs=vocabulary.completion(echoes[index // choices], g.all_scores, Offsets()) if scored else None,
                finish_reason=finished[index].reason,
            )
            for index, g in enumerate(gathered)
        ],
    ).model_copy(update={"usage": usage(finished, choices), "timings": timings(finished, choices)})


class CompletionChunks:
    """The stream of a completion: echo and scores first, the deltas, the ends, and the usage if wanted."""

    def __init__(
        self,
        placed: AnswerStarted,
        choices: int,
        echoes: Sequence[Echo],
        vocabulary: Vocabulary,
        scored: bool,
        wants_usage: bool,
    ) -> None:
        self._placed, self._choices, self._echoes, self._vocabulary = placed, choices, echoes, vocabulary
        self._scored, self._wants_usage = scored, wants_usage
        self._offsets = [Offsets() for _ in range(choices * len(echoes))]
        self._echoed = [False] * len(self._offsets)

    def opening(self) -> Iterator[Completion]:
        """Echoes go out with the first event of their choice, since their scores come with it."""
        return iter(())

    def delta(self, said: ChoiceEvent) -> Iterator[Completion]:
        part = ChoiceResult()
        part.add(said)
        opening = Echo() if self._echoed[said.index] else self._echoes[said.index // self._choices]
        self._echoed[said.index] = True
        text = opening.text + part.text
        if text or part.scores or part.prompt_scores:
            offsets = self._offsets[said.index]
            logprobs = self._vocabulary.completion(opening, part.all_scores, offsets) if self._scored else None
            choice = CompletionChoice(index=said.index, text=text, logprobs=logprobs)
            yield _completion(self._placed, [choice])

    def closing(self, finished: Sequence[Finished]) -> Iterator[Completion]:
        for index, end in enumerate(finished):
            rest = "" if self._echoed[index] else self._echoes[index // self._choices].text
            choice = CompletionChoice(index=index, text=rest, finish_reason=end.reason)
            chunk = _completion(self._placed, [choice])
            last = index == len(finished) - 1
            yield chunk.model_copy(update={"timings": timings(finished, self._choices)}) if last else chunk
        if self._wants_usage:
            yield _completion(self._placed, []).model_copy(update={"usage": usage(finished, self._choices)})


def _completion(placed: AnswerStarted, choices: list[CompletionChoice]) -> Completion:
    return Completion(
        id=placed.request_id,
        created=placed.created,
        model=placed.model,
        choices=choices,
        system_fingerprint=fingerprint(placed),
    )


def embeddings(found: Embedded, *, base64: bool) -> EmbeddingList:
    """As OpenAI's, in the order of the texts."""
    data = [
        Embedding(
            index=index,
            embedding=encoding.b64encode(vector.astype("<f4").tobytes()).decode() if base64 else vector.tolist(),
        )
        for index, vector in enumerate(found.vectors)
    ]
    usage = EmbeddingUsage(prompt_tokens=found.tokens, total_tokens=found.tokens)
    return EmbeddingList(data=data, model=NAME, usage=usage)
