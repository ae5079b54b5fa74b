from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from appliance.errors import Conflict, NotFound
from appliance.store import feedback, interactions
from appliance.store.database import Database
from appliance.store.feedback import Feedback, Use

from .samples import feedback as sample
from .samples import interaction


@pytest.fixture(autouse=True)
def request_1(database: Database) -> None:
    database.write(lambda conn: interactions.insert(conn, interaction("req_1"))).result()


def record(database: Database, row: Feedback) -> Feedback:
    return database.write(lambda conn: feedback.record(conn, row)).result()


def stored(database: Database) -> list[Feedback]:
    with database.read() as conn:
        rows = conn.execute("SELECT * FROM feedback WHERE request_id = 'req_1' ORDER BY rowid")
        return [Feedback(**row) for row in rows]


def rating(database: Database) -> int | None:
    with database.read() as conn:
        row = interactions.get(conn, "req_1")
    assert row is not None
    return row.rating


def test_every_column_is_kept(database: Database) -> None:
    row = sample(
        key_id="key_1",
        rating=-1,
        correction="No.",
        comment="wrong",
        cohort="health",
        use="against",
        idempotency_key="i",
    )
    assert record(database, row) == row
    assert stored(database) == [row]


def test_feedback_to_an_unknown_request_names_the_field(database: Database) -> None:
    with pytest.raises(NotFound, match="req_9") as refused:
        record(database, sample(request_id="req_9"))
    assert refused.value.param == "request_id"


def test_a_repeated_request_is_stored_once_and_answered_alike(database: Database) -> None:
    first = record(database, sample("fb_1", rating=1, idempotency_key="i"))
    again = record(database, sample("fb_2", rating=1, idempotency_key="i"))
    assert again == first
    assert stored(database) == [first]


def test_the_same_key_with_another_body_is_a_conflict(database: Database) -> None:
    first = record(database, sample("fb_1", idempotency_key="i"))
    with pytest.raises(Conflict, match="Idempotency-Key"):
        record(database, sample("fb_2", idempotency_key="i", body_digest="bb"))
    assert stored(database) == [first]


def test_idempotency_keys_are_each_callers_own_and_not_demanded(database: Database) -> None:
    rows = [
        sample("fb_1", key_id="key_1", idempotency_key="i"),
        sample("fb_2", key_id="key_2", idempotency_key="i"),
        sample("fb_3", key_id="", idempotency_key="i"),
        sample("fb_4"),
        sample("fb_5"),
    ]
    assert [record(database, row) for row in rows] == rows
    assert stored(database) == rows


def test_the_interaction_shows_its_newest_rating(database: Database) -> None:
    assert rating(database) is None
    record(database, sample("fb_1", rating=1))
    record(database, sample("fb_2", rating=0))
    record(database, sample("fb_3", comment="no rating in this one"))
    assert rating(database) == 0


SAID = ("rating", "use", "correction", "right_cohort", "reviewed")


def test_the_interaction_tells_what_people_said_last(database: Database) -> None:
    words: list[dict[str, Any]] = [
        {"comment": "hm"},
        {"use": "for", "rating": 1},
        {"correction": "No.", "cohort": "health"},
        {"use": "against", "correction": "Never."},
        {"cohort": "base", "comment": "or nobody's"},
        {"use": "none"},
    ]
    told = []
    for n, said in enumerate(words):
        record(database, sample(f"fb_{n}", **said))
        with database.read() as conn:
            (row,) = interactions.page(conn, limit=2)
            assert [interactions.get(conn, "req_1")] == interactions.follow(conn, 0, 2) == [row]
        told.append(tuple(row.columns()[name] for name in SAID))
    assert told == [
        (None, None, None, None, False),
        (1, "for", None, None, True),
        (1, "for", "No.", "health", True),
        (1, "against", "Never.", "health", True),
        (1, "against", "Never.", "base", True),
        (1, None, "Never.", "base", True),
    ]


@pytest.mark.parametrize(
    ("said", "reviewed"),
    [
        ({"rating": 0}, True),
        ({"use": "none"}, True),
        ({"correction": ""}, True),
        ({"cohort": "base"}, True),
        ({"comment": "hm"}, False),
    ],
)
def test_what_somebody_judged_leaves_the_queue(database: Database, said: dict[str, Any], reviewed: bool) -> None:
    database.write(lambda conn: interactions.insert(conn, interaction("req_2"))).result()
    record(database, sample("fb_1", **said))
    record(database, sample("fb_2", comment="a word more"))
    with database.read() as conn:
        found = {of: [row.id for row in interactions.page(conn, limit=9, reviewed=of)] for of in (True, False)}
    assert found == ({True: ["req_1"], False: ["req_2"]} if reviewed else {True: [], False: ["req_2", "req_1"]})


@pytest.mark.parametrize(
    ("uses", "trained_on"),
    [
        (["for"], True),
        (["for", None], True),
        (["for", "none"], False),
        (["for", "none", None], False),
        (["for", "none", "for"], True),
        (["for", "against"], False),
        (["against", "none"], False),
        (["none", "for"], True),
        (["none"], False),
    ],
)
def test_the_last_word_on_use_counts_and_none_is_one(
    database: Database, uses: list[Use | None], trained_on: bool
) -> None:
    for n, use in enumerate(uses):
        record(database, sample(f"fb_{n}", use=use, comment="and so on"))
    with database.read() as conn:
        approved = [row.request_id for row in feedback.approved(conn, "legal")]
    assert approved == (["req_1"] if trained_on else [])


@pytest.mark.parametrize("changes", [{"rating": 2}, {"use": "maybe"}])
def test_values_out_of_range_are_refused_and_rate_nothing(database: Database, changes: dict[str, Any]) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        record(database, sample(**{"rating": 1, **changes}))
    assert rating(database) is None


def test_feedback_goes_with_the_erased_interaction(database: Database) -> None:
    record(database, sample())
    database.write(lambda conn: conn.execute("DELETE FROM interactions WHERE id = 'req_1'")).result()
    assert stored(database) == []
