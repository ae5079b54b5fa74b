from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from appliance.errors import Conflict, NotFound
from appliance.store import releases
from appliance.store.database import Database

from .samples import release

T = TypeVar("T")


def read(database: Database, query: Callable[[sqlite3.Connection], T]) -> T:
    with database.read() as conn:
        return query(conn)


def add(database: Database, row: releases.Release) -> releases.Release:
    return database.write(lambda conn: releases.insert(conn, row, "key_1")).result()


def move(database: Database, version: int, state: releases.State, event: str) -> None:
    database.write(lambda conn: releases.set_state(conn, "legal", version, state, event, "key_1")).result()


def test_versions_count_up_within_a_cohort(database: Database) -> None:
    first = add(database, release("d1"))
    second = add(database, release("d2", parent="d1", gated=False))
    other = add(database, release("d1", cohort="health"))
    assert (first.version, second.version, other.version) == (1, 2, 1)
    assert read(database, lambda conn: releases.get(conn, "legal", 2)) == second
    assert read(database, lambda conn: releases.get(conn, "legal", 3)) is None
    assert read(database, releases.list_all) == [other, second, first]
    assert read(database, lambda conn: releases.list_all(conn, "legal")) == [second, first]


def test_a_digest_is_one_version_of_a_cohort(database: Database) -> None:
    add(database, release("d1"))
    with pytest.raises(Conflict, match="legal@1"):
        add(database, release("d1"))


def test_a_change_of_state_and_its_event_are_one(database: Database) -> None:
    first = add(database, release("d1"))
    assert read(database, lambda conn: releases.live(conn, "legal")) is None
    move(database, 1, "live", "promoted")
    assert read(database, lambda conn: releases.live(conn, "legal")) == replace(first, state="live")
    move(database, 1, "retired", "retired")
    events = read(database, lambda conn: releases.events(conn, "legal"))
    assert [(event.event, event.from_state, event.to_state, event.version) for event in events] == [
        ("added", None, "candidate", 1),
        ("promoted", "candidate", "live", 1),
        ("retired", "live", "retired", 1),
    ]
    assert {(event.digest, event.key_id) for event in events} == {("d1", "key_1")}


def test_a_cohort_has_at_most_one_live_release(database: Database) -> None:
    add(database, release("d1", state="live"))
    add(database, release("d1", state="live", cohort="health"))
    add(database, release("d2"))
    with pytest.raises(sqlite3.IntegrityError):
        move(database, 2, "live", "promoted")
    events = read(database, lambda conn: releases.events(conn, "legal"))
    assert [event.event for event in events] == ["added", "added"]


def test_an_unknown_release_or_state_is_refused(database: Database) -> None:
    with pytest.raises(NotFound, match="legal@1"):
        move(database, 1, "live", "promoted")
    add(database, release("d1"))
    with pytest.raises(sqlite3.IntegrityError):
        move(database, 1, "gone", "promoted")  # type: ignore[arg-type]
