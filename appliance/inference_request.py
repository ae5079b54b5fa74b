"""An inference request as the inside of the house sees it, made from the wire's models."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from appliance.chat import Turn, conversation_text
from appliance.engine.sampling import SEEDS, Sampling
from appliance.errors import InvalidRequest
from appliance.routing.placement import RoutingInput
from appliance.wire.requests import ChatRequest, CompletionRequest, ResponseFormat

Endpoint: TypeAlias = Literal["chat", "completions"]
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's default of the legacy endpoint


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What came with the request beside its body. `metadata` holds lower-case names."""

    metadata: Mapping[str, str]
    session: str | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """`turns` for chat, `prompts` (text or token ids) for completions. `max_new` None: the configured default.
    `logprobs`: alternatives with each token, None for no log-probabilities. `echo`: the prompt is scored and
    returned too. `probe_of`: the logged request that this repeats for a report, in the background."""

    endpoint: Endpoint
    model: str
    context: RequestContext
    turns: Sequence[Turn]
    prompts: Sequence[str | list[int]]
    sampling: Sampling
    max_new: int | None
    stops: tuple[str, ...]
    stop_tokens: frozenset[int]
    ignore_end: bool
    logprobs: int | None
    echo: bool
    choices: int
    response_format: ResponseFormat | None
    probe_of: str | None = None

    @property
    def asked(self) -> RoutingInput:
        """What routing reads."""
        raw = "\n".join(prompt for prompt in self.prompts if isinstance(prompt, str))
        return RoutingInput(self.model, conversation_text(self.turns) or raw, self.context.metadata)

    @property
    def parameters(self) -> dict[str, Any]:
        """For the log: what shaped the answer."""
        sampling = self.sampling
        names = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty")
        given = {name: getattr(sampling, name) for name in (*names, "seed")}
        if sampling.logit_bias:
            given["logit_bias"] = {str(t): b for t, b in sampling.logit_bias.items()}
        given |= {"n": self.choices, "stop": list(self.stops), "stop_token_ids": sorted(self.stop_tokens)}
        given |= {"ignore_eos": self.ignore_end, "echo": self.echo, "logprobs": self.logprobs}
        if self.response_format is not None:
            given["response_format"] = self.response_format.model_dump(by_alias=True, exclude_none=True)
        return given


def from_chat(request: ChatRequest, context: RequestContext, n_vocab: int) -> InferenceRequest:
    """Raises InvalidRequest naming the field."""
    tops = request.top_logprobs or 0
    return InferenceRequest(
        endpoint="chat",
        turns=[(message.role, message.text) for message in request.messages],
        prompts=(),
        max_new=request.max_completion_tokens or request.max_tokens,
        logprobs=tops if request.logprobs else None,
        echo=False,
        **_common(request, context, n_vocab),
    )


def from_completion(request: CompletionRequest, context: RequestContext, n_vocab: int) -> InferenceRequest:
    """Raises InvalidRequest naming the field."""
    for prompt in request.prompts:
        if not prompt:
            raise InvalidRequest("an empty prompt cannot be continued: give at least one character", param="prompt")
        if isinstance(prompt, list) and max(prompt) >= n_vocab:
            raise InvalidRequest(f"token ids lie below {n_vocab}, the base's vocabulary", param="prompt")
    return InferenceRequest(
        endpoint="completions",
        turns=(),
        prompts=request.prompts,
        max_new=DEFAULT_COMPLETION_TOKENS if request.max_tokens is None else request.max_tokens,
        logprobs=request.logprobs,
        echo=bool(request.echo),
        **_common(request, context, n_vocab),
    )


def _common(request: ChatRequest | CompletionRequest, context: RequestContext, n_vocab: int) -> dict[str, Any]:
    stop_tokens = frozenset(request.stop_token_ids or ())
    if request.ignore_eos and _format(request.response_format):
        raise InvalidRequest(
            "ignore_eos and response_format contradict each other: JSON has an end", param="ignore_eos"
        )
    if any(token >= n_vocab for token in stop_tokens):
        raise InvalidRequest(f"token ids lie below {n_vocab}, the base's vocabulary", param="stop_token_ids")
    return {
        "model": request.model,
        "context": context,
        "sampling": _sampling(request, n_vocab),
        "stops": request.stops,
        "stop_tokens": stop_tokens,
        "ignore_end": bool(request.ignore_eos),
        "choices": request.n or 1,
        "response_format": _format(request.response_format),
    }


def _format(wanted: ResponseFormat | None) -> ResponseFormat | None:
    return None if wanted is None or wanted.type == "text" else wanted


def _sampling(request: ChatRequest | CompletionRequest, n_vocab: int) -> Sampling:
    seed = secrets.randbelow(SEEDS) if request.seed is None else request.seed % SEEDS
    return Sampling(
        temperature=_temperature(request.temperature),
        top_k=request.top_k or 0,
        top_p=1.0 if request.top_p is None else request.top_p,
        min_p=request.min_p or 0.0,
        repeat_penalty=1.0 if request.repeat_penalty is None else request.repeat_penalty,
        presence_penalty=request.presence_penalty or 0.0,
        frequency_penalty=request.frequency_penalty or 0.0,
        seed=seed,
        logit_bias=_biases(request.logit_bias or {}, n_vocab),
    )


def _temperature(wanted: float | None) -> float:
    """By less than a hundred-thousandth logits overflow: it is as good as none."""
    if wanted is None:
        return 1.0
    return wanted if wanted >= 1e-5 else 0.0


def _biases(given: Mapping[str, float], n_vocab: int) -> dict[int, float]:
    biases: dict[int, float] = {}
    for token, bias in given.items():
        if not token.isascii() or not token.isdigit() or len(token) > 9 or int(token) >= n_vocab:
            raise InvalidRequest(f"logit_bias: {token!r} is not a token id below {n_vocab}", param="logit_bias")
        biases[int(token)] = bias
    return biases
