"""Misroute or bad adapter: complaints are asked again of the right cohort, and compared with the correction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, StoreUnavailable, Unavailable
from appliance.evaluation import blame
from appliance.evaluation.blame import Blame, Verdict, verdict
from tests.http.learnable import begun, finished
from tests.http.running import Json, Running, chat, running

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tiny_adapters: tuple[Path, Path]) -> Path:
    """legal and coding answer differently."""
    folder = tmp_path_factory.mktemp("blame")
    with running(folder, tiny_base, "context = 512") as appliance:
        appliance.release(tiny_adapters[0], "legal")
        appliance.release(tiny_adapters[1], "coding")
    return folder / "home"


@pytest.fixture
def box(home: Path, tmp_path: Path, tiny_base: Path) -> Iterator[Running]:
    shutil.copytree(home, tmp_path / "home")
    with running(tmp_path, tiny_base, "context = 512") as appliance:
        yield appliance


def ask(box: Running, path: str = CHAT, **request: object) -> tuple[str, str]:
    """The request's id and its answer."""
    with box.http(box.admin) as client:
        reply = client.post(path, json=request or chat())
    assert reply.is_success, reply.text
    choice = reply.json()["choices"][0]
    return reply.headers["x-request-id"], choice["text"] if path == COMPLETIONS else choice["message"]["content"]


def complain(box: Running, request: str, **said: object) -> None:
    with box.http(box.admin) as client:
        assert client.post("/v1/feedback", json={"request_id": request, **said}).is_success


def blamed(box: Running, **request: object) -> Json:
    job = finished(box, begun(box, "router/blame", **request))
    assert job["error"] is None, job
    found: Json = job["result"]
    return found


@pytest.mark.parametrize(
    ("sent", "right", "before", "again", "says"),
    [
        ("legal", "coding", 0.2, 0.9, "misroute"),
        ("legal", "coding", 0.9, 0.9, "adapter"),
        ("legal", "coding", 0.9, 0.92, "adapter"),
        ("legal", "coding", 0.97, 1.0, "misroute"),
        ("legal", "coding", 0.9, 0.2, "adapter"),
        ("base", "coding", 0.2, 0.3, "misroute"),
        ("legal", "legal", 0.2, 0.9, "adapter"),
        ("legal", "legal", 0.2, 1.0, "mended"),
        ("legal", "legal", 1.0, 1.0, "adapter"),
        ("legal", "coding", None, None, "for_a_person"),
        ("legal", "legal", None, None, "for_a_person"),
    ],
)
def test_verdict(sent: str, right: str, before: float | None, again: float | None, says: Verdict) -> None:
    answered = "base" if sent == "base" else f"{sent}@1"
    told = Blame("req_1", "unknown", sent, right, answered, before, again, "req_2", f"{right}@1")
    assert verdict(told) == says


@pytest.mark.parametrize(
    ("sent", "right", "answered", "release", "says"),
    [
        ("legal", "legal", "base", "legal@1", "no_adapter"),
        ("legal", "legal", "legal@1", "base", "adapter"),
        ("legal", "coding", "legal@1", "base", "no_adapter"),
        ("base", "coding", "base", "coding@1", "adapter"),
        ("legal", "base", "legal@1", "base", "no_adapter"),
    ],
)
def test_only_an_adapter_that_answered_is_to_blame(
    sent: str, right: str, answered: str, release: str, says: Verdict
) -> None:
    assert verdict(Blame("req_1", "unknown", sent, right, answered, 0.5, 0.5, "req_2", release)) == says


def test_misroute(box: Running) -> None:
    _, wanted = ask(box, **chat(model="coding"))
    request, got = ask(box, **chat(model="legal"))
    assert got != wanted
    complain(box, request, correction=wanted, cohort="coding")
    found = blamed(box)
    (one,) = found["requests"]
    assert (found["n"], found["misroute"], found["routed_wrong"]) == (1, 1, 1)
    assert (one["verdict"], one["sent"], one["right"]) == ("misroute", "legal", "coding")
    assert (one["release"], one["again"]) == ("coding@1", 1.0)
    assert one["before"] < 1


def test_adapter(box: Running) -> None:
    sent_right, _ = ask(box, **chat(model="coding"))
    no_nearer, as_it_was = ask(box, **chat(model="legal"))
    complain(box, sent_right, rating=-1, correction="Something else.", cohort="coding")
    complain(box, no_nearer, correction=as_it_was, cohort="coding")
    found = blamed(box)
    assert [one["request_id"] for one in found["requests"]] == [no_nearer, sent_right]
    assert (found["adapter"], found["routed_wrong"]) == (2, 1)


def test_without_a_correction_a_person_judges_what_it_answers_now(box: Running) -> None:
    request, _ = ask(box, **chat(model="legal"))
    _, now = ask(box, **chat(model="base"))
    complain(box, request, rating=-1, cohort="base")
    found = blamed(box)
    (one,) = found["requests"]
    assert (one["verdict"], one["sent"], one["right"]) == ("for_a_person", "legal", "base")
    assert (found["for_a_person"], found["unknown"], one["before"], one["again"]) == (1, 0, None, None)
    probe = box.row(one["probe"])
    assert (probe["origin"], probe["parent_id"], probe["answer"]) == ("probe", request, now)


