"""What is typed into the search line of the log, as the appliance's filters. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

FIELDS = ("cohort", "release", "layer", "status", "code", "rating", "reviewed", "origin", "since", "until")
_ONE_OF = {
    "rating": ("-1", "0", "1"),
    "status": ("ok", "cancelled", "failed"),
    "reviewed": ("yes", "no"),
    "origin": ("live", "probe"),
    "layer": ("pinned", "metadata", "semantic", "classifier", "fallback"),
}
LONGEST = 200  # characters that are searched for
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class BadSearch(ValueError):
    """The message names the field and the remedy."""


def filters(typed: str, now: datetime | None = None) -> dict[str, str]:
    """`cohort:legal rating:-1 since:2h words` as parameters; what has no field is searched for in the texts. Raises
    BadSearch."""
    found: dict[str, str] = {}
    text = []
    for word in typed.split():
        field, colon, value = word.partition(":")
        if not colon or field not in FIELDS:
            text.append(word)
        elif not value:
            raise BadSearch(f"{field}: wants a value, like {field}:{_EXAMPLES[field]}")
        else:
            found[field] = _value(field, value, now or datetime.now(UTC))
    if text:
        found["text"] = " ".join(text)[:LONGEST]
    return found


_EXAMPLES = {
    "cohort": "legal",
    "release": "legal@2",
    "layer": "fallback",
    "status": "failed",
    "code": "engine_fault",
    "rating": "-1",
    "reviewed": "no",
    "origin": "probe",
    "since": "2h",
    "until": "2027-01-31",
}


def _value(field: str, value: str, now: datetime) -> str:
    if value not in (allowed := _ONE_OF.get(field, (value,))):
        raise BadSearch(f"{field}: is {', '.join(allowed[:-1])} or {allowed[-1]}")
    if field == "reviewed":
        return {"yes": "true", "no": "false"}[value]
    if field not in ("since", "until"):
        return value
    ago = re.fullmatch(r"([0-9]{1,5})([mhd])", value)
    try:
        if ago:
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).isoformat()
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise BadSearch(f"{field}: is a time ago like 90m, 2h or 3d, or a moment like 2027-01-31T12:00") from None
