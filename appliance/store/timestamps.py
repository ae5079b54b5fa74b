"""The one form of a moment in the database: ISO-8601, UTC, microseconds; as text it sorts as time does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from appliance.errors import InvalidRequest

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def now() -> str:
    return of(datetime.now(UTC))


def of(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse(text: str, param: str, *, ago: bool = False) -> str:
    """A moment given by a person, in this form; without an offset it is UTC. Or how long `ago`. Raises
    InvalidRequest."""
    back = re.fullmatch(r"([0-9]{1,5})([mhd])", text) if ago else None
    try:
        if back:
            return of(datetime.now(UTC) - int(back[1]) * _UNITS[back[2]])
        moment = datetime.fromisoformat(text)
        return of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
    except (ValueError, OverflowError):
        more = ", or a time ago like 90m, 2h or 3d" if ago else ""
        said = f"{param} is a moment like 2027-01-31T12:00, UTC unless it has an offset{more}"
        raise InvalidRequest(said, param=param) from None


def in_days(days: int) -> str:
    return of(datetime.now(UTC) + timedelta(days=days))
