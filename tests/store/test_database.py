from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from appliance.errors import SetupError, StoreUnavailable
from appliance.store import audit, check, interactions
from appliance.store.connections import read_only
from appliance.store.database import Database

from .samples import interaction


def test_a_committed_row_is_read_back_and_outlives_the_process_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "a folder with ? and %20" / "appliance.db"
    path.parent.mkdir()
    database = Database.open(path)
    database.write(lambda conn: interactions.insert(conn, interaction("req_1"))).result()
    database.close()
    database = Database.open(path)
    with database.read() as conn:
        assert interactions.get(conn, "req_1") is not None
    database.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("mmap_size", 0),
        ("busy_timeout", 5000),
        ("wal_autocheckpoint", 1000),
    ],
)
def test_the_writing_connection_is_set_up_for_durability(database: Database, pragma: str, value: object) -> None:
    assert database.write(lambda conn: conn.execute(f"PRAGMA {pragma}").fetchone()[0]).result() == value


def test_readers_cannot_write(database: Database) -> None:
    conn = read_only(database.path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("DELETE FROM interactions")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        conn.execute("PRAGMA query_only = OFF").execute("DELETE FROM interactions")
    conn.close()


def test_what_a_reader_raises_itself_passes_through(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), database.read() as conn:
        conn.execute("SELECT * FROM elsewhere")


def test_the_file_and_its_wal_are_for_the_owner_alone(database: Database) -> None:
    database.probe().result()
    for path in (database.path, database.path.with_name("appliance.db-wal")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_probe_is_a_real_write_to_one_row(database: Database) -> None:
    database.probe().result()
    with database.read() as conn:
        first = [tuple(row) for row in conn.execute("SELECT * FROM probe")]
    database.probe().result()
    with database.read() as conn:
        second = [tuple(row) for row in conn.execute("SELECT * FROM probe")]
    assert len(first) == len(second) == 1
    assert first != second


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(SetupError, match=r"no SQLite file.*restore the last backup"):
        Database.open(path)


def test_a_damaged_file_is_refused(database: Database) -> None:
    for n in range(200):
        database.write(partial(interactions.insert, interaction=interaction(f"req_{n}")))
    database.close()
    size = database.path.stat().st_size
    with database.path.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    with pytest.raises(SetupError, match=r"(?s)damaged.*restore the last backup"):
        Database.open(database.path)


@pytest.fixture
def large(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A closed database of 200 rows that counts as too large to be looked through at the start."""
    for n in range(200):
        database.write(partial(interactions.insert, interaction=interaction(f"req_{n}")))
    database.write(lambda conn: audit.record(conn, "key_1", "promote", "legal", None, None))
    database.close()
    monkeypatch.setattr(check, "SMALL", 4096)
    return database


def root(path: Path, table: str) -> int:
    """The page where a table begins."""
    with closing(sqlite3.connect(path)) as conn:
        (page,) = conn.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return int(page)


def spoil(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def test_a_large_sound_file_has_no_damage(large: Database) -> None:
    database = Database.open(large.path)
    checking = database.check()
    assert checking is not None
    checking.join()
    assert database.damage is None
    database.close()


def test_damage_in_a_large_log_is_found_beside_the_work(large: Database) -> None:
    spoil(large.path, root(large.path, "interactions"))
    database = Database.open(large.path)
    checking = database.check()
    assert checking is not None
    checking.join()
    assert database.damage is not None
    assert database.damage.startswith("Page ")
    database.close()


@pytest.mark.parametrize("table", ["releases", "keys", "audit", "kinds"])
def test_damage_of_what_nothing_works_without_is_found_at_once(large: Database, table: str) -> None:
    spoil(large.path, root(large.path, table))
    with pytest.raises(SetupError, match=r"(?s)damaged.*restore the last backup"):
        Database.open(large.path)


def test_a_small_file_is_looked_through_only_once(database: Database) -> None:
    assert database.check() is None


def test_a_missing_folder_is_a_setup_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"):
        Database.open(tmp_path / "nowhere" / "appliance.db")


def test_reading_a_vanished_file_is_the_store_failing(database: Database) -> None:
    database.path.rename(database.path.with_suffix(".gone"))
    with pytest.raises(StoreUnavailable, match="cannot be opened"), database.read():
        pass


def test_a_search_that_nobody_waits_for_ends(database: Database) -> None:
    """Else it would read on, on a thread that requests need."""
    begun, ended = threading.Event(), threading.Event()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"

    def read(conn: sqlite3.Connection) -> None:
        begun.set()
        try:
            conn.execute(endless).fetchone()
        finally:
            ended.set()

    async def search() -> None:
        searching = asyncio.create_task(database.search(read))
        await asyncio.to_thread(begun.wait)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        assert ended.is_set()

    asyncio.run(search())
