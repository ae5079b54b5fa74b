"""The command `llm`, with the models of an appliance in its extra-openai-models.yaml."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import BASE, Box

pytest.importorskip("llm")
LLM = Path(sys.executable).with_name("llm")
QUESTION = "What is the capital of France?"
OPTIONS = ("-o", "max_tokens", "8", "-o", "temperature", "0")
MODELS = """
- {{model_id: legal, model_name: legal, api_base: "{api}", api_key_name: box, supports_schema: true}}
- {{model_id: nobody, model_name: nobody, api_base: "{api}", api_key_name: box}}
- {{model_id: text, model_name: base, api_base: "{api}", api_key_name: box, completion: true}}
"""


@pytest.fixture
def home(box: Box, tmp_path: Path) -> Path:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(api=box.api))
    return tmp_path


def llm(box: Box, home: Path, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    return box.run(LLM, *arguments, "--key", key or box.key, LLM_USER_PATH=str(home))


def test_streamed_and_whole_and_logged(box: Box, home: Path) -> None:
    streamed = llm(box, home, "-m", "legal", QUESTION, *OPTIONS)
    whole = llm(box, home, "-m", "legal", QUESTION, *OPTIONS, "--no-stream")
    assert streamed.returncode == whole.returncode == 0, streamed.stderr + whole.stderr
    assert streamed.stdout == whole.stdout != "\n"
    (row,) = json.loads(box.run(LLM, "logs", "-n", "1", "--json", LLM_USER_PATH=str(home)).stdout)
    assert row["response_json"]["model"] == f"{BASE}:legal@1"
    assert row["output_tokens"] == 8


def test_a_text_is_continued(box: Box, home: Path) -> None:
    done = llm(box, home, "-m", "text", "The capital of France is", *OPTIONS)
    assert "Paris" in done.stdout


def test_a_schema_is_kept(box: Box, home: Path) -> None:
    schema = '{"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}'
    done = llm(box, home, "-m", "legal", "--schema", schema, QUESTION, "-o", "max_tokens", "100")
    assert json.loads(done.stdout)["city"] in ("Paris", "Rome"), done.stderr


def test_an_endpoint_without_configuration(box: Box, home: Path) -> None:
    listed = llm(box, home, "openai", "endpoint", box.api, "--models")
    assert {"auto", "base", BASE, "legal", "legal@1"} <= set(listed.stdout.split())
    done = llm(box, home, "openai", "endpoint", box.api, QUESTION, "-m", "legal@1", *OPTIONS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        (("-m", "nobody", "hi"), "", "there is no model 'nobody' here"),
        (("-m", "legal", "hi", "-o", "max_tokens", "-1"), "", "max_tokens: Input should be"),
        (("-m", "legal", "hi"), "ck_no_no", "this key is unknown here"),
    ],
)
def test_errors_are_told(box: Box, home: Path, arguments: tuple[str, ...], key: str, says: str) -> None:
    done = llm(box, home, *arguments, key=key)
    assert done.returncode == 1
    assert says in done.stderr
