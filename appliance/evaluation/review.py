"""The sliced report of what is live: every cohort's release on its own eval rows, the others', and the guard set."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from functools import partial
from importlib import metadata
from typing import Any

from adapters import gates
from adapters.gates import Reason
from appliance.errors import SetupError
from appliance.evaluation import arms, contamination, evidence, scores
from appliance.evaluation.arms import base_arm
from appliance.evaluation.contamination import Contamination
from appliance.evaluation.eval_sets import EvalSets, eval_sets
from appliance.evaluation.material import Material, harvest_all
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.store import reviews, timestamps


def cohorts(serving: Serving, wanted: str | None) -> list[str]:
    """Those to review. Raises NotFound."""
    if wanted is None:
        return list(serving.config.cohorts)
    serving.config.cohort(wanted)
    return [wanted]


async def review(serving: Serving, material: Material, wanted: list[str], report: Report) -> dict[str, Any]:
    """By cohort, in the form of a retrain's report, without a candidate: what is live stands in its place. A cohort
    without a live release is judged by the base's scores alone."""
    await harvest_all(serving.database, serving.config.cohorts)
    sets = await asyncio.to_thread(eval_sets, material, list(serving.config.cohorts))
    known = await asyncio.to_thread(_contamination, serving, material, sets)
    found = []
    for number, cohort in enumerate(wanted):
        tell = part(report, number / len(wanted), 1 / len(wanted))
        found.append(await _one(serving, sets, known, cohort, tell))
    return {"cohorts": found, "mix": sets.counts, "guard": len(sets.guard), **_when(serving)}


def _when(serving: Serving) -> dict[str, Any]:
    """What an evaluation holds for: another base, or other weights, give other scores."""
    base = {"id": serving.base.id, "digest": serving.base.digest, "format": serving.base.format}
    return {"at": timestamps.now(), "base": base, "version": metadata.version("cohort-appliance")}


async def _one(
    serving: Serving, sets: EvalSets, known: Contamination | None, cohort: str, report: Report
) -> dict[str, Any]:
    began = time.monotonic()
    arm = arms.live_arm(serving, cohort)
    if arm is None:
        return await _without_release(serving, sets, cohort, report, began)
    both = await evidence.beside_base(serving, arm, sets, report)
    learned, note = await asyncio.to_thread(contamination.of_arm, serving, arm, known)
    evaluated, base = (one.but(learned) for one in both)
    found = evidence.assemble(cohort, evaluated, base)
    verdict = await asyncio.to_thread(gates.verdict, found, evidence.tolerances(serving.config.cohorts, cohort))
    put = partial(
        reviews.put,
        digest=arm.digest,
        cohort=cohort,
        format_digest=serving.base.format_digest,
        verdict=verdict.outcome,
    )
    await serving.database.commit(put)
    return {
        "cohort": cohort,
        "release": arm.name,
        "verdict": verdict.outcome,
        "reasons": [asdict(reason) for reason in (*verdict.reasons, *_noted(note))],
        "scores": await asyncio.to_thread(scores.by_task, evaluated, base, None),
        "seconds": round(time.monotonic() - began, 1),
    }


def _contamination(serving: Serving, material: Material, sets: EvalSets) -> Contamination | None:
    """None without the training packages."""
    try:
        return Contamination(serving, material, sets.rows)
    except SetupError:
        return None


def _noted(note: str) -> list[Reason]:
    return [Reason("enough_rows", True, note)] if note else []


async def _without_release(
    serving: Serving, sets: EvalSets, cohort: str, report: Report, began: float
) -> dict[str, Any]:
    """The base, which answers for it."""
    base = await evidence.evaluate_arm(serving, base_arm(serving.base.digest), sets, list(sets.cohorts), report)
    told = await asyncio.to_thread(scores.by_task, base, None, None)
    nobody = {"candidate": None, "low": None, "high": None}
    own = {t: {**one, "base": one["candidate"], **nobody} for t, one in told.items() if one["cohort"] == cohort}
    reason = {"check": "enough_rows", "passed": False, "says": f"{cohort} has no live release: the base answers"}
    return {
        "cohort": cohort,
        "release": None,
        "verdict": "insufficient",
        "reasons": [reason],
        "scores": own,
        "seconds": round(time.monotonic() - began, 1),
    }
