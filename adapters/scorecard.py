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
from functools import lru_cache
from statistics import fmean

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
RESAMPLES = 5000
LEVEL = 0.05  # of all proofs
_SEED = 20_261_122
_ROUNDING = 1e-9
_MOST = 100_000  # rows


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its two-sided 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """A change, for people."""
        mean, low, high = (round(100 * x, 1) + 0.0 for x in (self.mean, self.low, self.high))  # no -0.0
        return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f})"


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


def doubt(differences: Sequence[float], beyond: float, *, bounded: bool = True) -> float:
    """The one-sided bootstrap p-value against "the mean is at least `beyond`": small proves a mean below it.

    Resampling rows proves too much where few of them differ, or all by as little, so it is never smaller than what
    chance does there, at the edge of the claim (`Shape.by_chance`). `bounded`: differences lie between -1 and 1, as
    those of scores do. Where one is not a number, nothing is proven.
    """
    given = np.asarray(differences, np.float64)
    if not np.isfinite(given).all():
        return 1.0
    resampled = float((np.sum(means(given) >= beyond) + 1) / (RESAMPLES + 1))
    return max(resampled, Shape.of(given).by_chance(len(given), beyond, bounded=bounded))


@dataclass(frozen=True, slots=True)
class Shape:
    """Of differences: what rows lie above zero and below it in the mean over all, and the share that differ."""

    above: float
    below: float
    differ: float

    @classmethod
    def of(cls, differences: Scores) -> Shape:
        n = len(differences)
        above, below = (float(np.abs(differences[side]).sum()) / n for side in (differences > 0, differences < 0))
        return cls(above, below, int(np.count_nonzero(differences)) / n)

    def by_chance(self, n: int, beyond: float, *, bounded: bool = True) -> float:
        """How often `n` rows of a mean of `beyond` look like these. Where it is above zero: that so few differ by a
        whole point, of a share of `beyond`, and of that beside as many the other way as there are. Else that as many
        as differ have one sign. And that all are as these in the mean, and the few that make up for it by a whole
        point each were not drawn."""
        mean = self.above - self.below
        if beyond > 0 and not bounded:  # rows of any size: only that there are some
            found = 0.5**n
        elif beyond > 0:
            net, above = (math.ceil(n * share - _ROUNDING) for share in (max(0.0, mean), self.above))
            found = max(_at_most(net, n, beyond), _at_most(above, n, beyond + self.below))
        else:
            found = 0.5 ** (n * self.differ)
        if bounded and mean < beyond < 1:
            found = max(found, ((1 - beyond) / (1 - mean)) ** n)
        return found


def _at_most(k: int, n: int, p: float) -> float:
    """Of a binomial variable."""
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    logs = (
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def fewest(differences: Sequence[float], beyond: float, level: float) -> int | None:
    """The rows, at least as many as these, below which `doubt` proves nothing at `level`, if they go on as these are;
    None where that takes more than anybody has."""
    shape, n = Shape.of(np.asarray(differences, np.float64)), len(differences)
    while n < _MOST:
        if shape.by_chance(n, beyond) <= level:
            return n
        n = max(n + 1, math.ceil(1.005 * n))
    return None


@lru_cache
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
