"""Is a cohort worth its adapter, and are more rows worth their making? The evidence for `adapters.attribution`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from adapters import attribution, robustness
from adapters.attribution import AGGREGATE, BASE, PREVIOUS, Finding
from adapters.gates import Compared
from adapters.slice import Asked, Slice
from appliance import ablation, evaluation, judgement, scores
from appliance.engine.sampling import NOT_FINITE
from appliance.errors import ApplianceError, EngineFault, SetupError
from appliance.evaluation import Arm, Report, base_arm, part
from appliance.jobs import Progress
from appliance.judgement import Exam, Sat
from appliance.material import Material
from appliance.planning import Planning, Wanted, frozen, recipe_of, without_tools
from appliance.serving import Serving
from appliance.store.releases import Release
from appliance.training import Plan

_OWN_FAULTS = ("adapter_refused", NOT_FINITE)  # of an arm; others are the box's
Learned: TypeAlias = Mapping[str, tuple[Slice, int]]  # by cohort: what a release learned from, and the rows it lacks


@dataclass(frozen=True, slots=True)
class Attributing:
    """One run. `jobs` is the folder of the aggregate; without `aggregate` none is trained."""

    serving: Serving
    material: Material
    jobs: Path
    progress: Progress
    aggregate: bool = True

    async def attribute(self, cohorts: Sequence[str]) -> dict[str, Any]:
        """A finding for each cohort, with its evidence. Raises ApplianceError."""
        began = time.monotonic()
        await ablation.begin(self.serving, self.jobs, list(self.serving.config.cohorts))
        exam = await asyncio.to_thread(judgement.prepared, self.material, list(self.serving.config.cohorts))
        live = any(judgement.live_arm(self.serving, cohort) for cohort in cohorts)
        learned = await asyncio.to_thread(self.learned, exam) if self.aggregate and live else {}
        found = []
        for number, cohort in enumerate(cohorts):
            tell = part(self.progress.tell, number / len(cohorts), 1 / len(cohorts))
            found.append(await self.one(cohort, exam, learned, tell))
        return {"cohorts": found, "mix": exam.mix, "seconds": round(time.monotonic() - began, 1)}

    async def one(self, cohort: str, exam: Exam, learned: Learned, report: Report) -> dict[str, Any]:
        arm = judgement.live_arm(self.serving, cohort)
        if arm is None:
            says = f"{cohort} has no live release: the base answers already"
            return _told(cohort, None, Finding("undecided", says, ()), {})
        if not exam.cohorts[cohort]:
            says = f"{cohort} has no eval rows: cohort import FILE.jsonl --cohort {cohort} --split eval"
            return _told(cohort, arm.name, Finding("undecided", says, ()), {})
        rivals, left_out = await self.rivals(cohort, exam, learned, part(report, 0.0, 0.6))
        live, base = await judgement.beside_base(self.serving, arm, exam, part(report, 0.6, 0.25))
        rivals = {BASE: base, **rivals}
        compared = [judgement.compared(cohort, live, sat, name) for name, sat in rivals.items()]
        margin = self.serving.config.cohorts[cohort].gate.tolerance
        finding = await asyncio.to_thread(attribution.finding, cohort, compared, margin, left_out)
        breadth = await asyncio.to_thread(scores.by_task, live, base, None)
        whole = [name for name in (AGGREGATE, PREVIOUS) if name in rivals]
        tasks = {name: await asyncio.to_thread(_by_task, cohort, live, rivals[name]) for name in whole}
        forms = await self.forms(live, base, cohort, exam, part(report, 0.85, 0.15))
        if AGGREGATE in rivals:
            finding = replace(finding, says="; ".join((finding.says, *self.unequal(cohort, learned))))
        if judgement.live_arm(self.serving, cohort) != arm:
            finding = replace(finding, says=f"of {arm.name}, which is no longer live: {finding.says}")
        more = {"left_out": left_out, "tasks": tasks, "breadth": breadth, "forms": forms}
        return _told(cohort, arm.name, finding, more)

    # -- the other arms ----------------------------------------------------------------------------------------------

    async def rivals(
        self, cohort: str, exam: Exam, learned: Learned, report: Report
    ) -> tuple[dict[str, Sat], dict[str, str]]:
        """Previous, aggregate and neighbours on the cohort's own rows; and the arms that are left out, and why."""
        arms: dict[str, Arm | str] = {PREVIOUS: self.previous(cohort)}
        arms[AGGREGATE] = await self.one_for_all(cohort, learned, part(report, 0.0, 0.8))
        others = [name for name in self.serving.config.cohorts if name != cohort]
        arms |= {name: judgement.live_arm(self.serving, name) or "no release is live" for name in others}
        there = {name: arm for name, arm in arms.items() if isinstance(arm, Arm)}
        left_out = {name: why for name, why in arms.items() if isinstance(why, str)}
        found = {}
        for number, (name, arm) in enumerate(there.items()):
            tell = part(report, 0.8 + 0.2 * number / len(there), 0.2 / len(there))
            try:
                found[name] = await judgement.sit(self.serving, arm, exam, [cohort], tell)
            except EngineFault as error:
                if error.code not in _OWN_FAULTS:
                    raise
                left_out[name] = f"{arm.name} cannot be served: {error.message}"
        return found, left_out

    def previous(self, cohort: str) -> Arm | str:
        """Or why there is none."""
        arm, fault = judgement.previous_arm(self.serving, cohort), judgement.previous_fault(self.serving, cohort)
        if arm is None:
            return "there was none"
        return f"{arm.name} cannot be served: {fault}" if fault else arm

    async def one_for_all(self, cohort: str, learned: Learned, report: Report) -> Arm | str:
        """The adapter trained on what all live releases were trained on, by the recipe of this cohort's. Or why there
        is none: one whose time was up before its passes were done proves nothing."""
        if not self.aggregate:
            return "it was not asked for"
        plan = await asyncio.to_thread(self.union, cohort, learned)
        if plan is None:
            return "only one cohort has rows to train on"
        tell = part(report, 0.0, 1.0, "one adapter for all: ")
        try:
            made = await ablation.trained(self.serving, plan, self.jobs, self.progress, tell)
        except SetupError:  # nothing else could be asked either, or it is quickly mended
            raise
        except ApplianceError as error:
            return error.message
        if made.cut_short:
            return "its minutes were over before its passes, so whether cohorts are worth it is not answered"
        return made.arm(self.serving, AGGREGATE, self.serving.config.cohorts[cohort].system_prompt or "")

    def union(self, cohort: str, learned: Learned) -> Plan | None:
        slices = [slice_ for slice_, _ in learned.values() if slice_.train]
        if len(slices) < 2:
            return None
        live, mine = self.release(cohort), self.planning(cohort)
        recipe = recipe_of(live) if live is not None and "recipe" in live.manifest else mine.recipe()
        return ablation.of_all(mine, slices, recipe)

    def learned(self, exam: Exam) -> Learned:
        """What the live releases were trained on, without what stands in an eval set since, or nearly; for a cohort
        without a release from here, what a retrain would take. Raises SetupError without the training packages."""
        try:
            judged = Asked(exam.all())
        except ModuleNotFoundError as error:
            raise without_tools(error) from error
        return {name: self.slice_of(name, exam, judged) for name in self.serving.config.cohorts}

    def slice_of(self, cohort: str, exam: Exam, judged: Asked) -> tuple[Slice, int]:
        live = self.release(cohort)
        if live is not None and "slice" in live.manifest:
            slice_, gone = frozen(self.serving, self.material, live)
            train, validation = (
                tuple(row for row in rows if not judged.has(row)) for rows in (slice_.train, slice_.validation)
            )
            if train and validation:
                lost = len(slice_.train) - len(train) + sum(row.part == "train" for row in gone)
                return replace(slice_, train=train, validation=validation), lost
        return self.planning(cohort).choose(exam), 0

    def unequal(self, cohort: str, learned: Learned) -> list[str]:
        """How the release and the aggregate had unequal chances."""
        told, live = [], self.release(cohort)
        if live is not None and ablation.cut_short(live.manifest.get("training", {}).get("ended", "")):
            told.append(f"{live.name}'s own training ended with its minutes before its passes, not the aggregate's")
        if lost := {name: count for name, (_, count) in learned.items() if count}:
            rows = ", ".join(f"{count} of {name}" for name, count in lost.items())
            told.append(f"the aggregate lacks rows that are gone, or eval rows by now: {rows}")
        return told

    def planning(self, cohort: str) -> Planning:
        return Planning(self.serving, self.material, Wanted(cohort=cohort, key_id=""))

    def release(self, cohort: str) -> Release | None:
        target = self.serving.releases.table.live.get(cohort)
        return self.serving.releases.get(cohort, target.version) if target else None

    # -- the same rows in another form -------------------------------------------------------------------------------

    async def forms(self, live: Sat, base: Sat, cohort: str, exam: Exam, report: Report) -> dict[str, dict[str, Any]]:
        """By form: the scores of the base and of the release so, and on the same rows as they stand."""
        known = [{r.row: r.score for r in sat.by_cohort[cohort].results} for sat in (base, live)]
        found: dict[str, dict[str, Any]] = {}
        forms = {name: rows for name, rows in robustness.forms(exam.cohorts[cohort]).items() if rows}
        for number, (name, asked) in enumerate(forms.items()):
            tell = part(report, number / len(forms), 1 / len(forms))
            rows = [one.row for one in asked]
            bare = base_arm(self.serving.base.digest)
            other = await evaluation.evaluate(self.serving, bare, cohort, rows, part(tell, 0.0, 0.6))
            mine = await evaluation.evaluate(self.serving, live.arm, cohort, rows, part(tell, 0.6, 0.4))
            plain, before = ([scores[one.of.digest] for one in asked] for scores in known)
            compared = Compared(name, [r.score for r in mine.results], before)
            found[name] = {
                "n": len(rows),
                "base_as_it_stands": round(fmean(plain), 4),
                "base": round(fmean(r.score for r in other.results), 4),
                "as_it_stands": round(fmean(compared.other), 4),
                "release": round(fmean(compared.candidate), 4),
                "change": scores.figures(compared.differences),
            }
        return found


