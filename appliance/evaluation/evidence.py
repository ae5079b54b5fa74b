"""The evidence that a gate decides on: an arm beside the base and the release before, on every eval set."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from adapters.constant import Constant
from adapters.gates import Compared, Evidence, Tolerances
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.slice import Row
from appliance.config import CohortSection
from appliance.evaluation import harness
from appliance.evaluation.arms import Arm, base_arm
from appliance.evaluation.eval_sets import GUARD, EvalSets
from appliance.evaluation.harness import ANSWER, ENDED, rekeyed
from appliance.evaluation.leaks import Leaks
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.store.evaluations import Evaluation, Result


@dataclass(slots=True)
class ArmEvaluations:
    """What an arm gave: `rows` and evaluations by cohort, and by `general` its likelihood of the base's own answers;
    `without` names the cohorts that it was to be asked and that have no eval rows."""

    arm: Arm
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    by_cohort: dict[str, Evaluation] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)

    def but(self, digests: Container[str]) -> ArmEvaluations:
        """Without these rows."""
        found = ArmEvaluations(self.arm, without=list(self.without))
        for cohort, evaluation in self.by_cohort.items():
            both = zip(self.rows[cohort], evaluation.results, strict=True)
            kept = [(row, result) for row, result in both if result.row not in digests]
            if kept:
                found.rows[cohort] = [row for row, _ in kept]
                found.by_cohort[cohort] = replace(evaluation, results=[result for _, result in kept])
            elif cohort != GUARD:
                found.without.append(cohort)
        return found


async def evaluate_arm(
    serving: Serving, arm: Arm, sets: EvalSets, cohorts: Sequence[str], report: Report
) -> ArmEvaluations:
    """Ask the arm the eval rows of these cohorts, and the guard set if `general` is among them."""
    found = ArmEvaluations(arm)
    for number, cohort in enumerate(cohorts):
        tell = part(report, number / len(cohorts), 1 / len(cohorts), f"{cohort}'s eval rows, ")
        if cohort != GUARD:
            rows = sets.cohorts[cohort]
        else:
            rows = await base_answers_as_wanted(serving, sets.guard, arm.system_prompt, tell)
        if rows:
            found.rows[cohort] = rows
            found.by_cohort[cohort] = await harness.evaluate(serving, arm, cohort, rows, tell)
        elif cohort != GUARD:
            found.without.append(cohort)
    return found


async def beside_base(
    serving: Serving, arm: Arm, sets: EvalSets, report: Report
) -> tuple[ArmEvaluations, ArmEvaluations]:
    """The arm and the base on everything; the guard set under the arm's prompt for both."""
    names = list(sets.cohorts)
    base = await evaluate_arm(serving, base_arm(serving.base.digest), sets, names, part(report, 0.0, 0.35))
    prompted = base_arm(serving.base.digest, arm.system_prompt)
    guard = await evaluate_arm(serving, prompted, sets, [GUARD], part(report, 0.35, 0.1))
    base.by_cohort |= guard.by_cohort
    base.rows |= guard.rows
    return await evaluate_arm(serving, arm, sets, [*names, GUARD], part(report, 0.45, 0.55)), base


async def base_answers_as_wanted(
    serving: Serving, guard: Sequence[Row], system_prompt: str, report: Report
) -> list[Row]:
    """The guard set with the base's own answers as the wanted ones, under the arm's system prompt: what an adapter
    takes from them, it took from the base."""
    if not guard:
        return []
    asked = [replace(row, metric=ANSWER) for row in guard]
    said = await harness.evaluate(serving, base_arm(serving.base.digest, system_prompt), GUARD, asked, report)
    return [
        replace(
            row,
            completion=r.answer,
            metric=LIKELIHOOD if r.scores[ENDED] else OPENING,
            refs=(),
            digest=rekeyed(row.digest, r.answer),
        )
        for row, r in zip(guard, said.results, strict=True)
        if r.answer.strip()
    ]


def assemble(
    cohort: str,
    candidate: ArmEvaluations,
    base: ArmEvaluations,
    previous: Compared | None = None,
    leaked: Leaks | None = None,
    constant: Constant | None = None,
) -> Evidence:
    """`previous`: on the cohort's own rows; `constant`: what one answer to everything scores."""
    mine = candidate.by_cohort.get(cohort)
    guard = candidate.by_cohort.get(GUARD)
    others = [name for name in (*candidate.by_cohort, *candidate.without) if name not in (cohort, GUARD)]
    return Evidence(
        own=compared(cohort, candidate, base),
        others=[compared(name, candidate, base) for name in others],
        guard=compared(GUARD, candidate, base) if guard else None,
        previous=previous,
        constant=_beside_constant(mine, constant) if mine and constant else (),
        incomparable=constant.left_out if constant else {},
        json_valid=[r.scores.get("valid", 0.0) for r in mine.results if r.metric == "json"] if mine else [],
        **(asdict(leaked) if leaked else {}),
    )


def _beside_constant(mine: Evaluation, constant: Constant) -> list[Compared]:
    by_task: dict[str, list[Result]] = {}
    for result in mine.results:
        if result.row in constant.scores:
            by_task.setdefault(result.task, []).append(result)
    names = {task: "rows without a task" if task == "-" else task for task in by_task}
    return [
        Compared(names[task], [r.score for r in own], [constant.scores[r.row] for r in own])
        for task, own in by_task.items()
    ]


def compared(cohort: str, one: ArmEvaluations, other: ArmEvaluations, name: str = "") -> Compared:
    """On the rows of a cohort, or on the guard set; without scores when one of the two was not asked them."""
    both = (one.by_cohort.get(cohort), other.by_cohort.get(cohort))
    if both[0] is None or both[1] is None:
        return Compared(name or cohort, [], [])
    scores = [[score(cohort, result) for result in found.results] for found in both if found]
    return Compared(name or cohort, *scores)


def unasked(cohort: str, arms: Sequence[ArmEvaluations]) -> dict[str, str]:
    """The digests of the cohort's rows that none of these arms could be asked, each with the reason: that all of them
    scored nothing there shows nothing."""
    rows = zip(*(evaluated.by_cohort[cohort].results for evaluated in arms), strict=True)
    return {told[0].row: told[0].error for told in rows if told[0].error and all(one.error for one in told)}


def score(cohort: str, result: Result) -> float:
    """As it is compared: of the guard set the logarithm of the likelihood."""
    return result.scores["log"] if cohort == GUARD else result.score


def tolerances(sections: Mapping[str, CohortSection], cohort: str) -> Tolerances:
    """A cohort's own, and what the others have said that they can lose."""
    gate = sections[cohort].gate
    return Tolerances(
        loss=gate.tolerance,
        guard=gate.guard_tolerance,
        json_valid=gate.json_valid,
        rows=gate.rows,
        memorised=gate.memorised,
        others={name: section.gate.tolerance for name, section in sections.items()},
    )
