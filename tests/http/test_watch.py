"""Traffic as figures, the machine, searches of the log, and rejected candidates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import pytest

from appliance.http import watch_api
from appliance.http.traffic import BINS, POINTS, traffic
from appliance.releases import doubts
from appliance.store import interactions, timestamps
from appliance.store.traffic import MOST, Seen
from tests.http.learnable import begun, finished
from tests.http.running import Running, chat, running
from tests.store.samples import interaction

UNTIL = datetime(2026, 11, 22, 12, tzinfo=UTC)
SINCE = UNTIL - timedelta(minutes=10)


def seen(seconds_ago: float, cohort: str = "legal", **more: object) -> Seen:
    created = (UNTIL - timedelta(seconds=seconds_ago)).isoformat()
    given = {
        "created": created,
        "cohort": cohort,
        "layer": "classifier",
        "release": f"{cohort}@1",
        "status": "ok",
        "confidence": 0.9,
        "ttft_ms": 100.0,
        "total_ms": 500.0,
        "completion_tokens": 10,
        "rating": None,
    }
    return Seen(**{**given, **more})  # type: ignore[arg-type]


def test_requests_become_figures() -> None:
    rows = [
        seen(1, confidence=0.99),
        seen(2, release="base", rating=1),
        seen(300, "finance", status="failed", ttft_ms=None, rating=-1),
        seen(599, "base", layer="fallback", release="base", confidence=None),
    ]
    found = traffic(rows, ["legal", "finance", "coding"], SINCE, UNTIL)
    assert (found.requests, found.seconds, found.per_second) == (4, 600.0, 4 / 600)
    assert found.tokens_per_second == 40 / 600 and found.layers == {"classifier": 3, "fallback": 1}
    by_name = {one.cohort: one for one in found.cohorts}
    assert list(by_name) == ["legal", "finance", "coding", "base"]
    legal, finance, coding = (by_name[name] for name in ("legal", "finance", "coding"))
    assert (legal.requests, legal.share, legal.by_base, legal.liked) == (2, 0.5, 1, 1)
    assert (finance.failed, finance.disliked, finance.ttft_ms.p50) == (1, 1, None)
    assert (coding.requests, coding.confidence) == (0, None)
    assert legal.confidence == pytest.approx(0.945)
    assert len(found.points) == POINTS and found.points[-1].per_second == 2 / 10
    assert found.points[30].failed == 1 and found.points[0].per_second == 1 / 10
    assert len(found.confidence) == BINS and sum(found.confidence) == 3 and found.confidence[-1] == 1


def test_no_requests_are_no_figures() -> None:
    found = traffic([], ["legal"], SINCE, UNTIL)
    assert found.requests == 0 and found.ttft_ms.p95 is None and found.layers == {}


def test_more_requests_than_are_looked_at_shorten_the_time() -> None:
    rows = [seen(n / 100) for n in range(MOST)]
    found = traffic(rows, ["legal"], SINCE, UNTIL)
    assert found.seconds == pytest.approx(MOST / 100, rel=0.01) and found.per_second == pytest.approx(100, rel=0.01)


def test_the_log_is_searched_by_text_and_moment(served: Running) -> None:
    with served.http() as client:
        texts = ["say 100 % of it", 'a "quoted" word', "under_score and back\\slash", "ÄRGER in capitals"]
        ids = [
            client.post("/v1/chat/completions", json=chat(text, max_tokens=1)).headers["x-request-id"]
            for text in texts
        ]

    def found(**query: str) -> list[str]:
        with served.http(served.admin) as client:
            reply = client.get("/admin/v1/interactions", params={"limit": 1000, **query})
        assert reply.is_success, reply.text
        return [row["id"] for row in reply.json()]

    for text, wanted in (
        ("100 %", ids[0]),
        ('"QUOTED"', ids[1]),
        ("under_score", ids[2]),
        ("back\\slash", ids[2]),
        ("ÄRGER", ids[3]),
    ):
        assert found(text=text) == [wanted], text
    assert found(text="100 _") == [] and found(text="underXscore") == []
    assert found(text="quoted", cohort="base") == [ids[1]] and found(text="quoted", cohort="legal") == []
    assert set(found(since="2026-01-01")) >= set(ids) and found(until="2026-01-01") == []


def test_what_the_machine_is(served: Running) -> None:
    system = served.operated("GET", "/system")
    assert system["versions"]["llama-cpp-python"] == "0.3.36" and system["database_bytes"] > 0
    assert system["memory_bytes"] > 1 << 20 and system["config"]["cohorts"]["legal"]["owner"] == "legal@example.org"
    assert Path(system["home"]) == served.home


def test_a_request_is_in_the_traffic(served: Running) -> None:
    before = served.operated("GET", "/traffic?minutes=1440")
    with served.http() as client:
        assert client.post("/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200
    after = served.operated("GET", "/traffic?minutes=1440")
    assert after["requests"] == before["requests"] + 1 == sum(one["requests"] for one in after["cohorts"])
    assert len(after["cohorts"]) == 6


def test_versions_are_those_of_what_is_installed(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a GPU onnxruntime-gpu stands in for onnxruntime; looked up once in the life of a process."""
    asked: list[str] = []

    def version(name: str) -> str:
        asked.append(name)
        if name == "onnxruntime":
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", version)
    watch_api._versions.cache_clear()
    try:
        first, second = (served.operated("GET", "/system")["versions"] for _ in range(2))
    finally:
        watch_api._versions.cache_clear()
    assert first == second and sorted(asked) == sorted(watch_api.PACKAGES)
    assert "onnxruntime" not in first and first["onnxruntime-gpu"] == "1.2.3"


