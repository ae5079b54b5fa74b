"""Is the file whole? SQLite's own check: of as much as a start can wait for, and of the whole beside the work."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from .connections import read_only
from .faults import disk_fault

SMALL = 256 << 20  # bytes: read in a second, where a log of a year takes half a minute
_GROWING = ("interactions", "feedback")


def fault_at_start(connection: sqlite3.Connection, path: Path) -> str | None:
    """What is wrong with the file; with a larger one than SMALL, in the tables that nothing works without."""
    if path.stat().st_size <= SMALL:
        return _verdict(connection, "PRAGMA quick_check(1)")
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    names = [name for (name,) in tables if name not in _GROWING]
    return next(filter(None, (_verdict(connection, f"PRAGMA quick_check('{name}')") for name in names)), None)


def check_beside(path: Path, damaged: Callable[[str], None]) -> threading.Thread | None:
    """Where `fault_at_start` left something out, read all of the file in a thread of the lowest priority."""

    def check() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # on Linux of this thread alone
        if fault := _fault_anywhere(path):
            damaged(fault)

    if path.stat().st_size <= SMALL:
        return None
    # A daemon: SQLite's check cannot be interrupted, and a stop must not wait for it.
    thread = threading.Thread(target=check, name="store-check", daemon=True)
    thread.start()
    return thread


def _fault_anywhere(path: Path) -> str | None:
    try:
        with closing(read_only(path)) as connection:
            return _verdict(connection, "PRAGMA quick_check(1)")
    except sqlite3.Error as error:
        return disk_fault(error) or str(error)


def _verdict(connection: sqlite3.Connection, pragma: str) -> str | None:
    (verdict,) = connection.execute(pragma).fetchone()
    return None if verdict == "ok" else str(verdict).splitlines()[-1]
