"""The arms that could stand in for a live release, asked its cohort's eval rows; and why there is no more of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adapters.attribution import AGGREGATE, PREVIOUS, PROMPTED
from appliance.attribution.aggregate import Aggregate
from appliance.engine.sampling import NOT_FINITE
from appliance.errors import ApplianceError, EngineFault, SetupError
from appliance.evaluation import arms, evidence
from appliance.evaluation.arms import Arm, base_arm
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.evidence import ArmEvaluations
from appliance.evaluation.lineup import Lineup
from appliance.jobs import Progress
from appliance.progress import Report, part
from appliance.serving import Serving
from appliance.training import ablation

_OWN_FAULTS = ("adapter_refused", NOT_FINITE)  # of an arm; others are the box's


@dataclass(frozen=True, slots=True)
class Rivals:
    """`lines` is what is live in each cohort, `jobs` the folder of the aggregate."""

    serving: Serving
    lines: Mapping[str, Lineup]
    jobs: Path
    progress: Progress

    async def evaluate_all(
        self, cohort: str, sets: EvalSets, whole: Aggregate | None, report: Report
    ) -> tuple[dict[str, ArmEvaluations], dict[str, str], bool]:
        """Every arm on the cohort's own rows; those that are left out, and why; and whether an aggregate was wanted
        and is not there."""
        one_for_all, owed = await self.one_for_all(cohort, whole, part(report, 0.0, 0.8))
        wanted = {PREVIOUS: self.previous(cohort), **self.prompted(cohort), AGGREGATE: one_for_all}
        wanted |= self.neighbours(cohort)
        found, left_out = await self.evaluate(cohort, sets, wanted, part(report, 0.8, 0.2))
        return found, left_out, owed or (isinstance(one_for_all, Arm) and AGGREGATE in left_out)

    async def evaluate(
        self, cohort: str, sets: EvalSets, wanted: dict[str, Arm | str], report: Report
    ) -> tuple[dict[str, ArmEvaluations], dict[str, str]]:
        there = {name: arm for name, arm in wanted.items() if isinstance(arm, Arm)}
        left_out = {name: why for name, why in wanted.items() if isinstance(why, str)}
        found = {}
        for number, (name, arm) in enumerate(there.items()):
            tell = part(report, number / len(there), 1 / len(there))
            try:
                found[name] = await evidence.evaluate_arm(self.serving, arm, sets, [cohort], tell)
            except EngineFault as error:
                if error.code not in _OWN_FAULTS or arm.adapter is None:
                    raise
                left_out[name] = f"{arm.name} cannot be served: {error.message}"
        return found, left_out

    def previous(self, cohort: str) -> Arm | str:
        """Or why there is none."""
        before = self.lines[cohort].before
        return arms.release_arm(self.serving, before) if before else self.lines[cohort].without

    def prompted(self, cohort: str) -> dict[str, Arm | str]:
        """The base under the release's system prompt, if it has one."""
        live = self.lines[cohort].live
        prompt = live.system_prompt if live else ""
        return {PROMPTED: base_arm(self.serving.base.digest, prompt)} if prompt else {}

    def neighbours(self, cohort: str) -> dict[str, Arm | str]:
        others = {name: line.live for name, line in self.lines.items() if name != cohort}
        return {
            name: arms.release_arm(self.serving, live) if live else "no release is live"
            for name, live in others.items()
        }

    async def one_for_all(self, cohort: str, whole: Aggregate | None, report: Report) -> tuple[Arm | str, bool]:
        """The adapter trained on what all live releases were trained on, by the recipe of this cohort's. Or why there
        is none, and whether it is owed: one whose time was up before its passes were done proves nothing."""
        if whole is None:
            return "it was not asked for", False
        plan = await asyncio.to_thread(whole.plan, cohort)
        if isinstance(plan, str):
            return plan, False
        tell = part(report, 0.0, 1.0, "one adapter for all: ")
        try:
            made = await ablation.find_or_train(self.serving, plan, self.jobs, self.progress, tell)
        except SetupError:  # nothing else could be asked either, or it is quickly mended
            raise
        except ApplianceError as error:
            return error.message, True
        if made.cut_short:
            return "its minutes, those of all cohorts, were over before its passes: raise max_minutes", True
        return made.arm(self.serving, AGGREGATE, whole.prompt(cohort)), False
