"""What more rows buy: the learning curve of a cohort. Pure.

More rows are not always better, and often not worth their making. Subsets are nested, so that a difference is made by
the rows that came in addition.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters import scorecard
from adapters.scorecard import Interval
from adapters.slice import Row

SHARES: Final = (0.25, 0.5, 0.75, 1.0)
_LEAST = 1e-3  # of error, for its logarithm
_ROUNDING = 1e-9
_SEED = 20_261_128

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """One training on `rows` rows; `scores` on the eval rows, the same ones in the same order for all points."""

    rows: int
    seed: int
    scores: Sequence[float]


@dataclass(frozen=True, slots=True)
class Level:
    """The mean over the seeds of trainings on as many rows, its 95 % interval over eval rows and, where there are
    several, over seeds; each seed's mean."""

    rows: int
    score: Interval
    seeds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Worse:
    """The trainings on more rows are worse, provenly, and with every seed; of one seed that may be its chance."""

    fewer: int
    more: int
    change: Interval
    seeds: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The score to expect of so many rows, and what that is more than all rows give now."""

    rows: int
    score: Interval
    gain: Interval


@dataclass(frozen=True, slots=True)
class Curve:
    """`best`: the level with the highest score, `gain` what it scores more than the base, `better`: it is proven to;
    `enough`: the smallest that is not below it provenly and with every seed, and `gap` what it scores more than the
    best, which few eval rows leave wide. `forecast` is None with less than three levels."""

    levels: tuple[Level, ...]
    best: int
    gain: Interval
    better: bool
    enough: int
    gap: Interval
    worse: tuple[Worse, ...]
    forecast: Forecast | None


def subset(rows: Sequence[Row], share: float, seed: int) -> tuple[Row, ...]:
    """That share of the rows (at least one) by a stable hash: of one seed, each subset holds all smaller ones. They
    stay in their order."""
    places = sorted(range(len(rows)), key=lambda i: hashlib.sha256(f"{seed}:{rows[i].digest}".encode()).digest())
    kept = sorted(places[: max(1, round(share * len(rows)))])
    return tuple(rows[i] for i in kept)


def curve(points: Sequence[Point], base: Sequence[float]) -> Curve:
    """`points`: of the same seeds at every size; `base`: its scores on the same rows. Raises ValueError without
    points, or when they were not judged by the same rows."""
    if not points or {len(point.scores) for point in points} != {len(base)} or not base:
        raise ValueError("points of one curve are judged by the same eval rows")
    sizes = sorted({point.rows for point in points})
    of_size = {size: sorted((p for p in points if p.rows == size), key=lambda p: p.seed) for size in sizes}
    scores = {size: np.mean([p.scores for p in of_size[size]], axis=0) for size in sizes}
    drawn = {size: _drawn(of_size[size]) for size in sizes}
    levels = tuple(
        Level(size, _around(scores[size], drawn[size]), tuple(fmean(p.scores) for p in of_size[size]))
        for size in sizes
    )
    top = max(levels, key=lambda level: level.score.mean)
    best = top.rows
    gaps = {size: scores[size] - scores[best] for size in sizes}
    below = {one.rows for one in levels if _below(one, top, scorecard.doubt(list(gaps[one.rows]), 0.0))}
    enough = min(size for size in sizes if size not in below)
    bare = np.asarray(base, np.float64)
    gain = _around(scores[best] - bare, drawn[best] - scorecard.means(bare))
    proof = scorecard.doubt(list(bare - scores[best]), 0.0) <= scorecard.LEVEL / len(sizes)  # the best of so many
    return Curve(
        levels=levels,
        best=best,
        gain=gain,
        better=proof and gain.low > 0,
        enough=enough,
        gap=_around(gaps[enough], drawn[enough] - drawn[best]),
        worse=_worse(levels, scores, drawn),
        forecast=_forecast(sizes, drawn),
    )


def _below(fewer: Level, top: Level, doubt: float) -> bool:
    return doubt <= scorecard.LEVEL and all(a < b for a, b in zip(fewer.seeds, top.seeds, strict=False))


def _drawn(points: Sequence[Point]) -> Scores:
    """The means of resampled eval rows and seeds, the same ones at every size; (RESAMPLES,)."""
    of_seed = np.stack([scorecard.means(np.asarray(point.scores, np.float64)) for point in points])
    chance = np.random.default_rng(_SEED).random((of_seed.shape[1], len(points)))
    chosen = (chance * len(points)).astype(int)
    return np.asarray(of_seed[chosen, np.arange(of_seed.shape[1])[:, None]].mean(1))


def _around(scores: Scores, drawn: Scores) -> Interval:
    return replace(_spread(drawn), mean=float(scores.mean()))


def _worse(levels: Sequence[Level], scores: dict[int, Scores], drawn: dict[int, Scores]) -> tuple[Worse, ...]:
    """Judged together (Holm): each step with the next, and the most rows with the best level. That one is told where
    no step alone is proven: a slow decline."""
    best = max(levels, key=lambda level: level.score.mean)
    pairs = [*pairwise(levels), (best, levels[-1])]
    changes = [scores[more.rows] - scores[fewer.rows] for fewer, more in pairs]
    proven = scorecard.proven([scorecard.doubt(list(change), 0.0) for change in changes])
    *steps, decline = (
        Worse(fewer.rows, more.rows, _around(change, drawn[more.rows] - drawn[fewer.rows]), len(more.seeds))
        if lost and all(b < a for a, b in zip(fewer.seeds, more.seeds, strict=False))
        else None
        for (fewer, more), change, lost in zip(pairs, changes, proven, strict=True)
    )
    return tuple(filter(None, steps)) or tuple(filter(None, [decline]))


def _forecast(sizes: Sequence[int], resampled: dict[int, Scores]) -> Forecast | None:
    """Of twice the most rows: errors fall as a power of the rows (Hestness et al. 2017), from what all rows give.
    The power is fitted to the resampled means, so that the interval shows what rows and seeds leave open, and without
    the fewest rows: a curve that flattens would be promised its steep beginning again. It cannot show that the law
    may end."""
    if len(sizes) < 3:
        return None
    late = sizes[1:]
    drawn = np.stack([resampled[size] for size in late])  # (sizes, resamples)
    errors = np.log(np.clip(1 - drawn, _LEAST, 1))
    logs = np.log(np.asarray(late, np.float64))
    centred = logs - logs.mean()
    slopes = centred @ errors / (centred @ centred)
    more = 2 * sizes[-1]
    ahead = 1 - np.exp(np.minimum(0.0, errors[-1] + slopes * math.log(more / sizes[-1])))
    gain = ahead - (1 - np.exp(errors[-1]))
    return Forecast(more, _spread(drawn[-1] + gain), _spread(gain))


def _spread(drawn: Scores) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(drawn.mean()), float(low), float(high))


def says(found: Curve) -> list[str]:
    """The curve in words."""
    most = found.levels[-1].rows
    apart = f", {found.gap.points} beside it" if found.enough != found.best else ""
    told = [f"{found.enough} of {most} rows are within noise of the best ({found.best} rows){apart}"]
    if found.better:
        told.append(f"the best gains {found.gain.points} over the base")
    else:
        told.append(f"NO PART IS PROVEN BETTER THAN THE BASE: the best gains {found.gain.points}")
    for one in found.worse:
        chance = "; it may be this training's chance: --seeds 3 tells" if one.seeds == 1 else ""
        told.append(f"more rows made it worse: {one.fewer} to {one.more} rows, {one.change.points}{chance}")
    if all(len(level.seeds) == 1 for level in found.levels):
        told.append("one training for each part: what chance moves is in no interval, --seeds 3 shows it")
    if found.forecast is None:
        return [*told, f"{len(found.levels)} parts are too few to say what more rows would give"]
    return [*told, _ahead(found.forecast)]


def _ahead(forecast: Forecast) -> str:
    score, gain = forecast.score, forecast.gain
    about = f"about {100 * score.mean:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"
    told = f"{about}, {gain.points} more than all"
    if gain.low > 0:
        return f"{forecast.rows} rows would give {told}"
    if gain.high <= _ROUNDING:
        return f"errors do not fall as rows are added, so more rows of this kind promise nothing: {told}"
    return f"what {forecast.rows} rows would give is not settled: {told}"
