"""What came of an evaluation, by task: the figures that reports and manifests keep. Bootstraps take a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from adapters import metrics, scorecard
from adapters.metrics import LIKELIHOOD
from adapters.slice import Row
from appliance.evaluation.eval_sets import GUARD
from appliance.evaluation.evidence import ArmEvaluations, score
from appliance.store.evaluations import Evaluation, Result


def by_task(
    candidate: ArmEvaluations, base: ArmEvaluations | None, previous: ArmEvaluations | None
) -> dict[str, dict[str, Any]]:
    """Metric, number of rows, every arm's mean, and the candidate's 95 % interval; `gain` against the base
    with its own. The guard set is `general`: geometric mean of the likelihood of a token."""
    found: dict[str, dict[str, Any]] = {}
    for cohort, evaluated in candidate.by_cohort.items():
        others = [(s.by_cohort.get(cohort) if s else None) for s in (base, previous)]
        for task in dict.fromkeys(r.task for r in evaluated.results):
            mine, theirs, before = (_of_task(cohort, e, task) for e in (evaluated, *others))
            name = task if task not in found else f"{cohort}/{task}"
            found[name] = {
                "cohort": cohort,
                "metric": LIKELIHOOD
                if cohort == GUARD
                else next(r.metric for r in evaluated.results if r.task == task),
                "n": len(mine),
                "base": _mean(cohort, theirs),
                "previous": _mean(cohort, before),
                "candidate": _mean(cohort, mine),
                **_interval(cohort, mine),
                **_gain(cohort, mine, theirs),
                "errors": sum(r.error is not None for r in evaluated.results if r.task == task),
                "beside": _beside(task, evaluated.results, candidate.rows[cohort]),
            }
    return found


def _of_task(cohort: str, found: Evaluation | None, task: str) -> list[float]:
    return [score(cohort, r) for r in found.results if r.task == task] if found else []


def _mean(cohort: str, values: Sequence[float]) -> float | None:
    if not values:
        return None
    return round(math.exp(fmean(values)) if cohort == GUARD else fmean(values), 4)


def _interval(cohort: str, values: Sequence[float]) -> dict[str, float]:
    found = scorecard.interval(values)
    ends = (math.exp(found.low), math.exp(found.high)) if cohort == GUARD else (found.low, found.high)
    return {"low": round(ends[0], 4), "high": round(ends[1], 4)}


def _gain(cohort: str, mine: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    if not theirs or cohort == GUARD:
        return {}
    return {"gain": figures([a - b for a, b in zip(mine, theirs, strict=True)])}


def figures(scores: Sequence[float]) -> dict[str, float]:
    """Mean with its 95 % interval."""
    found = scorecard.interval(scores)
    return {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def _beside(task: str, results: Sequence[Result], rows: Sequence[Row]) -> dict[str, float]:
    """The metric's other figures: share of valid JSON, of equal objects; of labels their macro-F1."""
    mine = [(r, row) for r, row in zip(results, rows, strict=True) if r.task == task]
    names = {name for r, _ in mine for name in r.scores} - {"score", "log"}
    found = {name: fmean(r.scores.get(name, 0.0) for r, _ in mine) for name in sorted(names)}
    if labels := [(r.answer, (row.completion, *row.refs)) for r, row in mine if r.metric == "label"]:
        given = [metrics.named(answer, right) for answer, right in labels]
        found["macro_f1"] = scorecard.macro_f1(given, [metrics.named(right[0], right) for _, right in labels])
    return {name: round(value, 4) for name, value in found.items()}
