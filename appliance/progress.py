"""How far something is, told as it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Report: TypeAlias = Callable[[float, str], None]  # the share done, of 1, and what is being done


def part(report: Report, start: float, share: float, of: str = "") -> Report:
    """A report for a share of the whole that begins at `start`; `of` says which part it is."""
    return lambda done, doing: report(start + share * done, f"{of}{doing}")
