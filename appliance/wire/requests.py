"""Inference requests. OpenAI's fields that would change the answer but are not supported are refused; those without
effect here are accepted and ignored (`IGNORED`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from appliance.wire.base import Ignored, Request, Unsupported

IGNORED = (
    "user",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "prediction",
)


def _only_text(value: object) -> object:
    """Say what a list of content parts may hold, before the union's branches say what each would have liked."""
    for part in value if isinstance(value, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text":
            raise ValueError(
                f"only text parts are supported here, not {kind!r}: images, audio and files are not read"
            )
    return value


def _only_speakers(role: object) -> object:
    if role in ("tool", "function"):
        raise ValueError("tools are not supported here; roles are system, developer, user and assistant")
    return role


class TextPart(Request):
    type: Literal["text"]
    text: str


class Message(Request):
    role: Annotated[Literal["system", "developer", "user", "assistant"], BeforeValidator(_only_speakers)]
    content: Annotated[str | list[TextPart] | None, BeforeValidator(_only_text)] = None
    name: Ignored = None
    refusal: Ignored = None
    annotations: Ignored = None
    tool_calls: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None

    @model_validator(mode="after")
    def _says_something(self) -> Message:
        """An assistant's turn may be empty (a refusal); the others' may not."""
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a {self.role} message needs content")
        return self

    @property
    def text(self) -> str:
        """The content as one string; parts are joined as they are."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or ())


class StreamOptions(Request):
    include_usage: bool = False
    include_obfuscation: Ignored = None


class JsonSchema(Request):
    name: str = "answer"
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class ResponseFormat(Request):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_given(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError('type "json_schema" needs a json_schema')
        return self


Bias = Annotated[float, Field(ge=-100, le=100)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Stop = Annotated[str, Field(min_length=1, max_length=256)]


class Sampled(Request):
    """What chat and completions have in common."""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stop_token_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=64)] | None = None
    ignore_eos: bool | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=1024)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    response_format: ResponseFormat | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    user: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    prompt_cache_options: Ignored = None
    parallel_tool_calls: Ignored = None
    reasoning_effort: Ignored = None
    verbosity: Ignored = None
    prediction: Ignored = None
    tools: Unsupported = None
    tool_choice: Unsupported = None
    functions: Unsupported = None
    function_call: Unsupported = None
    audio: Unsupported = None
    web_search_options: Unsupported = None
    moderation: Unsupported = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(Sampled):
    """POST /v1/chat/completions"""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None

    @model_validator(mode="after")
    def _logprobs_asked(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.max_tokens == 0:
            raise ValueError("max_tokens must be at least 1")
        return self


Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
MAX_PROMPTS = 64


def _prompt_shape(value: object) -> object:
    """Say once what a prompt may be, before each branch of the union does."""
    parts = value if isinstance(value, list) else [value]
    kinds = {type(part) for part in parts}
    if not parts or len(kinds) != 1 or not kinds <= {str, int, list} or (kinds != {str} and value in parts):
        raise ValueError("give a text, a list of texts, a list of token ids, or a list of such lists; none empty")
    return value


class CompletionRequest(Sampled):
    """POST /v1/completions: the prompt is the caller's own text as it stands, control tokens included."""

    prompt: Annotated[
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | Tokens
        | Annotated[list[Tokens], Field(min_length=1, max_length=MAX_PROMPTS)],
        BeforeValidator(_prompt_shape),
    ]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Literal[1] | None = None
    suffix: Unsupported = None

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if self.prompt and isinstance(self.prompt[0], int):
            return [[t for t in self.prompt if isinstance(t, int)]]
        return [p for p in self.prompt if not isinstance(p, int)]


MAX_TEXTS = 256


def _only_texts(value: object) -> object:
    """Say once what an input may be, before each branch of the union does."""
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, int | list) for part in parts):
        raise ValueError("give texts, not token ids: those of another tokenizer mean nothing here")
    if not 1 <= len(parts) <= MAX_TEXTS or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"give a text, or 1 to {MAX_TEXTS} of them; none empty")
    return value


Text = Annotated[str, Field(min_length=1)]


class EmbeddingRequest(Request):
    """POST /v1/embeddings"""

    model: Annotated[str, Field(min_length=1, max_length=256)]
    input: Annotated[
        Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)], BeforeValidator(_only_texts)
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Literal[384] | None = None
    user: Ignored = None

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


class FeedbackRequest(Request):
    """POST /v1/feedback. None is what is not said; the `use` "none" takes an earlier one back."""

    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    rating: Annotated[int, Field(ge=-1, le=1)] | None = None
    correction: Annotated[str, Field(max_length=65_536)] | None = None
    comment: Annotated[str, Field(max_length=8192)] | None = None
    cohort: Annotated[str, Field(max_length=64)] | None = None
    use: Literal["for", "against", "none"] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if all(value is None for value in (self.rating, self.correction, self.comment, self.cohort, self.use)):
            raise ValueError("give at least one of rating, correction, comment, cohort, use")
        return self
