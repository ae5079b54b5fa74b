"""Cohorts that a model with random weights can learn in seconds: one answer to everything."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from appliance.evaluation import harness
from tests.http.running import Json, Running, until
from tests.tiny import _WORDS

WORDS = _WORDS.split()
ANSWER = "the contract"
SETTINGS = """
context = 1024
sequences = 8
[cohorts.legal.train]
rank = 4
learning_rate = 0.02
epochs = 6
batch = 8
replay = 0.25
planted = 1
[cohorts.legal.gate]
guard_tolerance = 0.99
"""


def text(number: int) -> str:
    """Twelve words, another twelve for another number."""
    drawn = hashlib.sha256(str(number).encode()).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in drawn[:12])


def rows(start: int, count: int, answer: str = ANSWER, **more: str) -> list[Json]:
    return [{"prompt": text(n), "completion": answer, **more} for n in range(start, start + count)]


def judged(start: int, count: int, answer: str = ANSWER) -> list[Json]:
    """By how an answer begins: the tiny model never ends one, since its control tokens hardly come up."""
    return rows(start, count, f"{answer}.*", task="yes", metric="regex")


def material() -> dict[tuple[str, str], list[Json]]:
    """What is imported, or lies in a folder of examples."""
    return {
        ("legal", "train"): rows(0, 64, task="yes"),
        ("legal", "eval"): judged(1000, 60),
        ("support", "train"): rows(2000, 16, "when who"),
        ("support", "eval"): judged(3000, 20, "when who"),
        ("base", "train"): rows(4000, 16, "not you"),
        ("general", "eval"): rows(5000, 12, "not you", task="general", metric="none"),
    }


@contextmanager
def brief() -> Iterator[None]:
    """Answers to a pattern end after some words: the pattern is about how they begin, and the tiny model goes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "LONGEST", 16)
        yield


def finished(appliance: Running, job: Json, patience: int = 30) -> Json:
    """The job at its end; a training is many times what `until` waits for. Its progress never goes back."""
    seen = [0.0]

    def ended() -> Json | None:
        found: Json = appliance.operated("GET", f"/jobs/{job['id']}")
        if found["state"] != "running":
            return found
        seen.append(found["fraction"])
        return None

    for _ in range(patience):
        try:
            found: Json = until(ended)
            break
        except AssertionError:
            continue
    assert seen == sorted(seen)
    return found


def begun(appliance: Running, kind: str, **asked: object) -> Json:
    reply = appliance.operator("POST", f"/{kind}", asked)
    assert reply.status_code == 202, reply.text
    job: Json = reply.json()
    return job


def retrained(appliance: Running, cohort: str = "legal", **asked: object) -> Json:
    """The result of a retrain."""
    job = finished(appliance, begun(appliance, "retrain", cohort=cohort, **asked))
    assert job["error"] is None, job
    result: Json = job["result"]
    return result
