"""Long work that an operator began: how it was asked for, how far it came, what came of it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from appliance.errors import NotFound

from .timestamps import now

INTERRUPTED = "the appliance ended meanwhile: begin it again, and it goes on from what was done"
State = Literal["running", "done", "failed", "cancelled", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`asked` is the request, `result` what came of it, `error` why nothing did."""

    id: str
    kind: str
    cohort: str
    state: State
    created: str
    ended: str | None
    key_id: str
    asked: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None


def insert(
    conn: sqlite3.Connection, identity: str, kind: str, cohort: str, key_id: str, asked: dict[str, Any]
) -> Job:
    conn.execute(
        "INSERT INTO jobs (id, kind, cohort, state, created, key_id, asked) VALUES (?, ?, ?, 'running', ?, ?, ?)",
        (identity, kind, cohort, now(), key_id, json.dumps(asked, ensure_ascii=False)),
    )
    return get(conn, identity)


def end(
    conn: sqlite3.Connection, identity: str, state: State, result: dict[str, Any] | None, error: str | None
) -> None:
    told = None if result is None else json.dumps(result, ensure_ascii=False)
    conn.execute(
        "UPDATE jobs SET state = ?, ended = ?, result = ?, error = ? WHERE id = ?",
        (state, now(), told, error, identity),
    )


def interrupt(conn: sqlite3.Connection) -> None:
    """Those that were running when the process ended."""
    conn.execute(
        "UPDATE jobs SET state = 'interrupted', ended = ?, error = ? WHERE state = 'running'",
        (now(), INTERRUPTED),
    )


def get(conn: sqlite3.Connection, identity: str) -> Job:
    """Raises NotFound."""
    row = conn.execute("SELECT * FROM jobs WHERE id = ?", (identity,)).fetchone()
    if row is None:
        raise NotFound(f"there is no job {identity}", param="id")
    return _from_row(row)


def listing(conn: sqlite3.Connection, limit: int, kind: str | None = None, cohort: str | None = None) -> list[Job]:
    """Newest first, of a kind, of a cohort; without what came of them."""
    rows = conn.execute(
        "SELECT id, kind, cohort, state, created, ended, key_id, asked, NULL AS result, error FROM jobs "
        "WHERE kind = coalesce(?, kind) AND cohort = coalesce(?, cohort) ORDER BY rowid DESC LIMIT ?",
        (kind, cohort, limit),
    )
    return [_from_row(row) for row in rows]


def failed(conn: sqlite3.Connection, since: str) -> list[Job]:
    """Those that ended badly since then, the newest of each kind and cohort alone; without results."""
    rows = conn.execute(
        "SELECT id, kind, cohort, state, created, ended, key_id, asked, NULL AS result, error FROM jobs "
        "WHERE rowid IN (SELECT max(rowid) FROM jobs GROUP BY kind, cohort) "
        "AND state IN ('failed', 'interrupted') AND ended >= ? ORDER BY rowid DESC",
        (since,),
    )
    return [_from_row(row) for row in rows]


def _from_row(row: sqlite3.Row) -> Job:
    values = dict(row)
    for name in ("asked", "result"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(**values)
