from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from typing import Any, cast

import pytest

from appliance.store import feedback as feedback_rows
from appliance.store import interactions
from appliance.store.database import Database
from appliance.store.interactions import Filters, Interaction
from appliance.store.timestamps import now

from .samples import feedback, interaction

EVERY_COLUMN = Interaction(
    id="req_1",
    parent_id="req_0",
    created="2026-11-22T08:00:00.000001+00:00",
    session="s",
    key_id="key_1",
    subject="client 7",
    tenant="intake",
    origin="shadow",
    endpoint="/v1/chat/completions",
    metadata={"tier": "gold"},
    messages=[{"role": "user", "content": "Grüße, 世界 🙂"}],
    answer="Grüße.",
    alternatives=["Hallo."],
    cohort="legal",
    layer="semantic",
    reason="near",
    confidence=0.75,
    scores={"legal": 0.75, "health": 0.1},
    router="router@2",
    release="legal@3",
    release_digest="d1",
    arm="canary",
    base_digest="b1",
    format_digest="f1",
    template_digest="t1",
    sampling={"temperature": 0.2, "seed": 7},
    prompt_tokens=12,
    completion_tokens=34,
    queue_ms=0.5,
    ttft_ms=20.25,
    total_ms=321.0,
    finish_reason="stop",
    status="failed",
    error="the client went away",
)


ROWS = 20_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """20,000 interactions, one a minute; one in 1,000 failed, in 2,000 rated, in 700 a probe, in 400 reviewed."""
    database = Database.open(tmp_path_factory.mktemp("log") / "appliance.db")
    database.write(_fill).result()
    yield database
    database.close()


@pytest.fixture(scope="module")
def logged(log: Database) -> list[Interaction]:
    with log.read() as conn:
        return interactions.follow(conn, 0, 1 << 31)


START = datetime(2026, 1, 1, tzinfo=UTC)


def minute(n: int) -> str:
    return (START + timedelta(minutes=n)).isoformat(timespec="microseconds")


def _fill(conn: sqlite3.Connection) -> None:
    for n in range(ROWS):
        row = interaction(
            f"req_{n}",
            created=minute(n),
            cohort=("legal", "health", "base")[n % 3],
            release=f"legal@{n // 5_000}",
            layer=("classifier", "pinned", "fallback")[n % 7 % 3],
            status="failed" if n % 1_000 == 0 else "ok",
            error=("no_spare_lane: 2 in use" if n % 3_000 else "no_spare: x") if n % 1_000 == 0 else None,
            origin="probe" if n % 700 == 0 else "live",
        )
        interactions.insert(conn, row)
    conn.execute("UPDATE interactions SET rating = 1 WHERE seq % 2000 = 0")
    conn.execute("UPDATE interactions SET reviewed = 1 WHERE seq % 400 = 0")


def test_every_column_is_kept(database: Database) -> None:
    seq = database.write(lambda conn: interactions.insert(conn, EVERY_COLUMN)).result()
    with database.read() as conn:
        assert interactions.get(conn, "req_1") == replace(EVERY_COLUMN, seq=seq)
        assert interactions.get(conn, "req_2") is None


LONG = "Ä" * 299 + "🙂" + "more"


@pytest.mark.parametrize(
    ("messages", "kept"),
    [
        ([("system", LONG), ("user", "One"), ("user", LONG), ("assistant", LONG)], ("user", LONG[:300])),
        ([("prompt", LONG)], ("prompt", LONG[:300])),
        ([("prompt", list(range(400)))], ("prompt", list(range(300)))),
        ([], None),
    ],
)
def test_a_brief_row_keeps_what_a_line_shows(messages: list[tuple[str, Any]], kept: tuple[str, Any] | None) -> None:
    schema = {"type": "json_schema", "json_schema": {"schema": {"description": LONG}}}
    whole = replace(
        EVERY_COLUMN,
        messages=[{"role": role, "content": content} for role, content in messages],
        answer=LONG,
        alternatives=[LONG, "short"],
        sampling={"seed": 7, "response_format": schema},
        correction=LONG,
    )
    brief = whole.brief()
    assert brief.messages == ([{"role": kept[0], "content": kept[1]}] if kept else [])
    assert (brief.answer, brief.alternatives) == (LONG[:300], [LONG[:300], "short"])
    assert (brief.sampling, brief.correction) == ({"seed": 7}, LONG[:300])
    cut = ("messages", "answer", "alternatives", "sampling", "correction")
    assert replace(brief, **{name: getattr(whole, name) for name in cut}) == whole
    assert EVERY_COLUMN.brief() == EVERY_COLUMN


