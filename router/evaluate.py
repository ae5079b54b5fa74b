"""How good a router is on labelled rows: every figure is computed from the decisions that the serving code made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from router.calibration import calibration_error
from router.cohort import BASE
from router.decision import LAYERS, Decision

_RESAMPLES = 500
_POINTS = 50  # of the curve
_Z = 1.96  # 95 %

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scored:
    """A row: the cohort it belongs to ("base" for none), and where it was sent. `nearest` is the cohort with the
    highest score, sent there or not."""

    gold: str
    decision: Decision
    nearest: str


@dataclass(frozen=True, slots=True)
class Proportion:
    """A proportion with its 95 % interval (Wilson 1927); `value` is None of nothing."""

    value: float | None
    low: float
    high: float


def scored(gold: str, decision: Decision) -> Scored:
    """What came nearest to a text that the base answers is read from the classifier's scores."""
    scores: dict[str, float] = {}
    for name in ("semantic", "classifier"):
        scores = dict(decision.scores.get(name, scores))
    scores.pop(BASE, None)
    nearest = decision.cohort if decision.cohort != BASE else max(scores, key=scores.__getitem__, default=BASE)
    return Scored(gold, decision, nearest)


def report(rows: Sequence[Scored]) -> dict[str, Any]:
    """The figures of `cohort router eval`. Raises ValueError without rows.

    `coverage`: rows of a cohort that were accepted, `accuracy`: the accepted of them that went to their own;
    `ood_accepted`: rows of none that a cohort accepted; `misrouted`: of all rows those accepted by a wrong cohort, or
    by any though they belong to none; `auroc`: of the confidence, for telling rows of a cohort from rows of none.
    `calibration_error`: of the confidence that the nearest cohort is right; over all rows, over those that each
    cohort was nearest to, and over those that each layer decided.
    """
    if not rows:
        raise ValueError("there are no rows to evaluate")
    accepted = [row for row in rows if row.decision.cohort != BASE]
    inside, outside = [r for r in rows if r.gold != BASE], [r for r in rows if r.gold == BASE]
    kept = [row for row in accepted if row.gold != BASE]
    shares = {
        "coverage": _share(len(kept), len(inside)),
        "accuracy": _share(sum(r.decision.cohort == r.gold for r in kept), len(kept)),
        "ood_accepted": _share(len(accepted) - len(kept), len(outside)),
        "misrouted": _share(sum(r.decision.cohort != r.gold for r in accepted), len(rows)),
    }
    confidence = np.array([row.decision.confidence for row in rows])
    area, low, high = _auroc(confidence, np.array([row.gold != BASE for row in rows]))
    right = np.array([row.nearest == row.gold for row in rows])
    return {
        "n": len(rows),
        "auroc": area,
        **{name: share.value for name, share in shares.items()},
        "intervals": {"auroc": [low, high], **{name: [s.low, s.high] for name, s in shares.items()}},
        "calibration_error": _calibration(rows),
        "cohorts": {name: _of_cohort(name, rows) for name in sorted({r.gold for r in rows} - {BASE})},
        "layers": {name: _of_layer([r for r in rows if r.decision.layer == name]) for name in LAYERS},
        "confusion": _confusion(rows),
        "reasons": dict(Counter(row.decision.reason for row in rows)),
        "curve": risk_coverage(confidence, right),
        "reliability": _reliability(confidence, right),
    }


def risk_coverage(confidence: Values, right: Flags) -> list[tuple[float, float]]:
    """(share of all rows accepted, share of them wrong), were the threshold lowered step by step."""
    wrong = np.cumsum(~right[np.argsort(-confidence, kind="stable")])
    ends = np.unique(np.linspace(1, len(right), min(_POINTS, len(right))).astype(int))
    return [(float(end / len(right)), float(wrong[end - 1] / end)) for end in ends]


def _reliability(confidence: Values, right: Flags) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, rows) of ten bins of equal width."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum()))
        for b in range(10)
        if (bins == b).any()
    ]


def _share(hits: int, n: int) -> Proportion:
    if n == 0:
        return Proportion(None, 0.0, 1.0)
    p, z2 = hits / n, _Z * _Z
    centre, spread = (p + z2 / (2 * n)) / (1 + z2 / n), _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    spread /= 1 + z2 / n
    return Proportion(p, max(0.0, centre - spread), min(1.0, centre + spread))


def _auroc(score: Values, positive: Flags) -> tuple[float | None, float, float]:
    """Area under the ROC curve with its 95 % bootstrap interval; None when there is but one kind of row."""
    if positive.all() or not positive.any():
        return None, 0.0, 1.0
    inside, outside = score[positive], np.sort(score[~positive])
    rng = np.random.default_rng(0)
    drawn = [
        area(rng.choice(inside, len(inside)), np.sort(rng.choice(outside, len(outside)))) for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return area(inside, outside), float(low), float(high)


def area(inside: Values, outside_sorted: Values) -> float:
    """The chance that a row of a cohort scores above one of none, ties half."""
    below = np.searchsorted(outside_sorted, inside, "left")
    upto = np.searchsorted(outside_sorted, inside, "right")
    return float((below + upto).mean() / 2 / len(outside_sorted))


def _of_cohort(name: str, rows: Sequence[Scored]) -> dict[str, Any]:
    own = [row for row in rows if row.gold == name]
    here = [row for row in rows if row.decision.cohort == name]
    hits = sum(row.decision.cohort == name for row in own)
    recall, precision = _share(hits, len(own)), _share(hits, len(here))
    return {
        "n": len(own),
        "recall": recall.value,
        "recall_interval": [recall.low, recall.high],
        "precision": precision.value,
        "precision_interval": [precision.low, precision.high],
        "calibration_error": _calibration([row for row in rows if row.nearest == name]),
    }


def _of_layer(rows: Sequence[Scored]) -> dict[str, Any]:
    right = _share(sum(row.decision.cohort == row.gold for row in rows), len(rows))
    return {
        "n": len(rows),
        "accuracy": right.value,
        "interval": [right.low, right.high],
        "calibration_error": _calibration(rows),
    }


def _calibration(rows: Sequence[Scored]) -> float | None:
    """None of no rows."""
    confidence = np.array([row.decision.confidence for row in rows])
    return calibration_error(confidence, np.array([row.nearest == row.gold for row in rows])) if rows else None


def _confusion(rows: Sequence[Scored]) -> dict[str, dict[str, int]]:
    """Gold -> sent to -> rows."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row.gold, Counter())[row.decision.cohort] += 1
    return {gold: dict(sent) for gold, sent in sorted(found.items())}
