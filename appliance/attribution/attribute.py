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
from appliance.attribution.ground import Ground
from appliance.attribution.rivals import Rivals
from appliance.evaluation import arms, evidence, harness, scores
from appliance.evaluation.arms import base_arm
from appliance.evaluation.evidence import ArmEvaluations
from appliance.evaluation.material import Material
from appliance.jobs import Progress
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.training import ablation


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
        ground = await asyncio.to_thread(Ground.of, self.serving, self.material, cohorts, aggregate=self.aggregate)
        found = []
        for number, cohort in enumerate(cohorts):
            tell = part(self.progress.tell, number / len(cohorts), 1 / len(cohorts))
            found.append(await self.one(cohort, ground, tell))
        _contradicted(found)
        return {"cohorts": found, "mix": ground.sets.counts, "seconds": round(time.monotonic() - began, 1)}

    async def one(self, cohort: str, ground: Ground, report: Report) -> dict[str, Any]:
        release, sets = ground.lines[cohort].live, ground.sets
        if release is None:
            says = f"{cohort} has no live release: the base answers already"
            return _as_json(cohort, None, Finding("undecided", says, ()), {})
        if not sets.cohorts[cohort]:
            says = f"{cohort} has no eval rows: cohort import FILE.jsonl --cohort {cohort} --split eval"
            return _as_json(cohort, release.name, Finding("undecided", says, ()), {})
        others = Rivals(self.serving, ground.lines, self.jobs, self.progress)
        rivals, left_out, owed = await others.evaluate_all(cohort, sets, ground.aggregate, part(report, 0.0, 0.6))
        arm = arms.release_arm(self.serving, release)
        live, base = await evidence.beside_base(self.serving, arm, sets, part(report, 0.6, 0.25))
        rivals = {BASE: base, **rivals}
        uncounted = await asyncio.to_thread(ground.uncounted, cohort, live, rivals)
        remembered = uncounted.learned.get(release.name, frozenset())
        breadth = (live.but(remembered), base.but(remembered))
        live, rivals = live.but(uncounted), {name: one.but(uncounted) for name, one in rivals.items()}
        change = "going back" if ground.lines[cohort].went_back else "the retrain"
        finding = await asyncio.to_thread(self.finding, cohort, live, rivals, left_out, owed=owed, change=change)
        notes = await asyncio.to_thread(self.notes, cohort, ground, breadth, rivals)
        whole = [name for name in (AGGREGATE, PREVIOUS) if name in rivals]
        more = {
            "left_out": left_out,
            "tasks": {name: await asyncio.to_thread(_by_task, cohort, live, rivals[name]) for name in whole},
            "breadth": await asyncio.to_thread(scores.by_task, *breadth, None),
            "forms": await self.forms(live, rivals[BASE], cohort, part(report, 0.85, 0.15)),
        }
        if arms.live_arm(self.serving, cohort) != arm:
            finding = replace(finding, says=f"of {arm.name}, which is no longer live: {finding.says}")
        return _as_json(cohort, arm.name, finding.noted(*uncounted.notes(), *notes), more)

    def finding(
        self,
        cohort: str,
        live: ArmEvaluations,
        rivals: Mapping[str, ArmEvaluations],
        left_out: dict[str, str],
        *,
        owed: bool,
        change: str,
    ) -> Finding:
        if cohort not in live.by_cohort:
            return Finding("undecided", f"none of {cohort}'s eval rows shows anything: import others", ())
        compared = [evidence.compared(cohort, live, other, name) for name, other in rivals.items()]
        margin = self.serving.config.cohorts[cohort].gate.tolerance
        return attribution.finding(cohort, compared, margin, left_out, owed=owed, change=change)

    def notes(
        self,
        cohort: str,
        ground: Ground,
        breadth: tuple[ArmEvaluations, ArmEvaluations],
        rivals: Mapping[str, ArmEvaluations],
    ) -> list[str]:
        """What the verdict does not show: breadth that was lost, or of which nothing is known, and chances that were
        unequal."""
        found = evidence.assemble(cohort, *breadth)
        losses = gates.losses(found, evidence.tolerances(self.serving.config.cohorts, cohort))
        told = [f"breadth is {_breadth(reason)}, {reason.says}" for reason in losses if _breadth(reason)]
        if ground.aggregate is not None and AGGREGATE in rivals:
            made = ablation.told(rivals[AGGREGATE].arm)
            told += ground.aggregate.unequal(cohort, made)
        return told + ground.unchecked(cohort, list(rivals))

    # -- the same rows in another form -------------------------------------------------------------------------------

    async def forms(
        self, live: ArmEvaluations, base: ArmEvaluations, cohort: str, report: Report
    ) -> dict[str, dict[str, Any]]:
        """By form: the scores of the base and of the release so, and on the same rows as they stand."""
        found: dict[str, dict[str, Any]] = {}
        if cohort not in live.by_cohort:
            return found
        known = [{r.row: r.score for r in evaluated.by_cohort[cohort].results} for evaluated in (base, live)]
        forms = {name: made for name, made in robustness.forms(live.rows[cohort]).items() if made}
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


def _breadth(reason: gates.Reason) -> str:
    """Of the guard set, which no table shows with an interval, always."""
    if not reason.passed:
        return "lost"
    return "open" if reason.open else "held" if reason.check == "guard_loss" else ""


def _contradicted(found: list[dict[str, Any]]) -> None:
    """A merge with all others is not theirs: note who is proven to lose by it."""
    better = [one["cohort"] for one in found for a in one["against"] if a["arm"] == AGGREGATE and a["better"]]
    for one in found:
        if one["verdict"] == "merge" and one["merge_with"] is None and better:
            one["notes"].append(f"proven better with an adapter of their own: {', '.join(better)}")


def _by_task(cohort: str, live: ArmEvaluations, other: ArmEvaluations) -> dict[str, dict[str, Any]]:
    """Beside another arm, where a cohort has several tasks: what one of them gains may hide what another loses."""
    if cohort not in live.by_cohort:
        return {}
    pairs = list(zip(live.by_cohort[cohort].results, other.by_cohort[cohort].results, strict=True))
    found = {}
    for task in dict.fromkeys(mine.task for mine, _ in pairs):
        mine, theirs = zip(*((a.score, b.score) for a, b in pairs if a.task == task), strict=True)
        gain = scores.figures([a - b for a, b in zip(mine, theirs, strict=True)])
        found[task] = {"n": len(mine), "mine": round(fmean(mine), 6), "theirs": round(fmean(theirs), 6), "gain": gain}
    return found if len(found) > 1 else {}


def _as_json(cohort: str, release: str | None, finding: Finding, more: dict[str, Any]) -> dict[str, Any]:
    told = asdict(finding)
    return {
        "cohort": cohort,
        "release": release,
        "verdict": told["answer"],
        "says": told["says"],
        "notes": list(told["notes"]),
        "merge_with": told["neighbour"],
        "against": [
            {
                **one,
                "mine": round(one["mine"], 6),
                "theirs": round(one["theirs"], 6),
                **{name: {k: round(v, 6) for k, v in one[name].items()} for name in ("wins", "gain")},
            }
            for one in told["against"]
        ],
        "left_out": {},
        "tasks": {},
        "breadth": {},
        "forms": {},
        **more,
    }
