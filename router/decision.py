"""Where a request goes, and why: the record that answers "was it the route or the model?"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Layer: TypeAlias = Literal["pinned", "metadata", "semantic", "classifier", "fallback"]
LAYERS: tuple[Layer, ...] = get_args(Layer)

Reason: TypeAlias = Literal[
    "pinned_base",  # the caller named the base
    "pinned_cohort",  # the caller named a cohort
    "pinned_release",  # the caller named one release of a cohort
    "metadata_rule",  # one cohort's rule matched the request's metadata
    "metadata_conflict",  # rules of several cohorts matched, and no other layer decided
    "near_examples",  # the text lies close to examples of one cohort, far from the others'
    "classified",  # the classifier is sure of the text alone
    "prior_tipped",  # it is sure because the request's metadata speaks for this cohort
    "session_kept",  # it is sure because the session's earlier requests went there
    "session_turned",  # it is sure of another cohort than the session's earlier requests went to
    "unclear",  # no cohort is probable enough
    "no_text",  # there is nothing to read
    "text_too_long",  # so much text that what can be read of it says little
    "no_text_router",  # nothing above decided and no router for texts is installed
    "no_live_release",  # the cohort decided on has no live release, so the base answers for it
]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True)
class Decision:
    """`cohort` is "base" where no cohort was found. `confidence` is a calibrated probability that the cohort is the
    right one: 1 for layers that do not guess; for a fallback that of the cohort that came nearest, 0 where none was
    looked for. `scores` maps layer to cohort to score, of both text layers where the text was read. `router` is the
    version of the text router, None without one."""

    cohort: str
    layer: Layer
    reason: Reason
    confidence: float
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    router: str | None = None