@pytest.mark.parametrize(
    "changes",
    [{"origin": "nowhere"}, {"status": "maybe"}, {"created": "2026-11-22T08:00:00Z"}, {"created": "yesterday"}],
)
def test_what_would_spoil_the_log_is_refused(database: Database, changes: dict[str, str]) -> None:
    future = database.write(lambda conn: interactions.insert(conn, interaction(**changes)))
    assert isinstance(future.exception(), sqlite3.IntegrityError)


def test_now_is_a_moment_that_the_log_takes_and_that_sorts(database: Database) -> None:
    earlier, later = now(), now()
    assert earlier <= later
    assert datetime.fromisoformat(earlier).utcoffset() == timedelta(0)
    database.write(lambda conn: interactions.insert(conn, interaction(created=earlier))).result()


@pytest.mark.parametrize(
    "filters",
    [
        Filters(),
        Filters(cohort="health"),
        Filters(release="legal@1"),
        Filters(layer="pinned"),
        Filters(status="failed"),
        Filters(status="ok"),
        Filters(rating=1),
        Filters(origin="probe"),
        Filters(reviewed=True),
        Filters(reviewed=False),
        Filters(origin="live", reviewed=False, cohort="legal", since=minute(3_000)),
        Filters(reviewed=True, rating=1),
        Filters(since=minute(19_500)),
        Filters(cohort="legal", status="failed", since=minute(3_000)),
        Filters(cohort=None, rating=1, layer="classifier"),
        Filters(cohort="nobody"),
        Filters(code="no_spare"),
        Filters(code="no_spare_lane", cohort="health"),
        Filters(code="no_spare", status="ok"),
        Filters(since=minute(20_001)),
    ],
)
def test_pages_hold_each_matching_row_once_newest_first(
    log: Database, logged: list[Interaction], filters: Filters
) -> None:
    pages: list[Interaction] = []
    with log.read() as conn:
        before = None
        while page := interactions.page(conn, limit=997, before_seq=before, **filters):
            pages += page
            before = page[-1].seq
    assert pages == [row for row in reversed(logged) if matches(row, filters)]


def matches(row: Interaction, filters: Filters) -> bool:
    within = ("since", "code")
    equal = all(
        getattr(row, name) == value for name, value in filters.items() if name not in within and value is not None
    )
    code = filters.get("code") in (None, (row.error or "").partition(":")[0])
    return equal and code and row.created >= (filters.get("since") or "")


def test_a_row_logged_late_is_found_by_its_moment(database: Database) -> None:
    for n, created in enumerate([minute(0), minute(9), minute(5), minute(1), minute(7)]):
        row = interaction(f"req_{n}", created=created)
        database.write(partial(interactions.insert, interaction=row)).result()
    with database.read() as conn:
        since = interactions.page(conn, limit=10, since=minute(5))
    assert [row.created for row in since] == [minute(7), minute(5), minute(9)]


def test_a_clock_that_jumps_hides_no_row(database: Database) -> None:
    """Whatever order moments come in, every row since or until one is listed, and no other."""
    chance = random.Random(5)
    moments, now_ = [], 0
    for _ in range(300):
        now_ = max(0, now_ + chance.choice((0, 0, 1, 1, 2, 60, -3, -90, 300, -290)))
        moments.append(minute(now_))

    def fill(conn: sqlite3.Connection) -> None:
        for n, created in enumerate(moments):
            interactions.insert(conn, interaction(f"req_{n}", created=created, cohort=("legal", "health")[n % 2]))

    database.write(fill).result()
    with database.read() as conn:
        for since in {*moments, minute(10_000), "2026-01-01T00:30:30.000000+00:00"}:
            wanted = [n for n in reversed(range(300)) if moments[n] >= since]
            found = [row.seq - 1 for row in interactions.page(conn, limit=300, since=since)]
            ours = [row.seq - 1 for row in interactions.page(conn, limit=300, since=since, cohort="legal")]
            assert (found, ours) == (wanted, [n for n in wanted if n % 2 == 0])
            wanted = [n for n in reversed(range(300)) if moments[n] <= since]
            assert [row.seq - 1 for row in interactions.page(conn, limit=300, until=since)] == wanted


FILTERS = {
    "cohort": "legal",
    "release": "legal@2",
    "layer": "pinned",
    "status": "failed",
    "rating": 1,
    "origin": "probe",
    "reviewed": True,
    "since": minute(9),
}


