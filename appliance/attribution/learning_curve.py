"""What more rows would buy a cohort: adapters trained on nested parts of its rows, judged by its own eval rows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from adapters import curve
from adapters.curve import SHARES, Curve, Point
from adapters.slice import Slice
from appliance.errors import ApplianceError, InvalidRequest, SetupError
from appliance.evaluation import evidence
from appliance.evaluation.arms import base_arm
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.harness import evaluate
from appliance.jobs import Progress
from appliance.progress import Report, part
from appliance.training import ablation, trainer
from appliance.training.planning import Planning

Done: TypeAlias = tuple[Point, dict[str, Any]]  # and what is told of its training


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRun:
    """One run: as many rounds as `seeds`, each of all shares; none is begun when it would not end in `minutes`."""

    planning: Planning
    jobs: Path
    progress: Progress
    seeds: int = 1
    minutes: float | None = None

    async def draw(self) -> dict[str, Any]:
        """The curve as figures and words. Raises ApplianceError."""
        began = time.monotonic()
        planning = self.planning
        sets = await planning.eval_sets()
        await asyncio.to_thread(trainer.sweep, self.jobs)
        slice_ = await asyncio.to_thread(planning.choose, sets)
        self.check(slice_, sets)
        base = await self.base(sets, part(self.progress.tell, 0.0, 0.05, "the base: "))
        done: list[Done] = []
        untold = None
        for seed in range(1, self.seeds + 1):
            round_began = time.monotonic()
            tell = part(self.progress.tell, 0.05 + 0.95 * (seed - 1) / self.seeds, 0.95 / self.seeds)
            made, untold = await self.round(slice_, sets, seed, tell)
            if untold is None or seed == 1:  # of a later seed all parts or none, so that levels have the same seeds
                done += made
            took = sum(told["took"] for _, told in made)  # though it was found done
            now = time.monotonic()
            late = self.minutes and now - began + max(took, now - round_began) > 60 * self.minutes
            if late and untold is None and seed < self.seeds:
                untold = (
                    f"{seed} of {self.seeds} rounds: another would not have ended within {self.minutes:g} minutes"
                )
            if untold is not None:
                break
        if not done:
            raise ApplianceError(str(untold))
        found = await asyncio.to_thread(curve.curve, [point for point, _ in done], base)
        words = [*curve.says(found), *([untold] if untold else [])]
        trainings = [told for _, told in done]
        return _as_json(
            planning.wanted.cohort, found, words, fmean(base), trainings, round(time.monotonic() - began, 1)
        )

    def check(self, slice_: Slice, sets: EvalSets) -> None:
        """Raises InvalidRequest."""
        cohort = self.planning.wanted.cohort
        if not sets.cohorts[cohort]:
            raise InvalidRequest(
                f"{cohort} has no eval rows: cohort import FILE.jsonl --cohort {cohort} --split eval", param="cohort"
            )
        if len(slice_.train) < 2 * len(SHARES):
            raise InvalidRequest(
                f"{cohort} has {len(slice_.train)} rows to train on; a curve wants at least {2 * len(SHARES)}",
                param="cohort",
            )

    async def round(self, slice_: Slice, sets: EvalSets, seed: int, report: Report) -> tuple[list[Done], str | None]:
        """All parts of one seed; or those before the one that took too long or failed, and what to say of it."""
        done: list[Done] = []
        for number, share in enumerate(SHARES):
            found = await self.point(slice_, sets, share, seed, part(report, number / len(SHARES), 1 / len(SHARES)))
            if isinstance(found, str):
                return done, found
            done.append(found)
        return done, None

    async def point(self, slice_: Slice, sets: EvalSets, share: float, seed: int, report: Report) -> Done | str:
        """One training, judged; or why it is no point of a curve."""
        planning, cohort = self.planning, self.planning.wanted.cohort
        plan = await asyncio.to_thread(ablation.of_a_part, planning, slice_, share, seed)
        name = f"{cohort}, {len(plan.slice.train)} rows, seed {seed}"
        tell = part(report, 0.0, 0.8, f"{name}: ")
        try:
            made = await ablation.find_or_train(planning.serving, plan, self.jobs, self.progress, tell)
        except SetupError:
            raise
        except ApplianceError as error:  # what was drawn until then is told
            return f"the training on {len(plan.slice.train)} rows, seed {seed}, failed: {error.message}"
        if made.cut_short:
            return (
                f"a training on {made.rows} rows ended with its minutes and not with its passes, so it is no point "
                f"of a curve: raise max_minutes in [cohorts.{cohort}.train]"
            )
        arm = made.arm(planning.serving, name, plan.system_prompt)
        judged = await evaluate(planning.serving, arm, cohort, sets.cohorts[cohort], part(report, 0.8, 0.2))
        told = {
            "share": share,
            "rows": made.rows,
            "seed": seed,
            "steps": made.told["step"],
            "loss": round(made.told["best_loss"], 4),
            "seconds": round(made.told["seconds"], 1),
            "took": round(made.seconds + judged.seconds, 1),
        }
        return Point(made.rows, seed, [result.score for result in judged.results]), told

    async def base(self, sets: EvalSets, report: Report) -> list[float]:
        serving, cohort = self.planning.serving, self.planning.wanted.cohort
        evaluated = await evidence.evaluate_arm(serving, base_arm(serving.base.digest), sets, [cohort], report)
        return [result.score for result in evaluated.by_cohort[cohort].results]


def _as_json(
    cohort: str, found: Curve, words: list[str], base: float, trainings: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    return {
        "cohort": cohort,
        "base": base,
        **asdict(found),
        "says": words,
        "trainings": trainings,
        "seconds": seconds,
    }
