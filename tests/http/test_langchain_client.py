"""LangChain's client for OpenAI-compatible servers."""

from __future__ import annotations

from typing import Literal

import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from openai import BadRequestError
from pydantic import BaseModel, SecretStr

from tests.http.running import Running


class Label(BaseModel):
    """What a text is about."""

    label: Literal["contract", "loan"]
    urgent: bool


def model_of(served: Running, name: str = "legal", **more: object) -> ChatOpenAI:
    settings = {"temperature": 0, "seed": 1, "max_retries": 0, **more}
    return ChatOpenAI.model_validate(
        {"model": name, "base_url": f"{served.url}/v1", "api_key": SecretStr("x"), **settings}
    )


def test_invoke(served: Running) -> None:
    reply = model_of(served, max_tokens=8).invoke([SystemMessage("Be short."), HumanMessage("Hello there")])
    assert reply.text
    assert reply.response_metadata["model_name"] == "tiny:legal@2"
    assert reply.response_metadata["finish_reason"] == "length"
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] == 8


def test_stream(served: Running) -> None:
    model = model_of(served, max_tokens=20, stream_usage=True)
    chunks = list(model.stream("Hello there"))
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == model.invoke("Hello there").text
    used = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [u["output_tokens"] for u in used] == [20]


def test_structured_output_by_schema(served: Running) -> None:
    """The schema forces a label out of random weights."""
    model = model_of(served, max_tokens=100).with_structured_output(Label, method="json_schema")
    assert isinstance(model.invoke("A loan"), Label)


def test_structured_output_by_json_mode(served: Running) -> None:
    """Braces are made likely, since random weights would never close one."""
    braces = {3 + ord(letter) - ord("!"): 100 for letter in "{}"}
    model = model_of(served, max_tokens=20, logit_bias=braces)
    answer = model.with_structured_output(Label, method="json_mode", include_raw=True).invoke("Answer in json")
    assert isinstance(answer, dict)
    assert answer["raw"].content.replace(" ", "") == "{}"


def test_tools_are_refused_by_name(served: Running) -> None:
    with pytest.raises(BadRequestError, match="tools"):
        model_of(served).bind_tools([Label]).invoke("Hello there")
