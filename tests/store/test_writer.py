from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from appliance.errors import Conflict, StoreUnavailable
from appliance.store import interactions, writer
from appliance.store.database import Database
from appliance.store.writer import GROUP, Writer

from .samples import interaction


@contextmanager
def busy(database: Database) -> Iterator[None]:
    """Meanwhile the writer is held up, so that what is written waits and becomes one group."""
    started, go_on = Event(), Event()

    def hold(_: sqlite3.Connection) -> None:
        started.set()
        go_on.wait()

    database.write(hold)
    started.wait()
    try:
        yield
    finally:
        go_on.set()


def insert(database: Database, id: str) -> Future[int]:
    return database.write(lambda conn: interactions.insert(conn, interaction(id)))


def stored(database: Database) -> list[str]:
    with database.read() as conn:
        return [row.id for row in interactions.follow(conn, 0, 1 << 31)]


def test_what_waits_is_committed_together_and_acknowledged_only_then(database: Database) -> None:
    with busy(database):
        first = insert(database, "req_1")
        unacknowledged = database.write(lambda _: not first.done() and not stored(database))
        last = insert(database, "req_2")
    assert unacknowledged.result()
    assert (first.result(), last.result()) == (1, 2)


def test_a_row_can_be_read_the_moment_it_is_acknowledged(database: Database) -> None:
    seen: list[list[str]] = []
    future = insert(database, "req_1")
    future.add_done_callback(lambda _: seen.append(stored(database)))
    future.result()
    database.close()
    assert seen == [["req_1"]]


def test_a_failing_operation_undoes_only_itself(database: Database) -> None:
    def fails(conn: sqlite3.Connection) -> None:
        interactions.insert(conn, interaction("req_lost"))
        raise Conflict("the state of things forbids it")

    with busy(database):
        before = insert(database, "req_1")
        failed = database.write(fails)
        twice = insert(database, "req_1")
        after = insert(database, "req_2")
    with pytest.raises(Conflict, match="forbids"):
        failed.result()
    with pytest.raises(sqlite3.IntegrityError):
        twice.result()
    assert (before.result(), after.result()) == (1, 2)
    assert stored(database) == ["req_1", "req_2"]
    assert database.failing is None


def test_more_than_a_group_is_written_in_order(database: Database) -> None:
    with busy(database):
        futures = [insert(database, f"req_{n}") for n in range(3 * GROUP)]
    assert [future.result() for future in futures] == list(range(1, 3 * GROUP + 1))


def test_a_cancelled_write_is_not_made_and_hurts_nobody(database: Database) -> None:
    with busy(database):
        cancelled = insert(database, "req_1")
        other = insert(database, "req_2")
        assert cancelled.cancel()
    with pytest.raises(CancelledError):
        cancelled.result()
    assert other.result() == 1
    assert stored(database) == ["req_2"]


def test_a_group_of_cancelled_writes_only(database: Database) -> None:
    with busy(database):
        assert insert(database, "req_1").cancel()
    assert insert(database, "req_2").result() == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, ZeroDivisionError, StopIteration])
def test_nothing_an_operation_raises_ends_the_writer(database: Database, error: type[BaseException]) -> None:
    def fails(_: sqlite3.Connection) -> None:
        raise error

    assert isinstance(database.write(fails).exception(), error)
    assert insert(database, "req_1").result() == 1


def test_an_operation_that_breaks_the_transaction_fails_its_group_and_the_writer_goes_on(database: Database) -> None:
    with busy(database):
        neighbour = insert(database, "req_1")
        rude = database.write(lambda conn: conn.execute("ROLLBACK"))
    for future in (neighbour, rude):
        with pytest.raises(sqlite3.OperationalError, match="no such savepoint"):
            future.result()
    assert database.failing is None
    assert insert(database, "req_1").result() == 1


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "appliance.db", queue=2)
    with busy(database):
        waiting = [insert(database, "req_1"), insert(database, "req_2")]
        with pytest.raises(StoreUnavailable, match="2 writes already wait") as refused:
            insert(database, "req_3")
    assert refused.value.retry_after == 1
    assert [future.result() for future in waiting] == [1, 2]
    database.close()


def test_closing_finishes_what_is_queued_and_empties_the_wal(database: Database) -> None:
    with busy(database):
        futures = [insert(database, f"req_{n}") for n in range(GROUP + 10)]
    database.close()
    database.close()
    assert all(future.done() for future in futures)
    assert [path.name for path in database.path.parent.iterdir()] == ["appliance.db"]
    with pytest.raises(StoreUnavailable, match="closed"):
        database.probe()


def test_closing_does_not_wait_for_ever(database: Database) -> None:
    with busy(database), pytest.raises(StoreUnavailable, match=r"still being written after 0.05 s"):
        database.close(timeout_s=0.05)


def test_an_idle_writer_empties_the_wal_and_waits_for_no_reader(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, checkpoint = Event(), Writer._checkpoint

    def noted(self: Writer) -> None:
        checkpoint(self)
        tried.set()

    def last(conn: sqlite3.Connection) -> int:
        tried.clear()  # here, in the writer's own thread: what is tried from now on is tried behind this row
        return interactions.insert(conn, interaction("req_2"))

    monkeypatch.setattr(writer, "IDLE_S", 0.05)
    monkeypatch.setattr(Writer, "_checkpoint", noted)
    wal = database.path.with_name("appliance.db-wal")
    insert(database, "req_1").result()
    with database.read() as conn:
        conn.execute("BEGIN")
        conn.execute("SELECT * FROM interactions").fetchall()
        database.write(last).result()
        assert tried.wait(20)  # the reader's snapshot is in the way of emptying it
        assert wal.stat().st_size > 0
        started = time.monotonic()
        insert(database, "req_3").result()
        assert time.monotonic() - started < 4  # not the 5 s that a writer would wait for a lock
    wait_until_empty(wal)


def wait_until_empty(file: Path) -> None:
    deadline = time.monotonic() + 60
    while file.stat().st_size > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
