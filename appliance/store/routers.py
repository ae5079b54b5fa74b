"""The text routers that were fitted, and which of them is in force."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from appliance.errors import NotFound

from .timestamps import now

State = Literal["live", "refused", "retired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One fitted router; its files lie under router/ by digest. `report` is what it gave on rows kept apart,
    `refusals` why it did not go live."""

    version: int
    digest: str
    state: State
    created: str
    key_id: str
    manifest: dict[str, Any]
    report: dict[str, Any]
    refusals: list[str]

    @property
    def name(self) -> str:
        return f"router@{self.version}"


def insert(
    conn: sqlite3.Connection,
    *,
    digest: str,
    key_id: str,
    manifest: dict[str, Any],
    report: dict[str, Any],
    refusals: list[str],
) -> Router:
    """Add it as the next version: live, and the one before retired, unless it was refused."""
    state: State = "refused" if refusals else "live"
    if state == "live":
        _retire(conn)
    (version,) = conn.execute("SELECT coalesce(max(version), 0) + 1 FROM routers").fetchone()
    texts = (json.dumps(value, ensure_ascii=False) for value in (manifest, report, refusals))
    conn.execute(
        "INSERT INTO routers (version, digest, state, created, key_id, manifest, report, refusals) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (version, digest, state, now(), key_id, *texts),
    )
    return get(conn, version)


def switch(conn: sqlite3.Connection, version: int) -> Router:
    """Make this one live. Raises NotFound."""
    get(conn, version)
    _retire(conn)
    conn.execute("UPDATE routers SET state = 'live' WHERE version = ?", (version,))
    return get(conn, version)


def get(conn: sqlite3.Connection, version: int) -> Router:
    """Raises NotFound."""
    row = conn.execute("SELECT * FROM routers WHERE version = ?", (version,)).fetchone()
    if row is None:
        raise NotFound(f"there is no router@{version}", param="version")
    return _from_row(row)


def live(conn: sqlite3.Connection) -> Router | None:
    row = conn.execute("SELECT * FROM routers WHERE state = 'live'").fetchone()
    return None if row is None else _from_row(row)


def list_all(conn: sqlite3.Connection) -> list[Router]:
    """Newest first."""
    return [_from_row(row) for row in conn.execute("SELECT * FROM routers ORDER BY version DESC")]


def _retire(conn: sqlite3.Connection) -> None:
    conn.execute("UPDATE routers SET state = 'retired' WHERE state = 'live'")


def _from_row(row: sqlite3.Row) -> Router:
    values = dict(row)
    for name in ("manifest", "report", "refusals"):
        values[name] = json.loads(values[name])
    return Router(**values)
