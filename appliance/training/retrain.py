"""The life of an adapter from its rows to its release, told by one function: `retrain`.

Every step leaves something that the next run finds: the slice, the trained adapter (by everything it was made from),
every evaluation. So a run that was killed is begun again and goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from adapters import constant, gates, memorization
from adapters.gates import Compared, Verdict
from adapters.registry import ADAPTER, file_digest
from adapters.slice import Slice
from adapters.training_job import PEFT
from appliance import base as base_model
from appliance.errors import ApplianceError, Conflict
from appliance.evaluation import arms, contamination, evidence, leaks, scores
from appliance.evaluation.arms import Arm, adapter_arm
from appliance.evaluation.contamination import Contamination
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.evidence import ArmEvaluations
from appliance.jobs import Progress, run_cancellable, shielded
from appliance.progress import part
from appliance.releases.admission import Made
from appliance.store import timestamps
from appliance.store.releases import Release
from appliance.training import adapter_file, trainer
from appliance.training.planning import Planning, summary
from appliance.training.trainer import ParityFailed, Plan


class Retraining:
    """One run. `jobs` is the folder under which work lies until the release has it."""

    def __init__(self, planning: Planning, jobs: Path, progress: Progress) -> None:
        self.planning, self.jobs, self.progress = planning, jobs, progress
        self.serving, self.wanted, self.section = planning.serving, planning.wanted, planning.section
        self.began = time.monotonic()

    async def retrain(self) -> dict[str, Any]:
        """Slice, train, compare, evaluate, judge, release. Returns the report. Raises ApplianceError."""
        tell = self.progress.tell
        tell(0.0, "freezing the slice")
        await asyncio.to_thread(trainer.sweep, self.jobs)
        sets = await self.planning.eval_sets()
        slice_ = await self.planning.freeze(sets)
        plan = await asyncio.to_thread(self.planning.plan, slice_)
        folder = self.jobs / plan.digest(self.serving.base.digest)[:16]
        tell(0.02, f"training on {len(slice_.train)} rows")
        trained = await self.train(plan, folder)
        tell(0.55, "comparing what is served with what was trained")
        try:
            parity = await run_cancellable(
                lambda cancellation: trainer.check_parity(self.serving, plan, folder, cancellation)
            )
        except ParityFailed as error:
            refused = self.refused(str(error), slice_)
            return {**refused, "training": trained, "mix": sets.counts, "guard": len(sets.guard)}
        return await self.judge(plan, folder, sets, {**trained, "parity": asdict(parity)})

    # -- training --------------------------------------------------------------------------------------------------

    async def train(self, plan: Plan, folder: Path) -> dict[str, Any]:
        return await trainer.train_with_progress(
            self.serving, plan, folder, self.progress, part(self.progress.tell, 0.02, 0.53)
        )

    # -- judging ---------------------------------------------------------------------------------------------------

    async def judge(self, plan: Plan, folder: Path, sets: EvalSets, trained: dict[str, Any]) -> dict[str, Any]:
        adapter = folder / ADAPTER
        candidate = await asyncio.to_thread(self.candidate, adapter)
        before = arms.live_arm(self.serving, self.wanted.cohort)
        live = self.serving.releases.live(self.wanted.cohort)
        evaluated, base, previous = await self.compare(candidate, before, sets)
        planted = memorization.planted(plan.slice.digest, plan.recipe.planted)
        leaked = await leaks.leaks(
            self.serving, candidate, plan.slice.train, planted, plan.planted, part(self.progress.tell, 0.95, 0.03)
        )
        common = await asyncio.to_thread(constant.of, plan.slice.train, sets.cohorts[self.wanted.cohort])
        beside = await asyncio.to_thread(self.beside_previous, evaluated, previous, sets)
        found = evidence.assemble(self.wanted.cohort, evaluated, base, beside, leaked, common)
        verdict = await asyncio.to_thread(
            gates.verdict, found, evidence.tolerances(self.planning.serving.config.cohorts, self.wanted.cohort)
        )
        report = {
            **self.report(verdict, plan.slice),
            "scores": await asyncio.to_thread(scores.by_task, evaluated, base, previous),
            "mix": sets.counts,
            "guard": len(sets.guard),
            "losses": self.progress.losses,
            "training": trained,
        }
        if verdict.outcome == "pass" or self.wanted.force:
            self.progress.tell(0.98, "releasing")
            if arms.live_arm(self.serving, self.wanted.cohort) != before:
                raise Conflict(
                    "another release went live meanwhile: begin it again; nothing is trained or asked twice"
                )
            await asyncio.to_thread(base_model.check_unchanged, self.serving.base)
            report |= await shielded(self.release(candidate, plan, folder, report, live))
        return report | {"seconds": round(time.monotonic() - self.began, 1)}

    def candidate(self, adapter: Path) -> Arm:
        prompt = self.section.system_prompt or ""
        return adapter_arm(self.serving, "candidate", adapter, file_digest(adapter), prompt)

    async def compare(
        self, candidate: Arm, before: Arm | None, sets: EvalSets
    ) -> tuple[ArmEvaluations, ArmEvaluations, ArmEvaluations | None]:
        """The candidate and the base on everything, the release before on the cohort's own rows."""
        evaluated, base = await evidence.beside_base(
            self.serving, candidate, sets, part(self.progress.tell, 0.57, 0.36)
        )
        if before is None:
            return evaluated, base, None
        tell = part(self.progress.tell, 0.93, 0.02)
        return evaluated, base, await evidence.evaluate_arm(self.serving, before, sets, [self.wanted.cohort], tell)

    def beside_previous(
        self, candidate: ArmEvaluations, previous: ArmEvaluations | None, sets: EvalSets
    ) -> Compared | None:
        """Without the rows that the release before learned from, which the candidate has never seen."""
        if previous is None:
            return None
        cohort = self.wanted.cohort
        known = Contamination(self.serving, self.planning.material, sets.cohorts[cohort])
        learned, _ = contamination.of_arm(self.serving, previous.arm, known)
        name = f"{cohort}, without {len(learned)} eval rows that {previous.arm.name} learned from" if learned else ""
        return evidence.compared(cohort, candidate.but(learned), previous.but(learned), name)

    # -- the end ---------------------------------------------------------------------------------------------------

    def report(self, verdict: Verdict, slice_: Slice) -> dict[str, Any]:
        return {
            "cohort": self.wanted.cohort,
            "release": None,
            "not_live": None,
            "verdict": verdict.outcome,
            "reasons": [asdict(reason) for reason in verdict.reasons],
            "forced": self.wanted.force and verdict.outcome != "pass",
            "slice": summary(slice_),
        }

    def refused(self, why: str, slice_: Slice) -> dict[str, Any]:
        """Parity failed: even by force it is not released."""
        report = self.report(Verdict("parity", (gates.Reason("parity", False, why),)), slice_)
        return {**report, "forced": False, "scores": {}, "seconds": round(time.monotonic() - self.began, 1)}

    async def release(
        self, candidate: Arm, plan: Plan, folder: Path, report: Mapping[str, Any], live: str
    ) -> dict[str, str]:
        """A candidate with its manifest, and live if wanted and if what was `live` at the comparison still is; for
        the report, its name and why it is not live."""
        cohort, key, releases = self.wanted.cohort, self.wanted.key_id, self.serving.releases
        known = [r for r in releases.all() if (r.cohort, r.digest) == (cohort, candidate.digest)]
        if not known:  # else a run was killed between the two steps
            known = [await self.register(plan, folder, report)]
        name = known[0].name
        try:
            if self.wanted.live:
                await releases.promote(cohort, known[0].version, key, live)
        except ApplianceError as error:
            if releases.live(cohort) != live:  # somebody decided otherwise while it was admitted
                await asyncio.to_thread(trainer.remove, folder)
                return {"release": name, "not_live": f"{error.message}, and cohort promote {name} if it is to be"}
            raise ApplianceError(
                f"{name} is a candidate and could not go live: {error.message}; then: cohort promote {name}"
            ) from error
        await asyncio.to_thread(trainer.remove, folder)
        return {"release": name}

    async def register(self, plan: Plan, folder: Path, report: Mapping[str, Any]) -> Release:
        """As the version its passport says, though others may be registered while it is admitted."""
        cohort, releases = self.wanted.cohort, self.serving.releases
        while True:
            made = await asyncio.to_thread(self.manifest, plan, folder, report)
            try:
                return await releases.add(folder / ADAPTER, cohort, self.wanted.key_id, made)
            except Conflict:
                if made.facts["passport_given"]["version"] == str(releases.next_version(cohort)):
                    raise

    def manifest(self, plan: Plan, folder: Path, report: Mapping[str, Any]) -> Made:
        """Its file's passport says which version it becomes, though it was trained when another was to be next."""
        passport = {**plan.passport, "version": str(self.serving.releases.next_version(self.wanted.cohort))}
        if adapter_file.passport(folder / ADAPTER) != passport:
            adapter_file.stamp(folder, self.serving.base.header, passport)
        return Made(
            files=tuple(folder / name for name in PEFT),
            parent=plan.warm.name if plan.warm else None,
            gated=report["verdict"] == "pass",
            facts=facts(plan, passport, report, self.section.gate.revalidate_days),
        )


def facts(plan: Plan, passport: Mapping[str, str], report: Mapping[str, Any], revalidate_days: int) -> dict[str, Any]:
    """What the manifest says beside what answers: enough to make the same adapter again."""
    return {
        "slice": plan.slice.digest,
        "recipe": asdict(plan.recipe),
        "passport_given": dict(passport),
        "training": report["training"],
        "replay": [row.digest for row in plan.replay],
        "planted": len(plan.planted),
        "verdict": report["verdict"],
        "forced": report["forced"],
        "reasons": report["reasons"],
        "scores": report["scores"],
        "code": metadata.version("cohort-appliance"),
        "revalidate": timestamps.in_days(revalidate_days),
    }