def test_mended_since(box: Running, third_adapter: Path) -> None:
    """The release that answered was replaced by one that says what was wanted."""
    request, got = ask(box, **chat(model="legal"))
    box.release(third_adapter, "legal")
    _, wanted = ask(box, **chat(model="legal"))
    assert got != wanted
    complain(box, request, correction=wanted, cohort="legal")
    (one,) = blamed(box)["requests"]
    assert (one["verdict"], one["answered"], one["release"]) == ("mended", "legal@1", "legal@2")


def test_where_no_adapter_answered_none_is_to_blame(box: Running) -> None:
    request, _ = ask(box, **chat(model="finance"))
    complain(box, request, correction="Something else.", cohort="finance")
    (one,) = blamed(box)["requests"]
    assert (one["verdict"], one["answered"], one["release"]) == ("no_adapter", "base", "base")


def test_what_is_no_complaint(box: Running) -> None:
    """Praise, and what nobody named a cohort for; the newest word on the cohort counts, and `limit` the newest."""
    praised, liked = ask(box)
    complain(box, praised, rating=1, cohort="legal")
    unnamed, _ = ask(box)
    complain(box, unnamed, rating=-1, correction="no")
    older, _ = ask(box, **chat(model="legal"))
    complain(box, older, rating=-1, cohort="finance")
    newer, _ = ask(box, **chat(model="legal"))
    complain(box, newer, rating=-1, cohort="finance")
    complain(box, newer, cohort="coding")
    complain(box, newer, correction=liked)
    found = blamed(box)["requests"]
    assert [(one["request_id"], one["right"]) for one in found] == [(newer, "coding"), (older, "finance")]
    assert [one["request_id"] for one in blamed(box, limit=1)["requests"]] == [newer]


def test_the_probe_is_the_same_request_asked_greedily_in_the_background(box: Running) -> None:
    before = box.box.vitals.registry.get_sample_value("cohort_generation_tokens_total", {"cohort": "coding"})
    given = {"prompt": "Once", "max_tokens": 5, "seed": 7, "stop": ["zzz"], "metadata": {"subject": "someone"}}
    request, _ = ask(box, COMPLETIONS, model="legal", temperature=1.5, **given)
    complain(box, request, correction="upon a time", cohort="coding")
    (one,) = blamed(box)["requests"]
    probe, asked = box.row(one["probe"]), box.row(request)
    assert (probe["origin"], probe["parent_id"], probe["release"]) == ("probe", request, "coding@1")
    assert all(probe[name] == asked[name] for name in ("messages", "endpoint", "subject", "metadata"))
    assert '"temperature": 0' in probe["sampling"] and '"stop": ["zzz"]' in probe["sampling"]
    assert probe["completion_tokens"] <= 5
    after = box.box.vitals.registry.get_sample_value("cohort_generation_tokens_total", {"cohort": "coding"})
    assert after == before  # the metrics tell of traffic
    assert blamed(box)["n"] == 1  # a probe is not complained about


def test_a_cohort_without_a_release_is_answered_by_the_base(box: Running) -> None:
    request, _ = ask(box, **chat(model="legal"))
    _, wanted = ask(box, **chat(model="finance"))
    complain(box, request, correction=wanted, cohort="finance")
    (one,) = blamed(box)["requests"]
    assert (one["verdict"], one["release"], one["again"]) == ("misroute", "base", 1.0)


def test_what_fails_again_is_told(box: Running) -> None:
    """The base's prompt fills the context, so the right cohort's system prompt finds no room."""

    def sized(words: int) -> tuple[str, int]:
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a " * words}]
        request, _ = ask(box, **chat(messages=turns, model="base", max_tokens=1))
        return request, int(box.row(request)["prompt_tokens"])

    few, more = sized(10)[1], sized(11)[1]
    request, _ = sized(10 + (511 - few) // (more - few))
    complain(box, request, correction="x", cohort="coding")
    (one,) = blamed(box)["requests"]
    assert (one["verdict"], one["probe"]) == ("unknown", None)
    assert "context_length_exceeded" in one["error"]


@pytest.mark.parametrize(
    "error", [Unavailable("stopping", code="draining"), StoreUnavailable("the disk is full", retry_after=5)]
)
def test_a_box_that_stops_gives_no_evidence(
    box: Running, monkeypatch: pytest.MonkeyPatch, error: ApplianceError
) -> None:
    async def refused(*_: object) -> None:
        raise error

    request, _ = ask(box, **chat(model="legal"))
    complain(box, request, correction="x", cohort="coding")
    monkeypatch.setattr(blame, "_again", refused)
    job = finished(box, begun(box, "router/blame"))
    assert (job["state"], job["result"], job["error"]) == ("failed", None, error.message)
