"""What reviews of live releases found: the newest verdict for each weight format of the base."""

from __future__ import annotations

import sqlite3

from appliance.store.timestamps import now


def put(conn: sqlite3.Connection, digest: str, cohort: str, format_digest: str, verdict: str) -> None:
    """In place of an earlier one."""
    conn.execute(
        "INSERT OR REPLACE INTO reviews (digest, cohort, format_digest, verdict, created) VALUES (?, ?, ?, ?, ?)",
        (digest, cohort, format_digest, verdict, now()),
    )


def passed(conn: sqlite3.Connection, digest: str, cohort: str, format_digest: str) -> bool:
    """Whether the release passed on these weights when it was last reviewed on them."""
    found = conn.execute(
        "SELECT verdict FROM reviews WHERE digest = ? AND cohort = ? AND format_digest = ?",
        (digest, cohort, format_digest),
    ).fetchone()
    return found is not None and found["verdict"] == "pass"
