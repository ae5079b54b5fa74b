"""The JSON on the wire: what is taken, what is refused and by which name, and what replies leave out."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from appliance.wire.operator import KeyRequest, PromoteRequest, ReleaseAddRequest, RouteRequest
from appliance.wire.replies import ChatAnswer, ChatChunk, ChatChunkChoice, ChatDelta, ErrorBody
from appliance.wire.requests import IGNORED, ChatRequest, CompletionRequest, FeedbackRequest, Message

HI = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "auto", "messages": HI}
TEXT: dict[str, Any] = {"model": "auto", "prompt": "hi"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def faults(model: type[BaseModel], given: dict[str, Any]) -> list[str]:
    """The fields found wrong, with their place."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return [".".join(map(str, fault["loc"])) for fault in caught.value.errors()]


def named(field: str, model: type[BaseModel], given: dict[str, Any]) -> bool:
    """It, or something in it, is found wrong; "" is the request as a whole."""
    return any(found == field or found.startswith(f"{field}.") for found in faults(model, given))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}},
        {"temperature": 0, "top_p": 1, "top_k": 0, "min_p": 0.0, "repeat_penalty": 1.1},
        {"presence_penalty": -2, "frequency_penalty": 2.0, "seed": -(1 << 63), "n": 16},
        {"seed": (1 << 63) - 1, "max_tokens": 1, "max_completion_tokens": 5},
        {"stop": "\n"},
        {"stop": ["a"] * 16, "stop_token_ids": [0, 1], "ignore_eos": True},
        {"logit_bias": {"5": -100, "6": 100.0}, "logprobs": True, "top_logprobs": 20},
        {"logprobs": False, "top_logprobs": 0},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object"}},
        {"response_format": SCHEMA},
        {"metadata": {f"k{i}": "v" * 512 for i in range(16)}},
        {"modalities": ["text"], "tools": [], "tool_choice": "none", "functions": None, "audio": None},
        {
            "messages": [
                {"role": "system", "content": "s"},
                *HI,
                {"role": "assistant", "content": "a", "refusal": None},
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}], "name": "n"}]},
        dict.fromkeys(IGNORED, "whatever"),
        {name: {"a": [1]} for name in IGNORED},
        dict.fromkeys(("stream", "stop", "temperature", "n", "seed", "logit_bias", "max_tokens", "response_format")),
    ],
)
def test_chat_takes(more: dict[str, Any]) -> None:
    ChatRequest.model_validate(CHAT | more)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": HI * 1025}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0"),
        ({"messages": [{"role": "system", "content": None}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "colour": "red"}]}, "messages.0.colour"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}, "messages.0.tool_calls"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
            "messages.0.content",
        ),
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"model": "m" * 257}, "model"),
        ({"temperature": 2.01}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repeat_penalty": 0}, "repeat_penalty"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -2.5}, "frequency_penalty"),
        ({"seed": 1 << 63}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": True}, "n"),
        ({"stream": 1}, "stream"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": {"include_usages": True}}, "stream_options.include_usages"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
        ({"max_tokens": 0}, ""),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
        ({"top_logprobs": 5}, ""),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 5}, "logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"metadata": {f"k{i}": "" for i in range(17)}}, "metadata"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"web_search_options": {"a": 1}}, "web_search_options"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"temprature": 1}, "temprature"),
        ({"grammar": "root ::= x"}, "grammar"),
        ({"prompt": "x"}, "prompt"),
    ],
)
def test_chat_refuses_by_name(more: dict[str, Any], field: str) -> None:
    assert named(field, ChatRequest, CHAT | more)


def test_ignored_and_refused_fields_are_in_the_models_as_said() -> None:
    for request in (ChatRequest, CompletionRequest):
        assert set(IGNORED) <= set(request.model_fields)
        assert request.model_config["extra"] == "forbid"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("hi", ["hi"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["a"] * 64, ["a"] * 64),
    ],
)
def test_completion_prompts(prompt: object, prompts: list[str | list[int]]) -> None:
    assert CompletionRequest.model_validate(TEXT | {"prompt": prompt}).prompts == prompts


