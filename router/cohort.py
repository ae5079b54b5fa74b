"""What the router knows of a cohort: its name and the metadata rules that speak for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

BASE = "base"
FEWEST_TEXTS = 20  # different ones of each class that a fit wants: fewer say nothing held back


@dataclass(frozen=True, slots=True)
class MetadataRule:
    """Matches when every field of `match` equals the request's metadata (names and values without case).

    A rule that `routes` answers for the request; a `prior` only weights the text layers.
    """

    match: Mapping[str, str]
    rule: Literal["routes", "prior"]

    def matches(self, metadata: Mapping[str, str]) -> bool:
        return all(
            name in metadata and metadata[name].casefold() == value.casefold() for name, value in self.match.items()
        )


@dataclass(frozen=True, slots=True)
class Cohort:
    name: str
    rules: tuple[MetadataRule, ...] = ()
