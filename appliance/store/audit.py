"""The record of what operators changed: every mutation calls `record` in its own transaction."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from .timestamps import now

JsonObject = dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """`before` and `after` are the object as it was and as it became; None where there is none."""

    seq: int
    created: str
    key_id: str
    action: str
    object: str
    before: JsonObject
    after: JsonObject


def record(
    conn: sqlite3.Connection, key_id: str, action: str, object: str, before: JsonObject, after: JsonObject
) -> None:
    states = (json.dumps(state, ensure_ascii=False) for state in (before, after))
    conn.execute(
        "INSERT INTO audit (created, key_id, action, object, before, after) VALUES (?, ?, ?, ?, ?, ?)",
        (now(), key_id, action, object, *states),
    )


def about(conn: sqlite3.Connection, action: str, object: str) -> bool:
    """Whether this action on this object was recorded."""
    row = conn.execute("SELECT 1 FROM audit WHERE action = ? AND object = ? LIMIT 1", (action, object)).fetchone()
    return row is not None


def page(conn: sqlite3.Connection, *, limit: int, before_seq: int | None = None) -> list[AuditRow]:
    """The newest rows older than `before_seq`, newest first."""
    rows = conn.execute(
        "SELECT * FROM audit WHERE seq < coalesce(?, 9223372036854775807) ORDER BY seq DESC LIMIT ?",
        (before_seq, limit),
    )
    return [
        AuditRow(**{**row, "before": json.loads(row["before"]), "after": json.loads(row["after"])}) for row in rows
    ]
