"""How the database file is opened: one connection that writes, and short ones that read.

SQLite up to 3.51.2 (Python here has 3.40.1) can corrupt a WAL when two connections write or checkpoint at the same
moment. So at any time there is at most one read-write connection, and every other one cannot even checkpoint.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

BUSY_S = 5.0  # only a stranger's write transaction, or WAL recovery after a crash, can make us wait

_WRITER = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # 0.17 ms a commit; NORMAL may lose the last commits at power loss
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # erased text is overwritten, not only unlinked
    "PRAGMA mmap_size=0",  # a stray mmap is an amplifier of the WAL bug
    "PRAGMA wal_autocheckpoint=1000",  # pages: passive, every 4 MiB
    "PRAGMA journal_size_limit=67108864",  # 64 MiB: what a long read made the WAL grow to is given back
)
_READER = (
    "PRAGMA query_only=ON",
    "PRAGMA mmap_size=0",
    "PRAGMA wal_autocheckpoint=0",
    "PRAGMA schema_version",  # a first read: what is wrong with the file comes out here
)


def read_write(path: Path) -> sqlite3.Connection:
    """The writing connection to an existing file; transactions are begun and ended by hand."""
    return _connect(path, "rw", _WRITER)


def read_only(path: Path) -> sqlite3.Connection:
    return _connect(path, "ro", _READER)


def _connect(path: Path, mode: str, pragmas: Iterable[str]) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