def test_a_clock_that_was_ahead_is_not_in_the_traffic(plain: Running) -> None:
    for created in ("2050-01-01T00:00:00.000000+00:00", timestamps.now()):
        row = interaction(f"req_{created[:4]}", created=created)
        plain.box.database.write(partial(interactions.insert, interaction=row)).result()
    assert plain.operated("GET", "/traffic?minutes=15")["requests"] == 1


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "yesterday"])
def test_no_moment(served: Running, moment: str) -> None:
    reply = served.operator("GET", f"/interactions?since={quote(moment)}")
    assert reply.status_code == 400 and "is a moment like" in reply.text


def test_a_dissolved_cohort_is_no_alarm(
    plain: Running, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its release is still live in the table, for the cohort to come back."""
    plain.release(tiny_adapters[0], "legal")
    register = plain.box.releases()
    monkeypatch.setattr(doubts, "overdue", lambda release: f"{release.name} is overdue")
    assert register.warnings == ["legal@1 is overdue"]
    monkeypatch.delitem(plain.box.config.cohorts, "legal")
    register._refresh()
    assert register.warnings == []


@pytest.fixture
def plain(tmp_path: Path, tiny_base: Path) -> Iterator[Running]:
    """Of nobody else, without a router."""
    with running(tmp_path, tiny_base, "context = 1024") as appliance:
        yield appliance


def test_what_waits_for_a_person_is_told(plain: Running, tiny_adapters: tuple[Path, Path]) -> None:
    """And is no alarm: answers are as good as ever."""

    def pending() -> list[str]:
        status = plain.operated("GET", "/status")
        assert status["alarms"] == []
        found: list[str] = status["pending"]
        return found

    assert pending() == []
    plain.release(tiny_adapters[0], "coding", live=False)
    (waits,) = pending()
    assert waits.startswith("coding@1 waits to be judged: cohort promote coding@1")
    job = finished(plain, begun(plain, "curve", cohort="coding"))
    assert job["state"] == "failed"
    assert pending() == [waits, f"curve of coding failed: {job['error']} (cohort job show {job['id']})"]
    plain.operated("POST", "/reject", {"cohort": "coding", "version": 1})
    again = plain.operated("POST", "/curve", {"cohort": "coding"})
    assert all(job["id"] not in told for told in pending()), "it was begun again"
    finished(plain, again)


def test_a_candidate_is_rejected(plain: Running, tiny_adapters: tuple[Path, Path]) -> None:
    entry = plain.release(tiny_adapters[0], "coding", live=False)
    gone = {"cohort": "coding", "version": entry["version"]}
    switched = plain.operated("POST", "/reject", gone)
    assert switched["live"] is None
    assert [r["state"] for r in plain.operated("GET", "/releases?cohort=coding")] == ["retired"]
    reply = plain.operator("POST", "/reject", gone)
    assert reply.status_code == 409 and "only a candidate can be rejected" in reply.json()["error"]["message"]
    assert plain.operator("POST", "/promote", {"cohort": "coding"}).status_code == 409, "it waits no more"
