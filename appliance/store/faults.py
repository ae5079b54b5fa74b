"""Which errors mean that the disk or the file failed, not the caller, and what to do about each."""

from __future__ import annotations

import sqlite3

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk of the database is full: free some space",
    sqlite3.SQLITE_IOERR: "the disk of the database fails: look at the kernel log and the free space",
    sqlite3.SQLITE_BUSY: "another program holds the database locked: only the appliance may write to it",
    sqlite3.SQLITE_CANTOPEN: "the database cannot be opened: check that its folder exists and who may write there",
    sqlite3.SQLITE_READONLY: "the database is read-only: check its owner and how its disk is mounted",
    sqlite3.SQLITE_CORRUPT: "the database is damaged: stop the appliance and restore the last backup",
    sqlite3.SQLITE_NOTADB: "the database is no SQLite file: stop the appliance and restore the last backup",
}


def disk_fault(error: BaseException) -> str | None:
    """What is wrong with the database and what to do; None when the error is not about disk or file.

    No path in it: it is shown to whoever called the appliance.
    """
    # The low byte is the family: SQLITE_IOERR_FSYNC is an SQLITE_IOERR. What Python itself raises has no code.
    remedy = _REMEDIES.get(getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF)
    return f"{remedy} ({getattr(error, 'sqlite_errorname', '')})" if remedy else None