EVERY_COMBINATION = pytest.mark.parametrize(
    "names", [names for n in range(len(FILTERS) + 1) for names in combinations(FILTERS, n)], ids=" ".join
)


@EVERY_COMBINATION
def test_every_page_looks_its_rows_up_and_neither_scans_nor_sorts(log: Database, names: tuple[str, ...]) -> None:
    with log.read() as conn:
        details = plan(conn, lambda: interactions.page(conn, limit=50, before_seq=15_000, **chosen(names)))
    on_the_log = [detail for detail in details if " interactions" in detail]
    assert on_the_log and all(detail.startswith("SEARCH interactions USING") for detail in on_the_log), details
    assert not any("TEMP B-TREE" in detail for detail in details), details
    by_column = [detail for detail in on_the_log if "INDEX interactions_" in detail]
    if set(names) - {"since"}:
        kind = "cohort=? AND layer=? AND release=? AND status=? AND origin=? AND reviewed=? AND"
        assert by_column and all(kind in detail for detail in by_column), details
        assert ("rating" in names) is all("(rating=? AND" in detail for detail in by_column), details
    if "since" in names:
        assert all("rowid>?" in detail for detail in by_column or on_the_log), details


@EVERY_COMBINATION
def test_a_page_costs_fewer_steps_than_the_log_has_rows(log: Database, names: tuple[str, ...]) -> None:
    """Steps of SQLite's machine: whoever walks along the log takes some for each row."""
    with log.read() as conn:
        assert steps(conn, lambda: interactions.page(conn, limit=20, before_seq=15_000, **chosen(names))) < ROWS


@pytest.mark.parametrize(
    "filters",
    [
        Filters(cohort="health", layer="never"),
        Filters(cohort="health", release="legal@9"),
        Filters(cohort="base", layer="pinned", since="2026-01-14T00:00:00.000000+00:00"),
        Filters(release="legal@0", since="2026-01-14T00:00:00.000000+00:00"),
        Filters(since="2027-01-01T00:00:00.000000+00:00"),
        Filters(origin="shadow"),
        Filters(origin="probe", reviewed=True),
        Filters(reviewed=True, cohort="health", since="2026-01-14T00:00:00.000000+00:00"),
        Filters(code="never"),
    ],
)
def test_a_page_of_what_is_rare_or_nowhere_costs_no_more(log: Database, filters: Filters) -> None:
    with log.read() as conn:
        assert steps(conn, lambda: interactions.page(conn, limit=20, **filters)) < ROWS / 4


def test_what_else_the_product_asks_of_the_log_costs_a_few_steps(log: Database) -> None:
    judgement = feedback("fb_1", request_id="req_7", rating=1)
    with log.read() as conn:
        assert steps(conn, lambda: interactions.get(conn, "req_9000")) < 1000
        assert steps(conn, lambda: interactions.follow(conn, 10_000, 20)) < ROWS / 4

    def undone(conn: sqlite3.Connection) -> int:
        count = steps(conn, lambda: feedback_rows.record(conn, judgement))
        count += steps(conn, lambda: interactions.insert(conn, interaction("req_new", created=minute(30_000))))
        conn.execute("ROLLBACK TO task")
        return count

    assert log.write(undone).result() < 1000


def steps(conn: sqlite3.Connection, work: Callable[[], object]) -> int:
    """How many instructions of SQLite's machine it takes."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    conn.set_progress_handler(tick, 1)
    work()
    conn.set_progress_handler(None, 0)
    return count


def chosen(names: tuple[str, ...]) -> Filters:
    return cast(Filters, {name: FILTERS[name] for name in names})


def test_following_is_a_walk_by_seq(log: Database) -> None:
    with log.read() as conn:
        walk, *others = plan(conn, lambda: interactions.follow(conn, 10, 10))
        assert walk == "SEARCH interactions USING INTEGER PRIMARY KEY (rowid>?)"
        assert {detail for detail in others if "SUBQUERY" not in detail} == {
            "SEARCH feedback USING INDEX feedback_request (request_id=?)"
        }
        rows = interactions.follow(conn, 19_990, 50)
    assert [row.seq for row in rows] == list(range(19_991, 20_001))


def plan(conn: sqlite3.Connection, query: Callable[[], object]) -> list[str]:
    """How SQLite would run what `query` runs."""
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    query()
    conn.set_trace_callback(None)
    return [row["detail"] for sql in statements for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}")]
