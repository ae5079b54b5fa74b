"""May a new router replace the one in force? Not when a cohort or the fallback provably lost by it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from router.cohort import BASE
from router.decision import Decision

SIGNIFICANCE = 0.05  # over all cohorts together (Holm 1979)


def regressions(golds: Sequence[str], old: Sequence[Decision], new: Sequence[Decision]) -> list[str]:
    """Why not: for each cohort, and for "base", an exact one-sided McNemar test on the same rows (1947): of the rows
    that one of the two sent right and the other wrong, too many were right before."""
    pairs = list(zip(golds, old, new, strict=True))
    tests = []
    for name in sorted(set(golds)):
        lost = sum(g == name and o.cohort == g != n.cohort for g, o, n in pairs)
        won = sum(g == name and o.cohort != g == n.cohort for g, o, n in pairs)
        tests.append((_tail(lost, lost + won), name, lost, won))
    found = []
    for rank, (p, name, lost, won) in enumerate(sorted(tests)):
        if p > SIGNIFICANCE / (len(tests) - rank):
            break
        what = "the fallback" if name == BASE else name
        rows = sum(g == name for g in golds)
        found.append(f"{what} lost {lost} and won {won} of {rows} rows (p = {p:.2g})")
    return found


def _tail(hits: int, n: int) -> float:
    """The chance of `hits` or more heads of n fair coins."""
    ways: int = sum(math.comb(n, k) for k in range(hits, n + 1))
    return ways / (1 << n)
