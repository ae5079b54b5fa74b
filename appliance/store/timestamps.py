"""The one form of a moment in the database: ISO-8601, UTC, microseconds; as text it sorts as time does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from appliance.errors import InvalidRequest


def now() -> str:
    return of(datetime.now(UTC))


def of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse(text: str, param: str) -> str:
    """A moment given by a person, in this form; without an offset it is UTC. Raises InvalidRequest."""
    try:
        moment = datetime.fromisoformat(text)
        return of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{param} is a moment like 2027-01-31T12:00:00+00:00", param=param) from None


def in_days(days: int) -> str:
    return of(datetime.now(UTC) + timedelta(days=days))
