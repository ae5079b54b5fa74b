"""Is a cohort worth its adapter, and are more rows worth their making? The evidence for `adapters.attribution`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from adapters import attribution, gates, robustness
from adapters.attribution import AGGREGATE, BASE, PREVIOUS, Finding
from adapters.gates import Compared
from adapters.slice import Row
from appliance.attribution import aggregate
from appliance.attribution.aggregate import Aggregate, Contamination
from appliance.attribution.rivals import Rivals
from appliance.errors import SetupError
from appliance.evaluation import harness, judgement, scores
from appliance.evaluation.harness import base_arm
from appliance.evaluation.judgement import ArmEvaluations, EvalSets
from appliance.evaluation.lineup import Lineup, lineups
from appliance.evaluation.material import Material
from appliance.jobs import Progress
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.store.releases import Release
from appliance.training import ablation

NO_TOOLS = "whether releases learned from what are eval rows by now is not checked: make train-tools"


@dataclass(frozen=True, slots=True)
class Ground:
    """What all findings of a run stand on, as it was when the run began. `contamination` is None without the training
    packages."""

    sets: EvalSets
    lines: Mapping[str, Lineup]
    contamination: Contamination | None = None
    aggregate: Aggregate | None = None

    def releases(self, cohort: str, rivals: Sequence[str]) -> list[Release]:
        """Its own, and those among its rivals."""
        found = [self.lines[name].live for name in (cohort, *rivals) if name in self.lines]
        before = self.lines[cohort].before if PREVIOUS in rivals else None
        return [one for one in (*found, before) if one is not None]


@dataclass(frozen=True, slots=True)
class AttributionRun:
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
        ground = await asyncio.to_thread(self.ground, cohorts)
        found = []
        for number, cohort in enumerate(cohorts):
            tell = part(self.progress.tell, number / len(cohorts), 1 / len(cohorts))
            found.append(await self.one(cohort, ground, tell))
        return {"cohorts": found, "mix": ground.sets.counts, "seconds": round(time.monotonic() - began, 1)}

    def ground(self, cohorts: Sequence[str]) -> Ground:
        """Raises SetupError without the training packages, where an aggregate wants them."""
        sets = judgement.eval_sets(self.material, list(self.serving.config.cohorts))
        lines = lineups(self.serving)
        if not any(lines[name].live for name in cohorts):
            return Ground(sets, lines)
        try:
            judged = aggregate.of_eval_rows(sets)
        except SetupError:
            if self.aggregate:
                raise
            return Ground(sets, lines)
        contamination = Contamination(self.serving, self.material, judged)
        if not self.aggregate:
            return Ground(sets, lines, contamination)
        live = {name: line.live for name, line in lines.items()}
        return Ground(sets, lines, contamination, Aggregate(self.serving, self.material, live, sets, judged))

    async def one(self, cohort: str, ground: Ground, report: Report) -> dict[str, Any]:
        release, sets = ground.lines[cohort].live, ground.sets
        if release is None:
            says = f"{cohort} has no live release: the base answers already"
            return _told(cohort, None, Finding("undecided", says, ()), {})
        if not sets.cohorts[cohort]:
            says = f"{cohort} has no eval rows: cohort import FILE.jsonl --cohort {cohort} --split eval"
            return _told(cohort, release.name, Finding("undecided", says, ()), {})
        others = Rivals(self.serving, ground.lines, self.jobs, self.progress)
        rivals, left_out, owed = await others.asked(cohort, sets, ground.aggregate, part(report, 0.0, 0.6))
        arm = judgement.release_arm(self.serving, release)
        live, base = await judgement.beside_base(self.serving, arm, sets, part(report, 0.6, 0.25))
        rivals = {BASE: base, **rivals}
        unasked = judgement.unasked(cohort, [live, *rivals.values()])
        change = "going back" if ground.lines[cohort].went_back else "the retrain"
        finding = await asyncio.to_thread(
            self.finding, cohort, live, rivals, unasked, left_out, owed=owed, change=change
        )
        breadth = await asyncio.to_thread(scores.by_task, live, base, None)
        whole = [name for name in (AGGREGATE, PREVIOUS) if name in rivals]
        tasks = {name: await asyncio.to_thread(_by_task, cohort, live, rivals[name], unasked) for name in whole}
        rows = [row for row in sets.cohorts[cohort] if row.digest not in unasked]
        forms = await self.forms(live, base, cohort, rows, part(report, 0.85, 0.15))
        told = [finding.says, *await asyncio.to_thread(self.cautions, cohort, ground, live, base, list(rivals))]
        if judgement.live_arm(self.serving, cohort) != arm:
            told[0] = f"of {arm.name}, which is no longer live: {told[0]}"
        finding = replace(finding, says="; ".join(told))
        more = {"left_out": left_out, "tasks": tasks, "breadth": breadth, "forms": forms}
        return _told(cohort, arm.name, finding, more)

    def finding(
        self,
        cohort: str,
        live: ArmEvaluations,
        rivals: dict[str, ArmEvaluations],
        unasked: dict[str, str],
        left_out: dict[str, str],
        *,
        owed: bool,
        change: str,
    ) -> Finding:
        if len(unasked) == len(live.by_cohort[cohort].results):
            says = f"none of {cohort}'s eval rows can be asked: {next(iter(unasked.values()))}"
            return Finding("undecided", says, ())
        compared = [judgement.compared(cohort, live, evaluated, name, unasked) for name, evaluated in rivals.items()]
        margin = self.serving.config.cohorts[cohort].gate.tolerance
        found = attribution.finding(cohort, compared, margin, left_out, owed=owed, change=change)
        if not unasked:
            return found
        why = next(iter(unasked.values()))
        says = f"{len(unasked)} eval rows can be asked of none of these, and do not count: {why}"
        return replace(found, says=f"{found.says}; {says}")

    def cautions(
        self, cohort: str, ground: Ground, live: ArmEvaluations, base: ArmEvaluations, rivals: Sequence[str]
    ) -> list[str]:
        """What the verdict does not show: breadth that was lost, and chances that were unequal."""
        evidence = judgement.evidence(cohort, live, base, None, None)
        losses = gates.losses(evidence, judgement.tolerances(self.serving.config.cohorts, cohort))
        told = [f"breadth is lost, {reason.says}" for reason in losses if not reason.passed]
        if ground.aggregate is not None and AGGREGATE in rivals:
            told += ground.aggregate.unequal(cohort)
        own, *others = ground.releases(cohort, rivals)
        if ground.contamination is not None:
            return told + ground.contamination.says(own, others, ground.sets.cohorts[cohort])
        return [*told, NO_TOOLS] if any("slice" in one.manifest for one in (own, *others)) else told

    # -- the same rows in another form -------------------------------------------------------------------------------

    async def forms(
        self, live: ArmEvaluations, base: ArmEvaluations, cohort: str, rows: Sequence[Row], report: Report
    ) -> dict[str, dict[str, Any]]:
        """By form: the scores of the base and of the release so, and on the same rows as they stand."""
        known = [{r.row: r.score for r in evaluated.by_cohort[cohort].results} for evaluated in (base, live)]
        found: dict[str, dict[str, Any]] = {}
        forms = {name: made for name, made in robustness.forms(rows).items() if made}
        for number, (name, asked) in enumerate(forms.items()):
            tell = part(report, number / len(forms), 1 / len(forms))
            so = [one.row for one in asked]
            bare = base_arm(self.serving.base.digest)
            other = await harness.evaluate(self.serving, bare, cohort, so, part(tell, 0.0, 0.6))
            mine = await harness.evaluate(self.serving, live.arm, cohort, so, part(tell, 0.6, 0.4))
            plain, before = ([scores[one.of.digest] for one in asked] for scores in known)
            compared = Compared(name, [r.score for r in mine.results], before)
            found[name] = {
                "n": len(so),
                "base_as_it_stands": round(fmean(plain), 4),
                "base": round(fmean(r.score for r in other.results), 4),
                "as_it_stands": round(fmean(compared.other), 4),
                "release": round(fmean(compared.candidate), 4),
                "change": scores.figures(compared.differences),
            }
        return found


def _by_task(
    cohort: str, live: ArmEvaluations, other: ArmEvaluations, unasked: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Beside another arm, where a cohort has several tasks: what one of them gains may hide what another loses."""
    both = zip(live.by_cohort[cohort].results, other.by_cohort[cohort].results, strict=True)
    pairs = [(mine, theirs) for mine, theirs in both if mine.row not in unasked]
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
