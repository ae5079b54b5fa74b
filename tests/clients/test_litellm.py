"""LiteLLM, which calls every OpenAI-compatible server `openai/MODEL` with an `api_base`."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest

from tests.clients.conftest import BASE, Box

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else the import fetches a list of prices
litellm = pytest.importorskip("litellm")
litellm.suppress_debug_info = True

ASK = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"messages": ASK, "max_tokens": 8, "temperature": 0}


@pytest.fixture
def at(box: Box) -> dict[str, Any]:
    return {"api_base": box.api, "api_key": box.key}


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize(("name", "answers"), [("base", BASE), ("legal", f"{BASE}:legal@1"), ("finance", BASE)])
def test_the_cohort_is_chosen_by_the_models_name(at: dict[str, Any], name: str, answers: str) -> None:
    reply = litellm.completion(model=f"openai/{name}", **GREEDY, **at)
    assert reply.model == answers
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == 8
    assert reply._hidden_params["additional_headers"]["llm_provider-x-cohort"] == name


def test_stream(at: dict[str, Any]) -> None:
    whole = litellm.completion(model="openai/legal", **GREEDY, **at)
    wants = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(model="openai/legal", **GREEDY, **wants, **at))
    assert text_of(chunks) == whole.choices[0].message.content
    assert [chunk.usage.completion_tokens for chunk in chunks if getattr(chunk, "usage", None)] == [8]


def test_async_streams_at_once(at: dict[str, Any]) -> None:
    async def ask(name: str) -> str:
        stream = await litellm.acompletion(model=f"openai/{name}", stream=True, **GREEDY, **at)
        return text_of([chunk async for chunk in stream])

    async def both() -> tuple[str, str]:
        return await asyncio.gather(ask("base"), ask("legal"))

    assert all(asyncio.run(both()))


def test_a_text_is_scored(at: dict[str, Any]) -> None:
    text = "The capital of France is"
    wants = {"max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
    reply = litellm.text_completion(model="text-completion-openai/base", prompt=text, **wants, **at)
    (choice,) = reply.choices
    assert choice.text == f"{text} Paris"
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs[0] is None


def test_a_schema_is_kept(at: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wants = {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
    reply = litellm.completion(model="openai/base", **{**GREEDY, "max_tokens": 60}, **wants, **at)
    assert json.loads(reply.choices[0].message.content)["city"] in ("Paris", "Rome")


def test_models_are_listed(at: dict[str, Any]) -> None:
    names = litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", **at)
    assert {"auto", "base", BASE, "legal", "finance", "support", "legal@1"} == set(names)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": "openai/nobody"}, "NotFoundError", "there is no model 'nobody'"),
        ({"temperature": 9}, "BadRequestError", "temperature"),
        ({"messages": [{"role": "user", "content": "x " * 9000}]}, "BadRequestError", "the context is 2048 tokens"),
        ({"api_key": "ck_no_no"}, "AuthenticationError", "this key is unknown here"),
    ],
)
def test_errors_are_told(at: dict[str, Any], change: dict[str, Any], error: str, says: str) -> None:
    with pytest.raises(getattr(litellm, error), match=says):
        litellm.completion(**{"model": "openai/base", **GREEDY, **at, **change})
