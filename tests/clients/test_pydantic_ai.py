"""pydantic-ai's agents on its model for OpenAI's chat completions."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from tests.clients.conftest import BASE, Box

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

QUESTION = "What is the capital of France?"


class City(BaseModel):
    """What was asked for."""

    city: Literal["Paris", "Rome"]


def agent(box: Box, model: str, key: str = "", **more: Any) -> Any:  # noqa: ANN401 - generic in its output
    served = OpenAIChatModel(model, provider=OpenAIProvider(base_url=box.api, api_key=key or box.key))
    return Agent(served, model_settings={"temperature": 0, "max_tokens": 24}, **more)


@pytest.mark.parametrize(("name", "answers"), [("base", BASE), ("legal", f"{BASE}:legal@1"), ("support", BASE)])
def test_the_cohort_is_chosen_by_the_models_name(box: Box, name: str, answers: str) -> None:
    result = agent(box, name).run_sync(QUESTION)
    assert result.output
    assert result.response.model_name == answers
    assert result.response.finish_reason in ("length", "stop")
    assert 0 < result.usage.output_tokens <= 24


def test_a_conversation(box: Box) -> None:
    asked = agent(box, "base", system_prompt="You are a helpful assistant.")
    first = asked.run_sync(QUESTION)
    assert "Paris" in first.output
    second = asked.run_sync("And of Italy?", message_history=first.all_messages())
    assert second.output
    assert second.usage.input_tokens > first.usage.input_tokens


def test_stream(box: Box) -> None:
    asked = agent(box, "legal")

    async def stream() -> tuple[list[str], int]:
        async with asked.run_stream(QUESTION) as answer:
            parts = [part async for part in answer.stream_text(delta=True, debounce_by=None)]
            return parts, answer.usage.output_tokens

    parts, tokens = asyncio.run(stream())
    assert len(parts) > 3
    assert "".join(parts) == asked.run_sync(QUESTION).output
    assert tokens == 24


def test_output_by_schema(box: Box) -> None:
    """Its default way, a tool, is refused; a schema of the answer is enforced."""
    assert isinstance(agent(box, "base", output_type=NativeOutput(City)).run_sync(QUESTION).output, City)
    with pytest.raises(ModelHTTPError, match="tools: is not supported here"):
        agent(box, "base", output_type=City).run_sync(QUESTION)


@pytest.mark.parametrize(
    ("name", "key", "status", "code"),
    [("nobody", "", 404, "model_not_found"), ("base", "ck_no_no", 401, "invalid_api_key")],
)
def test_errors_are_told(box: Box, name: str, key: str, status: int, code: str) -> None:
    with pytest.raises(ModelHTTPError) as raised:
        agent(box, name, key).run_sync(QUESTION)
    assert raised.value.status_code == status
    assert raised.value.body["code"] == code
