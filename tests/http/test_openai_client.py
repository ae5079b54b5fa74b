"""The official client, sync and async, and our raw JSON under its own types."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI, DefaultHttpxClient, OpenAI
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionUserMessageParam

from tests.http.running import Json, Running, chat, forced, until
from tests.http.sse import data_of

CHAT = "/v1/chat/completions"
SAID = "In thé wörd of “this” one."
SURE: Any = forced(SAID)
ASK: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hello there"}]


@pytest.fixture
def sdk(served: Running) -> OpenAI:
    return OpenAI(base_url=f"{served.url}/v1", api_key="sk-anything", max_retries=0)


def test_chat(sdk: OpenAI) -> None:
    reply = sdk.chat.completions.create(model="legal", messages=ASK, max_tokens=8, temperature=0)
    assert reply.model == "tiny:legal@2"
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + 8


def test_stream_says_what_the_whole_answer_says(sdk: OpenAI) -> None:
    whole = sdk.chat.completions.create(model="base", messages=ASK, max_tokens=40, response_format=SURE)
    with sdk.chat.completions.create(
        model="base",
        messages=ASK,
        max_tokens=40,
        response_format=SURE,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content == f'"{SAID}"'
    assert chunks[-1].choices == []
    counts = {"prompt_tokens", "completion_tokens", "total_tokens"}  # how much came from the cache may differ
    assert chunks[-1].usage and whole.usage
    assert chunks[-1].usage.model_dump(include=counts) == whole.usage.model_dump(include=counts)
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_the_stream_helper_accumulates(sdk: OpenAI) -> None:
    """It raises for answers cut by max_tokens, so this one ends with a stop string."""
    with sdk.chat.completions.stream(
        model="base", messages=ASK, max_tokens=40, response_format=SURE, stop="wö"
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].finish_reason == "stop"
    assert final.choices[0].message.content == '"In thé '


def test_async_client(served: Running) -> None:
    async def ask() -> tuple[ChatCompletion, str]:
        async with AsyncOpenAI(base_url=f"{served.url}/v1", api_key="x", max_retries=0) as sdk:
            whole, stream = await asyncio.gather(
                sdk.chat.completions.create(model="coding", messages=ASK, max_tokens=40, response_format=SURE),
                sdk.chat.completions.create(
                    model="coding", messages=ASK, max_tokens=40, response_format=SURE, stream=True
                ),
            )
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return whole, "".join(parts)

    whole, text = asyncio.run(ask())
    assert whole.choices[0].message.content == text == f'"{SAID}"'


def test_completions_with_echo_and_logprobs(sdk: OpenAI) -> None:
    reply = sdk.completions.create(model="base", prompt="one of the", max_tokens=0, echo=True, logprobs=3)
    (choice,) = reply.choices
    assert choice.text == "one of the"
    scores = choice.logprobs
    assert scores is not None
    assert scores.tokens is not None and "".join(scores.tokens) == "one of the"
    assert scores.token_logprobs is not None and scores.text_offset is not None
    assert scores.token_logprobs[0] is None
    assert all(p <= 0 for p in scores.token_logprobs[1:])
    assert scores.text_offset[0] == 0
    assert scores.top_logprobs is not None and all(scores.top_logprobs[1:])
    assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == len(scores.text_offset)


def test_models(sdk: OpenAI) -> None:
    listed = {model.id: model for model in sdk.models.list()}
    assert {"auto", "base", "tiny", "legal", "finance", "legal@1", "legal@2", "legal@3", "coding@1"} <= set(listed)
    assert sdk.models.retrieve("legal@3") == listed["legal@3"]
    assert listed["legal"].owned_by == "legal@example.org"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"temperature": 3}, "temperature"), ({"tools": [{"type": "function"}]}, "tools"), ({"n": 17}, "n")],
)
def test_bad_request(sdk: OpenAI, change: dict[str, object], field: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        sdk.chat.completions.create(model="base", messages=ASK, extra_body=change)
    assert raised.value.param == field
    assert raised.value.type == "invalid_request_error"
    assert raised.value.code


@pytest.mark.parametrize("name", ["gpt-4o", "legal@99", "finance@candidate", "../../etc/passwd", "LEGAL"])
def test_unknown_model(sdk: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        sdk.chat.completions.create(model=name, messages=ASK)
    assert raised.value.code == "model_not_found"
    assert raised.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve(name)


def test_unknown_key(served: Running) -> None:
    with (
        OpenAI(base_url=f"{served.url}/v1", api_key="ck_none_none", max_retries=0) as sdk,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        sdk.chat.completions.create(model="base", messages=ASK)
    assert raised.value.code == "invalid_api_key"
    assert raised.value.response.headers["www-authenticate"] == "Bearer"


def test_the_client_comes_back_when_told(busy: Running) -> None:
    """The one place of a key is taken, and given back after the refusal: the client waits for Retry-After, tries
    again by itself and is answered."""
    key = busy.key(name="one at a time")
    seen: list[tuple[int, float]] = []
    told: list[str] = []
    with busy.http(key) as other, ExitStack() as held:

        def note(response: Any) -> None:  # noqa: ANN401 - of whichever httpx the client brings
            seen.append((response.status_code, time.monotonic()))
            if response.status_code == 429:
                told.append(response.headers["retry-after"])
                held.close()
                until(busy.idle)

        answer = held.enter_context(other.stream("POST", CHAT, json=chat(stream=True, max_tokens=60_000)))
        assert answer.status_code == 200
        with (
            DefaultHttpxClient(event_hooks={"response": [note]}, trust_env=False) as transport,
            OpenAI(base_url=f"{busy.url}/v1", api_key=key, max_retries=1, http_client=transport) as sdk,
        ):
            reply = sdk.chat.completions.create(model="base", messages=ASK, max_tokens=2)
    assert reply.choices[0].finish_reason == "length"
    (refused, first), (answered, second) = seen
    assert (refused, answered) == (429, 200)
    assert second - first >= int(told[0]) >= 1, "the client came back before it was told to"


def test_a_quota_is_a_rate_limit_error(busy: Running) -> None:
    key = busy.key(name="one at a time, too")
    with (
        busy.http(key) as other,
        OpenAI(base_url=f"{busy.url}/v1", api_key=key, max_retries=0) as sdk,
        other.stream("POST", CHAT, json=chat(stream=True, max_tokens=60_000)),
        pytest.raises(openai.RateLimitError) as raised,
    ):
        sdk.chat.completions.create(model="base", messages=ASK, max_tokens=2)
    assert raised.value.code == "rate_limit_exceeded"


@pytest.mark.parametrize("more", [{}, {"logprobs": True, "top_logprobs": 2}, {"n": 2, "temperature": 1}])
def test_chat_json_is_strictly_openais(client: httpx.Client, more: Json) -> None:
    whole = client.post("/v1/chat/completions", json=chat(**more))
    ChatCompletion.model_validate_json(whole.text, strict=True)
    request = chat(**more, stream=True, stream_options={"include_usage": True})
    lines = data_of(client.post("/v1/chat/completions", json=request).text)
    assert len(lines) > 2
    for line in lines[:-1]:
        ChatCompletionChunk.model_validate_json(line, strict=True)


@pytest.mark.parametrize("more", [{}, {"logprobs": 2}, {"n": 2}])
def test_completion_json_is_strictly_openais(client: httpx.Client, more: dict[str, object]) -> None:
    """The client's type of a completion wants a finish reason even in the middle of a stream, where OpenAI sends
    null: chunks are held against the type with that one field filled in."""
    request = {"model": "base", "prompt": "the one", "max_tokens": 6, "temperature": 0, **more}
    Completion.model_validate_json(client.post("/v1/completions", json=request).text, strict=True)
    lines = data_of(client.post("/v1/completions", json={**request, "stream": True}).text)
    assert len(lines) > 2
    for line in lines[:-1]:
        Completion.model_validate_json(line.replace('"finish_reason":null', '"finish_reason":"stop"'), strict=True)


def test_model_json_is_strictly_openais(client: httpx.Client) -> None:
    entries = client.get("/v1/models").json()["data"]
    assert (
        [Model.model_validate(entry, strict=True).id for entry in entries] == [entry["id"] for entry in entries] != []
    )
