"""Frozen sets of examples: what an adapter was trained on, and by what it was judged. Rows are named, not copied."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Any, Literal

from .timestamps import now

Kind = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class SliceRow:
    """`part` is train, validation or eval; `row` the digest of an example; `source` where that came from."""

    part: str
    row: str
    source: str | None
    subject: str | None
    origin: str


def insert(
    conn: sqlite3.Connection, digest: str, cohort: str, kind: Kind, report: dict[str, Any], rows: Iterable[SliceRow]
) -> None:
    """Freeze it; one that is there already stays as it is."""
    added = conn.execute(
        "INSERT INTO slices (digest, cohort, kind, created, report) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (digest, cohort, kind, now(), json.dumps(report, ensure_ascii=False)),
    ).rowcount
    if added:
        conn.executemany(
            "INSERT INTO slice_rows (slice, position, part, row, source, subject, origin) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((digest, position, *astuple(row)) for position, row in enumerate(rows)),
        )


def rows(conn: sqlite3.Connection, digest: str) -> list[SliceRow]:
    """In the order in which they were frozen."""
    found = conn.execute(
        "SELECT part, row, source, subject, origin FROM slice_rows WHERE slice = ? ORDER BY position", (digest,)
    )
    return [SliceRow(**row) for row in found]
