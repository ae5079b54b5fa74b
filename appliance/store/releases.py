"""The releases of each cohort, their states, and the events that changed them.

Nothing is decided here: callers pass transitions that `lifecycle` has allowed.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from appliance.errors import Conflict, NotFound

from . import sql
from .timestamps import now

State = Literal["candidate", "shadow", "canary", "live", "retired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version for a cohort; `version` is given by `insert`, `parent` is the digest it was made from."""

    digest: str
    cohort: str
    state: State
    adapter_digest: str
    template_digest: str
    base_digest: str
    system_prompt: str
    created: str
    gated: bool
    manifest: dict[str, Any]
    parent: str | None = None
    version: int = 0

    @property
    def name(self) -> str:
        return f"{self.cohort}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEvent:
    """A change of state; `from_state` is None when the release was added."""

    seq: int
    created: str
    cohort: str
    version: int
    digest: str
    event: str
    from_state: State | None
    to_state: State
    key_id: str


def insert(conn: sqlite3.Connection, release: Release, key_id: str) -> Release:
    """Add it as the cohort's next version, with its event. Raises Conflict for a digest the cohort has."""
    known = conn.execute(
        "SELECT version FROM releases WHERE cohort = ? AND digest = ?", (release.cohort, release.digest)
    ).fetchone()
    if known:
        raise Conflict(f"this release is already there as {release.cohort}@{known['version']}")
    (version,) = conn.execute(
        "SELECT coalesce(max(version), 0) + 1 FROM releases WHERE cohort = ?", (release.cohort,)
    ).fetchone()
    release = replace(release, version=version)
    conn.execute(
        sql.insert("releases", [column.name for column in fields(Release)]),
        {**asdict(release), "manifest": json.dumps(release.manifest, ensure_ascii=False)},
    )
    _append_event(conn, release, "added", None, release.state, key_id)
    return release


def get(conn: sqlite3.Connection, cohort: str, version: int) -> Release | None:
    row = conn.execute("SELECT * FROM releases WHERE cohort = ? AND version = ?", (cohort, version)).fetchone()
    return _from_row(row) if row else None


def live(conn: sqlite3.Connection, cohort: str) -> Release | None:
    row = conn.execute("SELECT * FROM releases WHERE cohort = ? AND state = 'live'", (cohort,)).fetchone()
    return _from_row(row) if row else None


def list_all(conn: sqlite3.Connection, cohort: str | None = None) -> list[Release]:
    """By cohort, the newest version first."""
    rows = conn.execute(
        "SELECT * FROM releases WHERE :cohort IS NULL OR cohort = :cohort ORDER BY cohort, version DESC",
        {"cohort": cohort},
    )
    return [_from_row(row) for row in rows]


def set_state(conn: sqlite3.Connection, cohort: str, version: int, state: State, event: str, key_id: str) -> None:
    """Move a release and append the event. Raises NotFound; sqlite3.IntegrityError for a second live release."""
    release = get(conn, cohort, version)
    if release is None:
        raise NotFound(f"there is no release {cohort}@{version}")
    conn.execute("UPDATE releases SET state = ? WHERE cohort = ? AND version = ?", (state, cohort, version))
    _append_event(conn, release, event, release.state, state, key_id)


def events(conn: sqlite3.Connection, cohort: str) -> list[ReleaseEvent]:
    """Everything that happened to the releases of a cohort, oldest first."""
    rows = conn.execute("SELECT * FROM release_events WHERE cohort = ? ORDER BY seq", (cohort,))
    return [ReleaseEvent(**row) for row in rows]


def _append_event(
    conn: sqlite3.Connection, release: Release, event: str, before: State | None, after: State, key_id: str
) -> None:
    conn.execute(
        """
        INSERT INTO release_events (created, cohort, version, digest, event, from_state, to_state, key_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (now(), release.cohort, release.version, release.digest, event, before, after, key_id),
    )


def _from_row(row: sqlite3.Row) -> Release:
    values = dict(row)
    return Release(**{**values, "gated": bool(values["gated"]), "manifest": json.loads(values["manifest"])})
