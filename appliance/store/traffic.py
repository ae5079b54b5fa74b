"""The figures of recent requests, without their texts."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

MOST = 5_000  # requests that are looked at, the newest


@dataclass(frozen=True, slots=True)
class Seen:
    """One request; `created` as `timestamps.now` writes it, times in milliseconds."""

    created: str
    cohort: str
    layer: str
    release: str
    status: str
    confidence: float | None
    ttft_ms: float | None
    total_ms: float | None
    completion_tokens: int | None
    rating: int | None


_RECENT = """
SELECT created, cohort, layer, release, status, confidence, ttft_ms, total_ms, completion_tokens, rating
FROM interactions
WHERE seq >= coalesce((SELECT seq FROM moments WHERE minute <= substr(:since, 1, 16) ORDER BY minute DESC LIMIT 1), 0)
    AND created BETWEEN :since AND :now AND origin = 'live'
ORDER BY seq DESC LIMIT :most
"""


def recent(conn: sqlite3.Connection, since: str, now: str) -> list[Seen]:
    """Live requests since that moment, newest first, at most `MOST`; none from when the clock was ahead of `now`."""
    return [Seen(*row) for row in conn.execute(_RECENT, {"since": since, "now": now, "most": MOST})]
