"""The one function that decides: live traffic, the dry run and the offline evaluation all call it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from router import layers
from router.cohort import Cohort
from router.decision import Decision
from router.layers import Query
from router.text import LONGEST_TEXT, TextRouter


def decide(query: Query, cohorts: Sequence[Cohort], router: TextRouter | None = None) -> Decision:
    """The first layer that knows answers; otherwise the base does. The text is read only when no layer above the
    text layers answers."""
    decision = layers.pinned(query) or layers.metadata(query, cohorts)
    if decision is None:
        decision = _by_text(query, cohorts, router)
    return replace(decision, router=router.version) if router is not None else decision


def _by_text(query: Query, cohorts: Sequence[Cohort], router: TextRouter | None) -> Decision:
    if router is None:
        return layers.fallback(query, cohorts, "no_text_router")
    if not query.text.strip():
        return layers.fallback(query, cohorts, "no_text")
    if len(query.text) > LONGEST_TEXT:
        return layers.fallback(query, cohorts, "text_too_long")
    reading = router.read(query.text)
    policy = router.policy
    return layers.semantic(query, cohorts, reading, policy) or layers.classifier(query, cohorts, reading, policy)
