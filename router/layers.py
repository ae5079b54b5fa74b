"""The routing layers: pure functions from a query to a Decision, or None for "ask the next layer"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from router.cohort import BASE, Cohort
from router.decision import Decision, Reason
from router.text import Policy, Reading, log_odds, probability


@dataclass(frozen=True, slots=True)
class Pin:
    """What the caller named: the base, a cohort, or one release of it."""

    cohort: str
    kind: Literal["base", "cohort", "release"]


@dataclass(frozen=True, slots=True)
class Query:
    """What routing may look at. `grant` is the set of names the caller may reach (cohorts and "base"), None for
    all. `text` is the conversation's text for the text layers, the newest turn first. `session` is the cohort that
    earlier requests of the same session went to."""

    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    pin: Pin | None = None
    grant: frozenset[str] | None = None
    session: str | None = None

    def grants(self, cohort: str) -> bool:
        return self.grant is None or cohort in self.grant


def pinned(query: Query) -> Decision | None:
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
    matching = speaking(query, cohorts, "routes")
    if len(matching) != 1:
        return None
    return Decision(matching[0], "metadata", "metadata_rule", 1.0, {"metadata": {matching[0]: 1.0}})


def semantic(query: Query, cohorts: Sequence[Cohort], reading: Reading, policy: Policy) -> Decision | None:
    """The cohort whose examples the text lies closest to, when it is far from all others'. What speaks for another
    one lowers the odds; what speaks for this one is left to the next layer."""
    best = _best(query, cohorts, reading.near)
    if best is None:
        return None
    alone = log_odds(policy.semantic.confidence(reading.near[best], reading.margin(best)))
    against = max((odds for name, odds in _odds(query, cohorts, policy).items() if name != best), default=1.0)
    confidence = probability(alone - math.log(against))
    if confidence < policy.semantic.threshold:
        return None
    reason: Reason = "session_turned" if query.session not in (None, best) else "near_examples"
    return Decision(best, "semantic", reason, confidence, _scores(reading))


def classifier(query: Query, cohorts: Sequence[Cohort], reading: Reading, policy: Policy) -> Decision:
    """The most probable cohort, given the text and what metadata and session say; the base when that is unclear."""
    scores = _scores(reading)
    weighted = _weighted(query, cohorts, reading.probable, policy)
    best = _best(query, cohorts, weighted)
    if best is None:
        return Decision(BASE, "fallback", "unclear", 0.0, scores)
    confidence = policy.accepts(reading, weighted, best)
    if confidence < policy.classifier.threshold:
        return Decision(BASE, "fallback", "unclear", confidence, scores)
    alone = _best(query, cohorts, reading.probable)
    sure = policy.accepts(reading, reading.probable, best) >= policy.classifier.threshold
    reason = _reason(query, best, tipped=alone != best or not sure)
    return Decision(best, "classifier", reason, confidence, scores)


def _scores(reading: Reading) -> dict[str, Mapping[str, float]]:
    """Of both text layers, whichever decides: one reading has them."""
    return {"semantic": reading.near, "classifier": reading.probable}


def fallback(query: Query, cohorts: Sequence[Cohort], reason: Reason) -> Decision:
    """The base, since no layer could read the text."""
    matching = speaking(query, cohorts, "routes")
    if not matching:
        return Decision(BASE, "fallback", reason, 0.0)
    return Decision(BASE, "fallback", "metadata_conflict", 0.0, {"metadata": dict.fromkeys(matching, 1.0)})


def speaking(query: Query, cohorts: Sequence[Cohort], rule: Literal["routes", "prior"]) -> list[str]:
    """Granted cohorts with a matching rule of this kind."""
    return [
        cohort.name
        for cohort in cohorts
        if query.grants(cohort.name)
        and any(known.rule == rule and known.matches(query.metadata) for known in cohort.rules)
    ]


def _odds(query: Query, cohorts: Sequence[Cohort], policy: Policy) -> dict[str, float]:
    """By how much something beside the text speaks for cohorts. Of several `routes` rules that contradict each other,
    each is a prior."""
    found = dict.fromkeys(
        (*speaking(query, cohorts, "prior"), *speaking(query, cohorts, "routes")), policy.prior_odds
    )
    if query.session is not None:
        found[query.session] = found.get(query.session, 1.0) * policy.session_odds
    return found


def _weighted(
    query: Query, cohorts: Sequence[Cohort], probable: Mapping[str, float], policy: Policy
) -> dict[str, float]:
    """Posterior probabilities: the classifier's times the odds of what speaks for a cohort, normalised."""
    odds = _odds(query, cohorts, policy)
    weighted = {name: share * odds.get(name, 1.0) for name, share in probable.items()}
    total = sum(weighted.values())
    return {name: share / total for name, share in weighted.items()}


def _best(query: Query, cohorts: Sequence[Cohort], scores: Mapping[str, float]) -> str | None:
    """Of the granted cohorts; those the caller may not reach still count as rivals."""
    granted = [cohort.name for cohort in cohorts if cohort.name in scores and query.grants(cohort.name)]
    return max(granted, key=lambda name: scores[name], default=None)


def _reason(query: Query, best: str, *, tipped: bool) -> Reason:
    if tipped:
        return "session_kept" if best == query.session else "prior_tipped"
    return "session_turned" if query.session not in (None, best) else "classified"
