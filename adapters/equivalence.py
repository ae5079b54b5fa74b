"""Is one arm better than another on the same rows, or as good, and how many rows would tell? Pure.

"Not proven better" is not "as good": what takes another's place may lose at most a margin, which is a proof of its
own (two one-sided tests, Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from adapters import scorecard
from adapters.gates import Compared
from adapters.scorecard import Interval

_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Against:
    """The adapter beside one other arm on the same rows. `wins`: share of the rows where it is better, equal ones by
    half; `gain`: the mean difference of scores. `better`: it is proven to be, `worse`: the other is; `replaceable`:
    the other is proven to lose less than the margin, as what is better does. `needed`: eval rows that would prove
    better or replaceable, if the difference stays as it is; None when one is proven, or when no number would."""

    arm: str
    n: int
    mine: float
    theirs: float
    wins: Interval
    gain: Interval
    better: bool
    worse: bool
    replaceable: bool
    needed: int | None


def judged(rivals: Sequence[Compared], margin: float) -> list[Against]:
    """Together (Holm)."""
    better = scorecard.proven([scorecard.doubt([-d for d in one.differences], 0.0) for one in rivals])
    worse = scorecard.proven([scorecard.doubt(one.differences, 0.0) for one in rivals])
    same = scorecard.proven([scorecard.doubt(one.differences, margin) for one in rivals])
    # At the level of Holm's next step: what is proven already has left the family.
    to_gain, to_equal = (scorecard.LEVEL / max(1, proofs.count(False)) for proofs in (better, same))
    return [
        Against(
            arm=one.name,
            n=len(one.candidate),
            mine=fmean(one.candidate),
            theirs=fmean(one.other),
            wins=scorecard.interval([_win(d) for d in one.differences]),
            gain=scorecard.interval(one.differences),
            better=wins and not equal,
            worse=loses,
            replaceable=equal or loses,
            needed=None if wins or equal or loses else rows_needed(one.differences, margin, to_gain, to_equal),
        )
        for one, wins, loses, equal in zip(rivals, better, worse, same, strict=True)
    ]


def _win(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def rows_needed(
    differences: Sequence[float], margin: float, to_gain: float = scorecard.LEVEL, to_equal: float = scorecard.LEVEL
) -> int | None:
    """Rows in all that prove a gain at the one level, or a loss below the margin at the other, whichever takes fewer,
    in four of five tries; None when the difference lies where neither can be."""
    mean = fmean(differences)
    spread = stdev(differences) if len(differences) > 1 else 1.0
    normal = NormalDist()

    def rows(distance: float, level: float) -> float:
        z = normal.inv_cdf(1 - level) + normal.inv_cdf(_POWER)
        return (z * spread / distance) ** 2

    ways = []
    if mean > 0 and (least := scorecard.fewest([-d for d in differences], 0.0, to_gain)):
        ways.append(max(rows(mean, to_gain), least))
    if mean < margin and (least := scorecard.fewest(differences, margin, to_equal)):
        ways.append(max(rows(margin - mean, to_equal), least))
    return max(len(differences) + 1, math.ceil(min(ways))) if ways else None
