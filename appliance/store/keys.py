"""The API keys: what each may do, and the digest of its secret."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass, fields

from appliance.errors import NotFound

from . import sql
from .timestamps import now


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """`cohorts` None means all of them; `hints`: may its requests carry routing metadata."""

    id: str
    name: str
    secret_sha256: str
    scopes: tuple[str, ...]
    created: str
    cohorts: tuple[str, ...] | None = None
    tenant: str | None = None
    hints: bool = False
    expires: str | None = None
    revoked: str | None = None


def insert(conn: sqlite3.Connection, key: Key) -> None:
    conn.execute(
        sql.insert("keys", [column.name for column in fields(Key)]),
        {
            **asdict(key),
            "scopes": json.dumps(key.scopes),
            "cohorts": None if key.cohorts is None else json.dumps(key.cohorts),
        },
    )


def get(conn: sqlite3.Connection, id: str) -> Key | None:
    """The key, revoked or not."""
    row = conn.execute("SELECT * FROM keys WHERE id = ?", (id,)).fetchone()
    return _from_row(row) if row else None


def list_all(conn: sqlite3.Connection) -> list[Key]:
    """Oldest first, revoked ones too."""
    return [_from_row(row) for row in conn.execute("SELECT * FROM keys ORDER BY created, id")]


def revoke(conn: sqlite3.Connection, id: str) -> Key:
    """The key as it is now; a second time changes nothing. Raises NotFound."""
    conn.execute("UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (now(), id))
    key = get(conn, id)
    if key is None:
        raise NotFound(f"there is no key {id}")
    return key


def _from_row(row: sqlite3.Row) -> Key:
    values = dict(row)
    cohorts = values["cohorts"]
    return Key(
        **{
            **values,
            "scopes": tuple(json.loads(values["scopes"])),
            "cohorts": None if cohorts is None else tuple(json.loads(cohorts)),
            "hints": bool(values["hints"]),
        }
    )