@pytest.mark.parametrize(
    "prompt", [[], [[]], ["a", 1], [1, "a"], [1.5], [-1], [[1], "a"], None, 5, ["a"] * 65, [True]]
)
def test_completion_prompts_that_are_none(prompt: object) -> None:
    assert {name.split(".")[0] for name in faults(CompletionRequest, TEXT | {"prompt": prompt})} == {"prompt"}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"best_of": 2}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 21}, "logprobs"),
        ({"messages": HI}, "messages"),
    ],
)
def test_completions_refuse_by_name(more: dict[str, Any], field: str) -> None:
    assert named(field, CompletionRequest, TEXT | more)


def test_completions_may_ask_for_nothing_but_scores() -> None:
    request = CompletionRequest.model_validate(TEXT | {"max_tokens": 0, "echo": True, "logprobs": 0, "best_of": 1})
    assert (request.max_tokens, request.echo, request.logprobs) == (0, True, 0)


def test_small_readings() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    message = Message.model_validate({"role": "user", "content": parts})
    assert Message.model_validate({"role": "assistant", "content": None}).text == ""
    assert message.text == "ab"
    assert ChatRequest.model_validate(CHAT | {"stop": "x"}).stops == ("x",)
    assert ChatRequest.model_validate(CHAT | {"stop": ["x", "y"]}).stops == ("x", "y")
    assert ChatRequest.model_validate(CHAT).stops == ()
    assert not ChatRequest.model_validate(CHAT).wants_usage
    assert ChatRequest.model_validate(CHAT | {"stream_options": {"include_usage": True}}).wants_usage


def test_replies_omit_what_openai_omits_and_keep_null_elsewhere() -> None:
    assert ChatDelta(content="x").model_dump() == {"content": "x"}
    choice = ChatChunkChoice(index=0, delta=ChatDelta())
    assert choice.model_dump() == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}
    chunk = ChatChunk(id="i", created=1, model="m", choices=[choice], system_fingerprint="f").model_dump()
    assert "usage" not in chunk and "timings" not in chunk
    assert ErrorBody(message="m", type="t", param=None, code="c").model_dump()["param"] is None
    answer = ChatAnswer(content="").model_dump()
    assert answer == {"role": "assistant", "content": "", "refusal": None}


@pytest.mark.parametrize(
    ("model", "given", "field"),
    [
        (FeedbackRequest, {"request_id": "r"}, ""),
        (FeedbackRequest, {"request_id": "r", "use": None}, ""),
        (FeedbackRequest, {"request_id": "", "rating": 1}, "request_id"),
        (FeedbackRequest, {"request_id": "r", "rating": 2}, "rating"),
        (FeedbackRequest, {"request_id": "r", "use": "maybe"}, "use"),
        (FeedbackRequest, {"request_id": "r", "correction": "x" * 65_537}, "correction"),
        (RouteRequest, {}, ""),
        (RouteRequest, {"text": "x", "messages": HI}, ""),
        (RouteRequest, {"text": "x", "metadata": {"a": 1}}, "metadata.a"),
        (PromoteRequest, {"cohort": "legal", "version": 0}, "version"),
        (PromoteRequest, {"cohort": "legal", "version": "3"}, "version"),
        (ReleaseAddRequest, {"path": "", "cohort": "legal"}, "path"),
        (KeyRequest, {"name": "n", "scopes": ["admin"]}, "scopes.0"),
        (KeyRequest, {"name": ""}, "name"),
    ],
)
def test_the_other_requests_refuse_by_name(model: type[BaseModel], given: dict[str, Any], field: str) -> None:
    assert named(field, model, given)


@pytest.mark.parametrize(
    "given",
    [{"rating": 0}, {"rating": -1}, {"correction": ""}, {"comment": "c"}, {"cohort": "legal"}, {"use": "none"}],
)
def test_feedback_says_at_least_one_thing(given: dict[str, Any]) -> None:
    FeedbackRequest.model_validate({"request_id": "r", **given})
