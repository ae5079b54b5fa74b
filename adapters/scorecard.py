"""Scores of several arms on the same rows, with intervals. Pure.

Intervals and probabilities are percentile bootstraps over rows (Efron 1979), paired where two arms are compared:
each resample takes the same rows of both. Resampling is seeded, so a report made again is the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
RESAMPLES = 5000
LEVEL = 0.05  # of all proofs
_SEED = 20_261_122


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """A change, for people."""
        return f"{100 * self.mean:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def means(scores: Scores) -> Scores:
    """The mean of each resample; (RESAMPLES,)."""
    rng = np.random.default_rng(_SEED)
    found = [scores[rng.integers(0, len(scores), (500, len(scores)))].mean(1) for _ in range(RESAMPLES // 500)]
    return np.concatenate(found)


def interval(scores: Sequence[float]) -> Interval:
    """Raises ValueError without scores."""
    if not len(scores):
        raise ValueError("no scores")
    given = np.asarray(scores, np.float64)
    low, high = np.quantile(means(given), [0.025, 0.975])
    return Interval(float(given.mean()), float(low), float(high))


def macro_f1(given: Sequence[str], wanted: Sequence[str]) -> float:
    """The mean F1 of the labels that rows want, however many rows want each. What is given and nobody wants is a miss
    and no label of its own, since a model can say anything. Raises ValueError without rows."""
    if not wanted:
        raise ValueError("no labels")
    hits = Counter(label for said, label in zip(given, wanted, strict=True) if said == label)
    said, asked = Counter(given), Counter(wanted)
    return fmean(2 * hits[label] / (said[label] + asked[label]) for label in asked)


def doubt(differences: Sequence[float], beyond: float) -> float:
    """The one-sided bootstrap p-value against "the mean is at least `beyond`": small proves a mean below it.

    Resampling few rows proves too much, so it is never smaller than an exact test allows: that as many rows that
    differ at all have one sign; and of a mean below a `beyond` above nought, that as many rows show nothing where a
    share of `beyond` would differ by a whole point. Where one is not a number, nothing is proven.
    """
    given = np.asarray(differences, np.float64)
    if not np.isfinite(given).all():
        return 1.0
    floor = (1 - beyond) ** len(given) if beyond > 0 else 0.5 ** int(np.count_nonzero(given))
    return max(float((np.sum(means(given) >= beyond) + 1) / (RESAMPLES + 1)), floor)


def fewest(beyond: float, differ: float, level: float) -> float:
    """The rows below which `doubt` proves nothing at `level`, where that share of them differ at all (more than none,
    unless `beyond` is above nought)."""
    if beyond >= 1:
        return 1.0
    return math.log(level) / math.log(1 - beyond) if beyond > 0 else math.log2(1 / level) / differ


def smallest_loss(n: int, beyond: float, level: float) -> float | None:
    """The smallest share of `n` rows that proves a mean below `beyond` when each loses a whole point and the others
    nothing; None when not even all of them do."""

    def shows(lost: int) -> bool:
        return doubt([-1.0] * lost + [0.0] * (n - lost), beyond) <= level

    lost = bisect_left(range(1, n + 1), True, key=shows) + 1
    return lost / n if lost <= n else None


def proven(p_values: Sequence[float]) -> list[bool]:
    """Which hold together at LEVEL (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > LEVEL / (len(p_values) - rank):
            break
        found[i] = True
    return found
