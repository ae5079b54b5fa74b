"""What the disk may do to us, done by real disks: kills, a full filesystem, and errors injected into system calls."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from appliance.errors import StoreUnavailable
from appliance.store import audit, interactions
from appliance.store.database import Database

from .samples import interaction

HERE = Path(__file__).parent


@pytest.mark.parametrize("kills", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_no_acknowledged_row_is_lost_in_kills(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "appliance.db"
    program = [sys.executable, str(HERE / "appender.py"), str(path), str(kills)]
    acknowledged = subprocess.check_output(program, text=True).split()
    database = Database.open(path)
    with database.read() as conn:
        stored = {id for (id,) in conn.execute("SELECT id FROM interactions")}
    database.close()
    assert len(acknowledged) >= kills // 2
    assert set(acknowledged) <= stored
    assert integrity(path) == "ok"


def test_a_full_disk_stops_writes_until_there_is_space(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(512 * 1024))
    database = Database.open(small_disk / "appliance.db")
    acknowledged = fill(database, "before")
    assert database.failing is not None
    assert "disk of the database is full: free some space" in database.failing
    assert stored(database) == acknowledged

    ballast.unlink()
    database.probe().result()
    assert database.failing is None
    acknowledged += fill(database, "after")
    database.close()
    database = Database.open(small_disk / "appliance.db")
    assert stored(database) == acknowledged
    database.close()
    assert integrity(database.path) == "ok"


def fill(database: Database, name: str) -> list[str]:
    """Write until the disk is full; the ids that were acknowledged."""
    ids: list[str] = []
    while True:
        row = interaction(f"req_{name}_{len(ids)}", answer="x" * 4_000)
        try:
            database.write(partial(interactions.insert, interaction=row)).result()
        except StoreUnavailable as error:
            assert error.message == database.failing
            return ids
        ids.append(row.id)


# `when` counts the calls on the WAL: one write and one sync for its header, then some writes and one sync a commit.
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=1",
        "fdatasync:error=EIO:when=3",
        "fdatasync:error=EIO:when=3..4",
        "pwrite64:error=EIO:when=1",
        "pwrite64:error=EIO:when=3",
        "pwrite64:error=ENOSPC:when=2",
        "pwrite64:error=ENOSPC:when=8",
    ],
)
def test_a_system_call_that_fails_costs_only_unacknowledged_writes(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "appliance.db"
    Database.open(path).close()
    trace = ["strace", "-f", "-o", "/dev/null", "-P", f"{path}-wal", "-e", f"inject={fault}"]
    outcomes = json.loads(subprocess.check_output([*trace, sys.executable, str(HERE / "injured.py"), str(path)]))
    failed = [n for n, outcome in enumerate(outcomes) if outcome["error"]]
    assert failed
    assert len(outcomes) - 1 not in failed
    for outcome in outcomes:
        assert outcome["error"] == outcome["failing"]
        assert outcome["error"] is None or outcome["error"].startswith("the disk of the database")
    database = Database.open(path)
    with database.read() as conn:
        written = {int(row.object) for row in audit.page(conn, limit=10)}
    database.close()
    assert written == set(range(len(outcomes))) - set(failed)
    assert integrity(path) == "ok"


def stored(database: Database) -> list[str]:
    with database.read() as conn:
        return [row.id for row in interactions.follow(conn, 0, 1 << 31)]


def integrity(path: Path) -> str:
    with closing(sqlite3.connect(path)) as conn:
        return str(conn.execute("PRAGMA integrity_check").fetchone()[0])