def _by_task(cohort: str, live: Sat, other: Sat) -> dict[str, dict[str, Any]]:
    """Beside another arm, where a cohort has several tasks: what one of them gains may hide what another loses."""
    pairs = list(zip(live.by_cohort[cohort].results, other.by_cohort[cohort].results, strict=True))
    found = {}
    for task in dict.fromkeys(mine.task for mine, _ in pairs):
        mine, theirs = zip(*((a.score, b.score) for a, b in pairs if a.task == task), strict=True)
        gain = scores.figures([a - b for a, b in zip(mine, theirs, strict=True)])
        found[task] = {"n": len(mine), "mine": round(fmean(mine), 4), "theirs": round(fmean(theirs), 4), "gain": gain}
    return found if len(found) > 1 else {}


def _told(cohort: str, release: str | None, finding: Finding, more: dict[str, Any]) -> dict[str, Any]:
    told = asdict(finding)
    return {
        "cohort": cohort,
        "release": release,
        "verdict": told["answer"],
        "says": told["says"],
        "merge_with": told["neighbour"],
        "against": [
            {
                **one,
                "mine": round(one["mine"], 4),
                "theirs": round(one["theirs"], 4),
                **{name: {k: round(v, 4) for k, v in one[name].items()} for name in ("wins", "gain")},
            }
            for one in told["against"]
        ],
        "left_out": {},
        "tasks": {},
        "breadth": {},
        "forms": {},
        **more,
    }
