"""Inference replies: OpenAI's shapes with llama-server's `timings`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from appliance.wire.base import Reply


class PromptDetails(Reply):
    cached_tokens: int


class Usage(Reply):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Timings(Reply):
    """llama-server's field names; milliseconds, and tokens a second."""

    queue_ms: float
    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float


class TopLogprob(Reply):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(Reply):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


FinishReason: TypeAlias = Literal["stop", "length"]


class ChatChoice(Reply):
    index: int
    message: ChatAnswer
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(Reply):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings
    system_fingerprint: str


class ChatDelta(Reply):
    omitted = frozenset({"role", "content"})
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChatChunkChoice(Reply):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Reply):
    omitted = frozenset({"usage", "timings"})
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    timings: Timings | None = None
    system_fingerprint: str


class CompletionLogprobs(Reply):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Reply):
    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: FinishReason | None = None


class Completion(Reply):
    omitted = frozenset({"usage", "timings"})
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
    timings: Timings | None = None
    system_fingerprint: str


class Embedding(Reply):
    """`embedding`: numbers, or base64 of little-endian 32-bit floats."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Reply):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Reply):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class ModelMeta(Reply):
    cohort: str | None = None
    version: int | None = None
    digest: str | None = None
    state: str | None = None
    context: int | None = None


class ModelEntry(Reply):
    """As vLLM lists adapters: `parent` is the base's id."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None
    meta: ModelMeta


class ModelList(Reply):
    object: Literal["list"] = "list"
    data: list[ModelEntry]


class FeedbackReply(Reply):
    id: str
    request_id: str


class ErrorBody(Reply):
    message: str
    type: str
    param: str | None
    code: str


class ErrorReply(Reply):
    error: ErrorBody
