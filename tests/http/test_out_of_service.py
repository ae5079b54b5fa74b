"""A release that fails again and again is taken out of service, and what answers instead is said everywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from appliance.engine.llama import Context
from tests.http.running import Json, Running, chat, running, until
from tests.poison import BAD, GOOD, write_poisoned

CHAT = "/v1/chat/completions"
WHY = "it failed 3 times in a row, the last time: the model gave no finite logits"


@pytest.fixture(scope="module")
def poisoned(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_poisoned(tmp_path_factory.mktemp("poisoned") / "poisoned.gguf", tiny_base)


@pytest.fixture
def ours(tmp_path: Path, tiny_base: Path) -> Iterator[Running]:
    with running(tmp_path, tiny_base, "context = 1024\nspare_lanes = 1") as appliance:
        yield appliance


def asked(ours: Running, text: str = GOOD, model: str = "legal") -> httpx.Response:
    with ours.http() as client:
        return client.post(CHAT, json=chat(text, model=model, max_tokens=4))


def strike_out(ours: Running, model: str = "legal") -> None:
    """Three faults in a row; the client is told of each."""
    for _ in range(3):
        reply = asked(ours, BAD, model)
        assert (reply.status_code, reply.json()["error"]["code"]) == (500, "not_finite")


def alarms(ours: Running) -> list[str]:
    """As /ready and the status have them, between which they may change."""

    def told() -> tuple[list[str], ...]:
        with ours.http() as client:
            ready = client.get("/ready")
        assert ready.status_code == 200
        found = ready.json()["alarms"]
        return (found,) if found == ours.operated("GET", "/status")["alarms"] else ()

    (found,) = until(told)
    return list(found)


def metrics(ours: Running) -> list[str]:
    with ours.http() as client:
        return client.get("/metrics").text.splitlines()


def warnings(ours: Running) -> dict[int, str | None]:
    entries: list[Json] = ours.operated("GET", "/releases?cohort=legal")
    return {entry["version"]: entry["warning"] for entry in entries}


def answered_by(reply: httpx.Response) -> tuple[str, str, str]:
    assert reply.status_code == 200, reply.text
    return reply.headers["x-release"], reply.headers["x-release-arm"], reply.headers["x-cohort-reason"]


def test_the_one_before_answers_and_it_is_said(
    ours: Running, tiny_adapters: tuple[Path, Path], poisoned: Path
) -> None:
    ours.release(tiny_adapters[0], "legal")
    ours.release(poisoned, "legal")
    assert answered_by(asked(ours)) == ("legal@2", "live", "pinned_cohort")
    for text in (BAD, BAD, GOOD, BAD, BAD):
        assert asked(ours, text).headers["x-release"] == "legal@2"
    assert alarms(ours) == []
    assert asked(ours, BAD).status_code == 500

    reply = asked(ours, BAD)
    assert answered_by(reply) == ("legal@1", "previous", "pinned_cohort")
    row = ours.row(reply.headers["x-request-id"])
    assert (row["release"], row["arm"]) == ("legal@1", "previous")
    (alarm,) = alarms(ours)
    assert f"legal@2 cannot be served, legal@1 answers for legal: {WHY}" in alarm
    assert "promote it, or start again, to try it once more" in alarm
    assert 'cohort_out_of_service{lane="legal@2"} 1.0' in metrics(ours)
    assert 'cohort_live_release{cohort="legal"} 1.0' in metrics(ours)
    assert f"cohort_alarms {len(ours.operated('GET', '/status')['alarms'])}.0" in metrics(ours)
    assert WHY in (warnings(ours)[2] or "")
    assert warnings(ours)[1] is None

    pinned = asked(ours, GOOD, "legal@2")
    assert pinned.status_code == 409
    assert f"legal@2 cannot be served: {WHY}" in pinned.json()["error"]["message"]
    dry_run = ours.operated("POST", "/route", {"text": "x", "model": "legal"})
    assert dry_run["release"] == "legal@1"


def test_without_one_before_the_base_answers(ours: Running, poisoned: Path) -> None:
    ours.release(poisoned, "legal")
    strike_out(ours)
    assert answered_by(asked(ours, BAD)) == ("base", "base", "no_live_release")
    assert f"legal@1 cannot be served, the base answers for legal: {WHY}" in alarms(ours)[0]


def test_one_asked_for_by_name_is_struck_out_alone(
    ours: Running, tiny_adapters: tuple[Path, Path], poisoned: Path
) -> None:
    ours.release(tiny_adapters[0], "legal")
    ours.release(poisoned, "legal", live=False)
    strike_out(ours, "legal@candidate")
    assert asked(ours, GOOD, "legal@2").status_code == 409
    assert answered_by(asked(ours, BAD)) == ("legal@1", "live", "pinned_cohort")
    assert 'cohort_out_of_service{lane="legal@2"} 1.0' in metrics(ours)
    assert WHY in (warnings(ours)[2] or "")


def test_promoting_it_again_tries_it_once_more(ours: Running, poisoned: Path) -> None:
    ours.release(poisoned, "legal")
    for _ in range(2):
        strike_out(ours)
        assert answered_by(asked(ours))[0] == "base"
        promoted = ours.operated("POST", "/promote", {"cohort": "legal", "version": 1})
        assert promoted["live"] == "legal@1"
        assert alarms(ours) == []
        assert not [line for line in metrics(ours) if line.startswith("cohort_out_of_service{")]
        assert answered_by(asked(ours)) == ("legal@1", "live", "pinned_cohort")


def test_a_start_tries_it_once_more(tmp_path: Path, tiny_base: Path, poisoned: Path) -> None:
    with running(tmp_path, tiny_base, "context = 1024") as ours:
        ours.release(poisoned, "legal")
        strike_out(ours)
    with running(tmp_path, tiny_base, "context = 1024") as ours:
        assert alarms(ours) == []
        assert answered_by(asked(ours))[0] == "legal@1"


def test_a_rollback_passes_over_it(ours: Running, tiny_adapters: tuple[Path, Path], poisoned: Path) -> None:
    for adapter in (tiny_adapters[0], poisoned, tiny_adapters[1]):
        ours.release(adapter, "legal")
    assert previous(ours) == "legal@2"
    strike_out(ours, "legal@2")
    assert previous(ours) == "legal@1", "it is told before it is done"
    assert ours.operated("POST", "/rollback", {"cohort": "legal"})["live"] == "legal@1"


def previous(ours: Running) -> str | None:
    """What a rollback of legal is said to return to."""
    told: Json = next(one for one in ours.operated("GET", "/cohorts") if one["cohort"] == "legal")
    name: str | None = told["previous"]
    return name


def test_a_rollback_passes_over_what_was_damaged_since_the_start(
    ours: Running, tiny_adapters: tuple[Path, Path], poisoned: Path
) -> None:
    """And says at once where the next one goes."""
    added = [ours.release(adapter, "legal") for adapter in (tiny_adapters[0], poisoned, tiny_adapters[1])]
    (ours.home / "releases" / added[0]["digest"] / "adapter.gguf").write_bytes(b"damaged")
    (ours.home / "releases" / added[1]["digest"] / "adapter.gguf").write_bytes(b"damaged")
    assert ours.operated("POST", "/promote", {"cohort": "legal", "version": 3})["previous"] == "legal@2"
    rolled_back = ours.operated("POST", "/rollback", {"cohort": "legal"})
    assert (rolled_back["live"], rolled_back["previous"]) == (None, None)


def test_a_file_that_was_changed_since_the_start_is_not_loaded(
    ours: Running, tiny_adapters: tuple[Path, Path]
) -> None:
    """By name it is loaded on demand, with only its digest known."""
    for adapter in tiny_adapters:
        ours.release(adapter, "legal")
    added = ours.operated("GET", "/releases?cohort=legal")
    (ours.home / "releases" / added[-1]["digest"] / "adapter.gguf").write_bytes(tiny_adapters[1].read_bytes())
    with_spares = [ours.release(adapter, "finance") for adapter in tiny_adapters]
    assert asked(ours, model="finance@1").status_code == 200, "it takes the one spare lane"
    refused = asked(ours, model="legal@1")
    assert refused.status_code == 409 and "was changed after it was registered" in refused.text
    assert "was changed" in str(warnings(ours)[1]) and warnings(ours)[2] is None
    assert asked(ours, model="legal@1").status_code == 409 and len(with_spares) == 2


@pytest.mark.parametrize(("strikes", "ago", "live"), [(1, 0, 2), (2, 0, 1), (2, 700, 2)])
def test_what_ended_the_process_twice_while_it_was_loaded_is_not_tried_again(
    tmp_path: Path, tiny_base: Path, tiny_adapters: tuple[Path, Path], strikes: int, ago: float, live: int
) -> None:
    with running(tmp_path, tiny_base) as first:
        for adapter in tiny_adapters:
            first.release(adapter, "legal")
        digest = first.operated("GET", "/releases?cohort=legal")[0]["digest"]
    note = tmp_path / "home" / "loading.json"
    note.write_text(json.dumps({digest: [time.time() - ago] * strikes}))
    with running(tmp_path, tiny_base) as again:
        assert answered_by(asked(again))[0] == f"legal@{live}"
        told = [one for one in alarms(again) if "the process ended 2 times while it was loaded" in one]
        assert bool(told) is (live == 1)
        assert again.operated("POST", "/promote", {"cohort": "legal", "version": 2})["live"] == "legal@2"
    assert not note.exists(), "nothing is being loaded"


def test_what_cannot_stand_in_is_passed_over(
    ours: Running, tiny_adapters: tuple[Path, Path], poisoned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it is no longer in memory, and there is none to load it again: the base answers."""
    ours.release(tiny_adapters[0], "legal")
    ours.release(poisoned, "legal")
    ours.release(tiny_adapters[1], "coding", live=False)
    assert asked(ours, GOOD, "coding@1").status_code == 200
    assert ours.lane("coding@1") and "legal@1" not in str(ours.operated("GET", "/status")["lanes"])
    monkeypatch.setattr("appliance.releases.lanes.free_memory", lambda: 0)
    strike_out(ours)
    until(lambda: any("the base answers for legal" in alarm for alarm in alarms(ours)))
    assert answered_by(asked(ours)) == ("base", "base", "no_live_release")
    assert 'cohort_out_of_service{lane="legal@1"} 1.0' in metrics(ours)


def test_the_base_goes_on_with_an_alarm(ours: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Context, "decode", lambda *_: -3)
    for _ in range(4):
        assert asked(ours, GOOD, "base").json()["error"]["code"] == "engine_fault"
    assert alarms(ours) == ["the base failed 4 times in a row: start again"]
    monkeypatch.undo()
    assert answered_by(asked(ours, GOOD, "base"))[0] == "base"
    assert alarms(ours) == []
