"""Cohort to release: what answers for a decision. An immutable snapshot, replaced whole when a release changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Arm: TypeAlias = Literal["live", "candidate", "previous", "pinned", "base"]


@dataclass(frozen=True, slots=True)
class Target:
    """One release as the route table names it."""

    cohort: str
    version: int
    digest: str

    @property
    def name(self) -> str:
        return f"{self.cohort}@{self.version}"


@dataclass(frozen=True, slots=True)
class RouteTable:
    """`live` maps a cohort to its live release; `named` maps `legal@3`, `legal@candidate`, `legal@previous`."""

    live: Mapping[str, Target] = field(default_factory=dict)
    named: Mapping[str, Target] = field(default_factory=dict)
