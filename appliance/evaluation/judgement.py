"""The evidence that a gate decides on: an arm beside the base and the release before, on every eval set."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from adapters import memorization, metrics
from adapters.constant import Constant
from adapters.gates import Compared, Evidence, Tolerances
from adapters.memorization import Planted
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.registry import ADAPTER
from adapters.slice import Row
from appliance.config import CohortSection
from appliance.errors import InvalidRequest, SetupError
from appliance.evaluation import harness
from appliance.evaluation.harness import ANSWER, ENDED, Arm, base_arm
from appliance.evaluation.material import Material
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.store.evaluations import Evaluation, Result
from appliance.store.releases import Release

GUARD = "general"


@dataclass(frozen=True, slots=True)
class EvalSets:
    """The eval rows of each cohort, and the guard set."""

    cohorts: Mapping[str, Sequence[Row]]
    guard: Sequence[Row]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of each cohort."""
        return {name: len(rows) for name, rows in self.cohorts.items()}

    def all(self) -> list[Row]:
        return [row for rows in (*self.cohorts.values(), self.guard) for row in rows]

    def check(self) -> None:
        """Raises InvalidRequest naming an eval row that cannot be judged, SetupError without the packages for it."""
        for row in self.all():
            try:
                if metrics.metric_of(row.metric, row.completion) not in (LIKELIHOOD, OPENING):
                    metrics.judge(row.metric, "", row.completion, row.refs)
            except ValueError as error:
                where = row.source or row.digest[:12]
                raise InvalidRequest(f"an eval row of {row.cohort} ({where}) cannot be judged: {error}") from error
            except ModuleNotFoundError as error:
                raise SetupError(f"judging by {row.metric} wants {error.name}: make train-tools") from error


def live_arm(serving: Serving, cohort: str) -> Arm | None:
    """The live release of a cohort, as the route table has it: nothing is read for it."""
    target = serving.releases.table.live.get(cohort)
    return _arm(serving, target.name, target.digest, serving.releases.system_prompt(target)) if target else None


def release_arm(serving: Serving, release: Release) -> Arm:
    return _arm(serving, release.name, release.digest, release.system_prompt)


def _arm(serving: Serving, name: str, digest: str, system_prompt: str) -> Arm:
    return Arm(name, digest, serving.releases.folder / digest / ADAPTER, system_prompt)


def eval_sets(material: Material, cohorts: Sequence[str]) -> EvalSets:
    """Of these cohorts. Raises InvalidRequest, SetupError as `EvalSets.check`."""
    sets = EvalSets({name: material.rows(name, "eval") for name in cohorts}, material.guard())
    sets.check()
    return sets


@dataclass(slots=True)
class ArmEvaluations:
    """What an arm gave: `rows` and evaluations by cohort, and by `general` its likelihood of the base's own answers;
    `without` names the cohorts that it was to be asked and that have no eval rows."""

    arm: Arm
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    by_cohort: dict[str, Evaluation] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)


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
            digest=_digest(row.digest, r.answer),
        )
        for row, r in zip(guard, said.results, strict=True)
        if r.answer.strip()
    ]


def _digest(row: str, answer: str) -> str:
    return hashlib.sha256(f"{row}\n{answer}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Leaks:
    """What came out that was in the training rows."""

    planted: list[str]
    hidden: int
    extracted: int
    asked: int


async def leaks(
    serving: Serving,
    arm: Arm,
    rows: Sequence[Row],
    planted: Sequence[Planted],
    planted_rows: Sequence[Row],
    report: Report,
) -> Leaks:
    """Ask for planted strings, and for training rows by their beginning, which the base cannot know."""
    probed = memorization.probes(rows)
    asked = [
        replace(row, turns=(*row.turns[:-1], ("user", given)), metric=ANSWER, digest=_digest(row.digest, given))
        for row, given in probed
    ]
    strings = [replace(row, metric=ANSWER) for row in planted_rows]
    said = await harness.evaluate(serving, arm, "planted", strings, report) if strings else None
    told = await harness.evaluate(serving, arm, "extraction", asked, report) if asked else None
    answers = [r.answer for r in said.results] if said else []
    pairs = zip(probed, told.results if told else (), strict=False)
    common = memorization.common(rows)
    extracted = sum(memorization.extracted(row, given, r.answer, common) for (row, given), r in pairs)
    return Leaks(memorization.came_out(planted, answers), len(planted), extracted, len(asked))


def evidence(
    cohort: str,
    candidate: ArmEvaluations,
    base: ArmEvaluations,
    previous: Compared | None = None,
    leaked: Leaks | None = None,
    constant: Constant | None = None,
    but: Container[str] = (),
) -> Evidence:
    """`previous`: on the cohort's own rows; `constant`: what one answer to everything scores; `but`: digests of eval
    rows that do not count."""
    mine = candidate.by_cohort.get(cohort)
    guard = candidate.by_cohort.get(GUARD)
    others = [name for name in (*candidate.by_cohort, *candidate.without) if name not in (cohort, GUARD)]
    return Evidence(
        own=compared(cohort, candidate, base, but=but),
        others=[compared(name, candidate, base, but=but) for name in others],
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


def compared(
    cohort: str, one: ArmEvaluations, other: ArmEvaluations, name: str = "", but: Container[str] = ()
) -> Compared:
    """On the rows of a cohort, or on the guard set; without scores when one of the two was not asked them. `but`:
    digests of rows that do not count."""
    both = (one.by_cohort.get(cohort), other.by_cohort.get(cohort))
    if both[0] is None or both[1] is None:
        return Compared(name or cohort, [], [])
    scores = [[score(cohort, r) for r in found.results if r.row not in but] for found in both if found]
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
