"""Every parameter: what is refused, by which name, and what the good values do."""

from __future__ import annotations

import json
import math

import httpx
import pytest

from appliance.wire.requests import IGNORED
from tests.http.raw import exchange, head
from tests.http.running import Json, Running, chat

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
BAD: list[tuple[str, list[object]]] = [
    ("model", ["", 7, None, "x" * 257]),
    ("messages", [[], None, "hi", {}]),
    ("temperature", [-0.1, 2.1, "1", [], True, 1e400]),
    ("top_p", [0, 1.01, -1, "0.5", {}]),
    ("top_k", [-1, 1.5, "3", 2**31]),
    ("min_p", [-0.1, 1.1, "x"]),
    ("repeat_penalty", [0, -1, 11, "x"]),
    ("presence_penalty", [-2.1, 2.1, "x"]),
    ("frequency_penalty", [-2.1, 2.1, "x"]),
    ("seed", [1.5, "1", 2**63, -(2**63) - 1, True]),
    ("stop", ["", [""], ["x"] * 17, ["x" * 257], 3, [3]]),
    ("stop_token_ids", [[-1], ["1"], [10**6], 3, [1] * 65]),
    ("ignore_eos", [1, "true"]),
    ("max_tokens", [-1, 1.5, "8", True]),
    ("max_completion_tokens", [0, -1, 1.5, "8"]),
    ("logit_bias", [{"1": 101}, {"1": -101}, {"1": "x"}, {"x": 1}, {"-1": 1}, {"999999": 1}, [1], {"²": 1}]),
    ("n", [0, 17, 1.5, "2"]),
    ("logprobs", [1, "true"]),
    ("top_logprobs", [-1, 21, "1", 1.5]),
    ("stream", [1, "true"]),
    ("stream_options", [[], {"include_usage": 1}, {"nonsense": True}]),
    (
        "response_format",
        ["json", {}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "schema": {}}],
    ),
    ("metadata", [{"a": 1}, [], {"a" * 65: "x"}, {"a": "x" * 513}, {str(i): "x" for i in range(17)}]),
    ("modalities", [["text", "audio"], ["audio"]]),
]
UNSUPPORTED: list[tuple[str, object]] = [
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("tool_choice", "auto"),
    ("functions", [{"name": "f"}]),
    ("function_call", "auto"),
    ("audio", {"voice": "alloy", "format": "wav"}),
    ("web_search_options", {"search_context_size": "low"}),
]


def refused(reply: httpx.Response, field: str) -> Json:
    """The error of a 400 that names the field."""
    assert reply.status_code == 400, f"{field}: {reply.status_code} {reply.text[:300]}"
    error: Json = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] is not None and error["param"].split(".")[0] == field, error
    leaked = {"str", "int", "list", "dict", "tagged-union"} & set(error["param"].split("."))
    assert not leaked, f"the field's name ends in a Python type: {error}"
    return error


def post_raw(client: httpx.Client, request: Json) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return client.post(CHAT, content=json.dumps(request).replace("Infinity", "1e400"), headers=headers)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in BAD for value in values])
def test_out_of_range_and_wrong_types(client: httpx.Client, field: str, value: object) -> None:
    error = refused(post_raw(client, {**chat(), field: value}), field)
    assert len(error["message"]) > len(field) + 10, "no remedy"


@pytest.mark.parametrize(("field", "value"), UNSUPPORTED)
def test_unsupported_with_effect(client: httpx.Client, field: str, value: object) -> None:
    error = refused(client.post(CHAT, json={**chat(), field: value}), field)
    assert "not supported" in error["message"] and "leave the field out" in error["message"]


@pytest.mark.parametrize("part", [{"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "input_audio"}])
def test_images_and_audio_in_messages(client: httpx.Client, part: Json) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "what is this?"}, part]}]
    error = refused(client.post(CHAT, json=chat(messages=messages)), "messages")
    assert "text" in error["message"], f"the message says nothing of text only: {error['message']}"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "x", "tool_call_id": "1"}, "messages.0.role"),
        ({"role": "wizard", "content": "x"}, "messages.0.role"),
        ({"role": "user"}, "messages.0"),
        ({"role": "user", "content": None}, "messages.0"),
        ({"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, "messages.0.tool_calls"),
        ({"role": "user", "content": "x", "contnet": "y"}, "messages.0.contnet"),
    ],
)
def test_bad_messages(client: httpx.Client, message: Json, param: str) -> None:
    error = refused(client.post(CHAT, json=chat(messages=[message])), "messages")
    assert error["param"] == param
    assert "content" in error["message"] or param != "messages.0"


