"""Scores of several arms on the same rows, with intervals. Pure.

Intervals and probabilities are percentile bootstraps over rows (Efron 1979), paired where two arms are compared:
each resample takes the same rows of both. Resampling is seeded, so a report made again is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
RESAMPLES = 5000
_SEED = 20_261_122


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided 95 % interval."""

    mean: float
    low: float
    high: float


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


def doubt(differences: Sequence[float], beyond: float) -> float:
    """The one-sided bootstrap p-value against "the mean is at least `beyond`": small proves a mean below it.

    Resampling few rows proves too much, so it is never smaller than an exact test allows: that as many rows that
    differ at all have one sign; and of a mean below a `beyond` above nought, that as many rows show nothing where a
    share of `beyond` would differ by a whole point.
    """
    given = np.asarray(differences, np.float64)
    floor = (1 - beyond) ** len(given) if beyond > 0 else 0.5 ** int(np.count_nonzero(given))
    return max(float((np.sum(means(given) >= beyond) + 1) / (RESAMPLES + 1)), floor)


def proven(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which hold together at `level` (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    found = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        found[i] = True
    return found
