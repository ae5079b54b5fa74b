"""How the next token is chosen: the caller's parameters, and the sampler that applies them to a row of logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from appliance.engine.constraint import Constraint
from appliance.engine.llama import Context, Logits, Model, SamplerChain
from appliance.errors import EngineFault

SEEDS = 0xFFFF_FFFF  # llama.cpp takes this value itself for "choose one"
NOT_FINITE = "not_finite"  # the code of a fault that is the model's


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters of one answer, with OpenAI's names and llama.cpp's order of application.

    `temperature` 0 is greedy. `top_k` 0, `top_p` 1, `min_p` 0, `repeat_penalty` 1 are off. `seed` is below SEEDS.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def penalised(self) -> bool:
        return bool(self.repeat_penalty != 1 or self.presence_penalty or self.frequency_penalty)

    @property
    def plain_greedy(self) -> bool:
        """Argmax is enough."""
        return self.temperature == 0 and not self.penalised and not self.logit_bias


class Sampler:
    """The state of one sequence's sampling. `free` it when the sequence ends."""

    def __init__(
        self,
        model: Model,
        window: int,
        sampling: Sampling,
        prompt: Sequence[int],
        constraint: Constraint | None,
    ) -> None:
        self._constraint = constraint
        self._chain = None if sampling.plain_greedy else _chain(model, window, sampling)
        if self._chain is not None:
            self._chain.see(prompt)

    def next(self, context: Context, index: int, row: Logits) -> int:
        """Choose a token from `row`, the logits at batch `index` of `context`; the row is overwritten where a
        constraint forbids tokens. Raises EngineFault when the model gave no finite logits."""
        check_finite(row)
        if self._constraint is not None:
            self._constraint.mask(row)
        token = int(row.argmax()) if self._chain is None else self._chain.sample(context, index)
        if self._constraint is not None:
            self._constraint.accept(token)
        return token

    def free(self) -> None:
        if self._chain is not None:
            self._chain.free()
            self._chain = None


def check_finite(row: Logits) -> None:
    """Raises EngineFault when the model gave values that are not numbers."""
    if not np.isfinite(row.max()):
        raise EngineFault("the model gave no finite logits; is the adapter damaged?", code=NOT_FINITE)


def _chain(model: Model, window: int, sampling: Sampling) -> SamplerChain:
    chain = SamplerChain()
    if sampling.logit_bias:
        chain.bias(model.n_vocab, dict(sampling.logit_bias))
    if sampling.repeat_penalty != 1:
        chain.repeat_penalty(model.n_vocab, window, sampling.repeat_penalty)
    if sampling.presence_penalty or sampling.frequency_penalty:
        chain.answer_penalties(model.n_vocab, window, sampling.frequency_penalty, sampling.presence_penalty)
    if sampling.temperature == 0:
        chain.greedy()
    else:
        chain.truncations(sampling.top_k, sampling.top_p, sampling.min_p, sampling.temperature, sampling.seed)
    return chain


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with its natural-log probability under the model (before bias, penalties and temperature)
    and the `top` alternatives, best first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


def score(row: Logits, token: int, top: int) -> TokenScore:
    """Log-softmax of `row`, (n_vocab,), at `token`, with the `top` best tokens."""
    shifted = row.astype(np.float64) - row.max()
    logs = shifted - np.log(np.exp(shifted).sum())
    best: list[int] = []
    if top:
        best = np.argpartition(logs, -top)[-top:].tolist()
        best.sort(key=lambda t: -logs[t])
    return TokenScore(token, float(logs[token]), tuple((t, float(logs[t])) for t in best))
