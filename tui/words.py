"""Figures as people read them: each with its unit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

NONE = "-"
WAITING = ("candidate", "shadow", "canary")  # states of a release that was not live yet


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.0f} %"


def points(score: float | None) -> str:
    return NONE if score is None else f"{100 * score:.1f} %"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:.0f} ms"


def times(*values: float | None) -> str:
    """Several in one unit: milliseconds, or seconds once one of them is."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    seconds = max(known) >= 1000
    digits = 1 if min(known) >= 100 else 2
    told = (
        NONE if value is None else f"{value / 1000:.{digits}f}" if seconds else f"{value:.0f}" for value in values
    )
    return f"{', '.join(told)} {'s' if seconds else 'ms'}"


def rate(value: float) -> str:
    return f"{value:.0f}/s" if value >= 10 else f"{value:.2f}/s"


def size(value: int | None) -> str:
    if value is None:
        return NONE
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if value >= bytes_:
            return f"{value / bytes_:.1f} {unit}"
    return f"{value} B"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    told = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(told[:2]) or "0 s"


def age(moment: str | None, now: datetime | None = None) -> str:
    """How long ago, in minutes once it is one; a moment to come is `in ...`."""
    if not moment:
        return NONE
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    whole = abs(seconds) if abs(seconds) < 60 else abs(seconds) // 60 * 60
    return duration(whole) if seconds >= 0 else f"in {duration(whole)}"


def local(moment: str) -> datetime:
    """In the zone of whoever looks."""
    return datetime.fromisoformat(moment).astimezone()


def zone() -> str:
    return datetime.now().astimezone().tzname() or "local"


def clock(moment: str) -> str:
    return f"{local(moment):%H:%M:%S}"


def day(moment: str | None) -> str:
    return f"{local(moment):%Y-%m-%d}" if moment else NONE


def bar(share: float, width: int) -> str:
    """A bar of that share of the width, in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def columns(values: list[int], height: int = 1) -> list[str]:
    """A histogram as lines of blocks, the top one first."""
    most = max(values, default=0) or 1
    levels = [round(value / most * height * 8) for value in values]
    return [
        "".join(" ▁▂▃▄▅▆▇█"[max(0, min(8, level - 8 * row))] for level in levels) for row in reversed(range(height))
    ]


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The largest of each part of the line as a block; a gap where nothing was measured."""
    parts: list[list[float]] = [[] for _ in range(max(1, min(width, len(values))))]
    for place, value in enumerate(values):
        if value is not None:
            parts[place * len(parts) // len(values)].append(value)
    most = max((value for part in parts for value in part), default=0.0) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(max(part) / most * 8))] if part else " " for part in parts)


def change(figures: dict[str, float]) -> str:
    """A difference of scores with its interval."""
    mean, low, high = (f"{100 * figures[name]:+.1f}" for name in ("mean", "low", "high"))
    return f"{mean} ({low} to {high}) points"