@pytest.mark.parametrize(("field", "near"), [("temprature", "temperature"), ("max_token", "max_tokens")])
def test_unknown_fields_get_the_nearest_name(client: httpx.Client, field: str, near: str) -> None:
    error = refused(client.post(CHAT, json={**chat(), field: 1}), field)
    assert error["code"] == "unknown_parameter"
    assert repr(near) in error["message"]


def test_the_fields_of_jobs_are_named(served: Running) -> None:
    for path, body, param in (
        ("/retrain", {"cohort": "legal", "epochs": 2000}, "epochs"),
        ("/curve", {"cohort": "legal", "seeds": 0}, "seeds"),
        ("/router/replay", {"threshold": 2}, "threshold"),
    ):
        error = served.operator("POST", path, body).json()["error"]
        assert error["param"] == param and error["message"].startswith(f"{param}: ")


def test_ignored_fields_are_accepted(client: httpx.Client) -> None:
    alone = client.post(CHAT, json=chat()).json()["choices"]
    values: Json = {"user": "u", "store": True, "service_tier": "auto", "parallel_tool_calls": True}
    values |= {"reasoning_effort": "low", "prediction": {"type": "content", "content": "x"}, "verbosity": "low"}
    request = {**chat(), **{name: values.get(name, "x") for name in IGNORED}}
    reply = client.post(CHAT, json=request)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"] == alone


def test_null_is_like_leaving_out(client: httpx.Client) -> None:
    nulls = {name: None for name, _ in BAD if name not in ("model", "messages")}
    reply = client.post(CHAT, json={"model": "base", "messages": chat()["messages"], **nulls, "max_tokens": 2})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("where", [CHAT, COMPLETIONS])
def test_a_prompt_over_the_context(client: httpx.Client, where: str) -> None:
    text = "q" * 5000
    request = chat(text) if where == CHAT else {"model": "base", "prompt": text}
    reply = client.post(where, json=request)
    error = refused(reply, "messages" if where == CHAT else "prompt")
    assert error["code"] == "context_length_exceeded"
    assert "2048" in error["message"]
    numbers = [int(word) for word in error["message"].split() if word.isdigit()]
    assert max(numbers) >= 5000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b'{"model": "base",}',
        b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "base", "messages": [{"role": "user", "content": "x"}], "temperature": -Infinity}',
        b'{"model": "base", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "base", "messages": [{"role": "user", "content": "\xff"}]}',
        b'{"model": "base", "messages": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"model": "base", "max_tokens": ' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
)
@pytest.mark.parametrize("where", [CHAT, COMPLETIONS, "/v1/feedback"])
def test_bodies_that_are_no_request(client: httpx.Client, where: str, body: bytes) -> None:
    reply = client.post(where, content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["message"]
    assert client.post(CHAT, json=chat(max_tokens=1)).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_100_mb(client: httpx.Client, chunked: bool) -> None:
    block = b" " * (1 << 20)
    blocks = (block for _ in range(100))
    headers = {"Content-Type": "application/json"} | ({} if chunked else {"Content-Length": str(100 << 20)})
    try:
        reply = client.post(CHAT, content=blocks, headers=headers)
    except httpx.TransportError:  # refused while it was still being sent: a client may see the reset first
        pass
    else:
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "payload_too_large"
    assert client.post(CHAT, json=chat(max_tokens=1)).status_code == 200


def test_a_body_of_100_mb_is_refused_before_it_is_sent(served: Running) -> None:
    answer = exchange(served, head("Content-Length: 104857600") + b"{")
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("field", ["prompt", "best_of", "suffix", "logprobs", "echo"])
def test_completion_parameters(client: httpx.Client, field: str) -> None:
    bad: Json = {"prompt": [], "best_of": 2, "suffix": "end", "logprobs": 21, "echo": 1}
    request: Json = {"model": "base", "prompt": "the", "max_tokens": 1, field: bad[field]}
    refused(client.post(COMPLETIONS, json=request), field)


@pytest.mark.parametrize("prompt", ["", [""], [[]], [10**6], [-1], [1.5], ["a", 1], [[0], "a"], ["a"] * 65, math.pi])
def test_bad_prompts(client: httpx.Client, prompt: object) -> None:
    refused(client.post(COMPLETIONS, json={"model": "base", "prompt": prompt, "max_tokens": 1}), "prompt")
