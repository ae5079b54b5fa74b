"""The one function that decides: live traffic, the dry run and the offline evaluation all call it."""

from __future__ import annotations

from collections.abc import Sequence

from router import layers
from router.cohort import Cohort
from router.decision import Decision
from router.layers import Query

_LAYERS = (layers.pinned, layers.metadata)


def decide(query: Query, cohorts: Sequence[Cohort]) -> Decision:
    """The first layer that knows answers; otherwise the base does."""
    for layer in _LAYERS:
        decision = layer(query, cohorts)
        if decision is not None:
            return decision
    return layers.fallback(query, cohorts)
