"""The one form of a moment in the database: ISO-8601, UTC, microseconds; as text it sorts as time does."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
