"""The routing layers: pure functions from a query to a Decision, or None for "ask the next layer"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from router.cohort import BASE, Cohort
from router.decision import Decision


@dataclass(frozen=True, slots=True)
class Pin:
    """What the caller named: the base, a cohort, or one release of it."""

    cohort: str
    kind: Literal["base", "cohort", "release"]


@dataclass(frozen=True, slots=True)
class Query:
    """What routing may look at. `grant` is the set of names the caller may reach (cohorts and "base"), None for
    all. `text` is the conversation's text for the text layers."""

    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    pin: Pin | None = None
    grant: frozenset[str] | None = None

    def grants(self, cohort: str) -> bool:
        return self.grant is None or cohort in self.grant


def pinned(query: Query, _cohorts: Sequence[Cohort]) -> Decision | None:
    """The caller's choice."""
    if query.pin is None:
        return None
    kind = query.pin.kind
    reason: Literal["pinned_base", "pinned_cohort", "pinned_release"] = (
        "pinned_base" if kind == "base" else "pinned_cohort" if kind == "cohort" else "pinned_release"
    )
    return Decision(query.pin.cohort, "pinned", reason, 1.0)


def metadata(query: Query, cohorts: Sequence[Cohort]) -> Decision | None:
    """The one granted cohort whose `routes` rule matches."""
    matching = routed_by_metadata(query, cohorts)
    if len(matching) != 1:
        return None
    return Decision(matching[0], "metadata", "metadata_rule", 1.0, {"metadata": {matching[0]: 1.0}})


def fallback(query: Query, cohorts: Sequence[Cohort]) -> Decision:
    """The base, since no layer found a cohort."""
    matching = routed_by_metadata(query, cohorts)
    scores = {"metadata": dict.fromkeys(matching, 1.0)} if matching else {}
    reason: Literal["metadata_conflict", "no_text_router"] = "metadata_conflict" if matching else "no_text_router"
    return Decision(BASE, "fallback", reason, 0.0, scores)


def routed_by_metadata(query: Query, cohorts: Sequence[Cohort]) -> list[str]:
    """Granted cohorts with a matching `routes` rule."""
    return [
        cohort.name
        for cohort in cohorts
        if query.grants(cohort.name)
        and any(rule.rule == "routes" and rule.matches(query.metadata) for rule in cohort.rules)
    ]
