"""The packaged base: what the README promises, on one prepared home."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from appliance.base import PACKAGED_DIGEST
from tests.prepared import seed
from tests.tiny import write_adapter

from .premises import Premises, Served, events, running

pytestmark = pytest.mark.live
NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, real_base: Path) -> Premises:
    premises = packaged(tmp_path_factory.mktemp("live"), "as_is")
    seed(premises.home, real_base)
    return premises


def packaged(folder: Path, form: str) -> Premises:
    premises = Premises(folder, None, base={"format": form})
    premises.cohorts = ("legal", "healthcare", "finance", "support", "coding")
    premises.configure()
    return premises


@pytest.fixture(scope="module")
def served(prepared: Premises) -> Iterator[Served]:
    with running(prepared) as served:
        yield served
        assert served.stop() == 0


@pytest.fixture(scope="session")
def real_adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Small changes at random, in the packaged base's real shapes."""
    folder = tmp_path_factory.mktemp("real-adapters")
    return _small(folder / "one.gguf", 1), _small(folder / "two.gguf", 2)


def _small(path: Path, seed: int) -> Path:
    return write_adapter(path, seed=seed, scale=0.02, layers=30, embd=576, heads=9, kv_heads=3, ffn=1536)


@pytest.mark.slow  # of small bases it is tried where starts are
def test_the_format_is_decided_once_with_progress(tmp_path: Path, real_base: Path) -> None:
    assert real_base.is_file()
    premises = packaged(tmp_path, "auto")
    done = premises.cohort("base", "import", "--json", seconds=300)
    assert done.returncode == 0, done.stderr
    base = json.loads(done.stdout)
    assert base["id"] == NAME
    assert base["digest"] == PACKAGED_DIGEST
    for doing in ("as as_is", "as q8_0", "as q4_0"):
        assert f"measuring the base {doing}" in done.stderr
    (record,) = premises.home.glob("base/*/base.json")
    decided = json.loads(record.read_text())
    assert [trial["format"] for trial in decided["trials"]] == ["as_is", "q8_0", "q4_0"]
    assert decided["format"] == base["format"]
    kept = {path.name for path in record.parent.iterdir()}
    assert kept == {"base.json"} | ({f"base.{decided['format']}.gguf"} - {"base.as_is.gguf"})
    with running(premises) as served:
        assert "measuring" not in served.said()
        assert served.stop() == 0
    again = premises.cohort("base", "import", "--json")
    assert (json.loads(again.stdout), again.stderr) == (base, "")


def question(model: str = "auto") -> dict[str, object]:
    """The README's, with an empty draw of luck."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": 32}


def test_a_sensible_answer_and_its_row(prepared: Premises, served: Served) -> None:
    with served.client() as client:
        reply = client.post("/v1/chat/completions", json=question())
    assert reply.status_code == 200
    body = reply.json()
    text = body["choices"][0]["message"]["content"]
    assert "Paris" in text
    assert body["model"] == NAME
    assert body["choices"][0]["finish_reason"] == "stop"
    assert reply.headers["X-Cohort"] == reply.headers["X-Release"] == "base"
    (row,) = prepared.rows("SELECT * FROM interactions WHERE id = ?", reply.headers["X-Request-Id"])
    assert (row["answer"], row["status"], row["cohort"], row["release"]) == (text, "ok", "base", "base")
    assert (row["layer"], row["reason"]) == (reply.headers["X-Cohort-Layer"], reply.headers["X-Cohort-Reason"])
    assert [turn["content"] for turn in json.loads(row["messages"])] == [
        "You are a helpful assistant.",
        "What is the capital of France?",
    ]
    assert 0 <= row["queue_ms"] < row["ttft_ms"] < row["total_ms"]
    assert (row["prompt_tokens"], row["completion_tokens"]) == (
        body["usage"]["prompt_tokens"],
        body["usage"]["completion_tokens"],
    )
    assert row["base_digest"] == PACKAGED_DIGEST
    assert row["template_digest"]


def test_cohorts_answer_at_the_same_time(
    prepared: Premises, served: Served, real_adapters: tuple[Path, Path]
) -> None:
    for cohort, adapter in zip(("legal", "finance"), real_adapters, strict=True):
        added = prepared.cohort("release", "add", str(adapter), "--cohort", cohort, "--live")
        assert added.returncode == 0, added.stderr
    with ThreadPoolExecutor(5) as pool:
        asked = [(name, pool.submit(answer, served, name)) for name in prepared.cohorts]
        replies = {name: future.result() for name, future in asked}
    for name, (headers, text, done) in replies.items():
        released = name in ("legal", "finance")
        assert headers["X-Cohort"] == name
        assert headers["X-Cohort-Layer"] == "pinned"
        assert headers["X-Release"] == (f"{name}@1" if released else "base")
        assert headers["X-Release-Arm"] == ("live" if released else "base")
        assert released or headers["X-Cohort-Reason"] == "no_live_release"
        assert done
        (row,) = prepared.rows("SELECT * FROM interactions WHERE id = ?", headers["X-Request-Id"])
        assert (row["answer"], row["cohort"], row["release"]) == (text, name, headers["X-Release"])
    digests = {replies[name][0]["X-Release-Digest"] for name in prepared.cohorts}
    assert len(digests) == 3
    assert "base" in digests
    assert "Paris" in replies["coding"][1]


def answer(served: Served, cohort: str) -> tuple[httpx.Headers, str, bool]:
    """Headers, text and whether [DONE] came, of a streamed answer."""
    body = question(cohort) | {"stream": True}
    with served.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        seen = list(events(response))
    choices = [choice for event in seen for choice in event.get("choices", ())]
    return response.headers, "".join(c["delta"].get("content") or "" for c in choices), seen[-1] == {"done": True}
