"""What the text layers decide from: scores of a text, and the policy that was fitted with them. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from router.cohort import BASE

LONGEST_TEXT = 32_768  # characters; of more than that, too little is read to say what it is


@dataclass(frozen=True, slots=True)
class Reading:
    """Scores by cohort, "base" for texts of no cohort: `near` the cosine to the nearest centroid of its examples,
    `probable` the classifier's probability (they sum to 1)."""

    near: Mapping[str, float]
    probable: Mapping[str, float]

    def margin(self, cohort: str) -> float:
        """By how much the text is nearer to this one than to any other."""
        return self.near[cohort] - max(score for name, score in self.near.items() if name != cohort)


@dataclass(frozen=True, slots=True)
class CalibratedThreshold:
    """From a layer's scores to the probability that its best cohort is right (Platt 1999), and the least of it that
    is accepted."""

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def confidence(self, *features: float) -> float:
        return probability(
            self.bias + sum(weight * feature for weight, feature in zip(self.weights, features, strict=True))
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """`semantic` judges (cosine, margin to the next); `classifier` the log-odds that it is this cohort, those that it
    is any, and the margin. The odds multiply a cohort's probability where metadata, or the session, speaks for it."""

    semantic: CalibratedThreshold
    classifier: CalibratedThreshold
    prior_odds: float = 2.0
    session_odds: float = 3.0

    def accepts(self, reading: Reading, shares: Mapping[str, float], cohort: str) -> float:
        """The classifier's confidence that this cohort is right, `shares` being probabilities."""
        any_cohort = 1 - shares[BASE]
        return self.classifier.confidence(log_odds(shares[cohort]), log_odds(any_cohort), reading.margin(cohort))


class TextRouter(Protocol):
    """A fitted router. `read` takes milliseconds of processor time."""

    @property
    def version(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def read(self, text: str) -> Reading: ...


def log_odds(share: float) -> float:
    """Bounded: a probability of exactly 0 or 1 is rounding."""
    p = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def probability(odds: float) -> float:
    """Of log-odds."""
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, odds))))
