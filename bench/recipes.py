"""What matters in a recipe: `python bench/recipes.py [--data FILE --metric label] [--passes 2]`.

Each recipe differs from the default in one thing and trains on four fifths of the rows of a JSONL file (legal's
shipped train rows, unless --data names another), of which a tenth chooses its best step. It is judged by the last
fifth, which no training sees: answers in the serving engine, the likelihood of the base's own answers to general
prompts, and decode steps with it and with none, which take turns. No eval row of the file's cohort is read. Adapters
and answers are kept by content under --home, so a run that was ended goes on; some minutes a recipe. Ctrl-C ends it
and shows what there is. Wants `make train-tools`. Prints a table with 95 % intervals over rows, other seeds beside
them, then one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rig import rows as given_rows
from rig.home import opened, tell
from rig.steps import Steps

from adapters import scorecard
from adapters.recipe import MODULES, Recipe
from adapters.slice import Row, Slice
from appliance.config import CohortSection, Config
from appliance.evaluation import evidence
from appliance.evaluation.arms import base_arm
from appliance.evaluation.eval_sets import GUARD, EvalSets
from appliance.evaluation.evidence import ArmEvaluations
from appliance.http.box import Box
from appliance.jobs import Progress
from appliance.store import examples
from appliance.training import ablation
from appliance.training.ablation import Ablation
from appliance.training.planning import Planning, RetrainOptions

COHORT = "legal"
COHORTS = (COHORT, "healthcare", "finance", "support", "coding")  # the shipped rows of the others are replayed
ATTENTION, FEED_FORWARD = tuple(MODULES)[:4], tuple(MODULES)[4:]
DEFAULT, BALANCED = "the default", "labels balanced"
RECIPES: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "seed 2": {"seed": 2},
    BALANCED: {},
    "one pass": {"epochs": 1},
    "four passes": {"epochs": 4},
    "rate 3e-3": {"learning_rate": 3e-3},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rank 16": {"rank": 16, "alpha": 32.0},
    "rank 4": {"rank": 4, "alpha": 8.0},
    "attention, rank 16": {"rank": 16, "alpha": 32.0, "modules": ATTENTION},
    "feed-forward": {"modules": FEED_FORWARD},
    "q and v, rank 16": {"rank": 16, "alpha": 32.0, "modules": ("attn_q", "attn_v")},
    "no replay": {"replay": 0.0},
    "seed 3": {"seed": 3},
}
STEPS, ROUNDS = 24, 5


@dataclass
class Found:
    """The base and, by recipe, what was trained and what it answered; `model` is the base's file."""

    base: ArmEvaluations
    model: Path
    made: dict[str, Ablation] = field(default_factory=dict)
    evaluated: dict[str, ArmEvaluations] = field(default_factory=dict)


class Varied(Planning):
    """`changes` to the recipe of the configuration."""

    changes: Mapping[str, Any]

    def recipe(self) -> Recipe:
        return replace(super().recipe(), **self.changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("examples") / COHORT / "train.jsonl")
    parser.add_argument("--metric", default="", help="by which the rows are judged, where the file does not say")
    parser.add_argument("--passes", type=int, default=2, help="where a recipe does not vary them")
    parser.add_argument("--home", type=Path, default=Path("var/bench-recipes"))
    wanted = parser.parse_args()
    report(asyncio.run(run(wanted)), wanted)


async def run(wanted: argparse.Namespace) -> Found:
    train = {"epochs": wanted.passes, "max_minutes": 600}
    told = {"owner": "bench", "train": train}
    sections = {name: CohortSection.model_validate({"description": name, **told}) for name in COHORTS}
    home = wanted.home / hashlib.sha256(wanted.data.read_bytes()).hexdigest()[:12]
    async with opened(Config(cohorts=sections), home) as box:
        return await Search(box, wanted).run()


class Search:
    def __init__(self, box: Box, wanted: argparse.Namespace) -> None:
        self.box, self.serving, self.wanted = box, box.ready(), wanted

    async def run(self) -> Found:
        await self.import_rows()
        planning = self.planning({})
        sets = await planning.eval_sets()
        sets = EvalSets({COHORT: sets.cohorts[COHORT]}, sets.guard)
        slice_ = await asyncio.to_thread(planning.choose, sets)
        base = await self.evaluated(base_arm(self.serving.base.digest), sets)
        found = Found(base, self.serving.base.path)
        try:
            for name, changes in RECIPES.items():
                made = await self.trained(name, changes, slice_)
                found.evaluated[name] = await self.evaluated(made.arm(self.serving, name, ""), sets)
                found.made[name] = made
        except asyncio.CancelledError:
            print("\nended: what there is", file=sys.stderr)
        return found

    async def import_rows(self) -> None:
        """Four of five to learn from, and one to judge by."""
        for split, part in (("train", (0, 1, 2, 3)), ("eval", (4,))):
            task = self.wanted.data.parent.name if self.wanted.metric else ""
            read = given_rows.read(self.wanted.data, COHORT, split, task, self.wanted.metric)  # type: ignore[arg-type]
            rows = [row for number, row in enumerate(read) if number % 5 in part]
            await self.box.database.commit(partial(examples.insert, examples=rows))

    def planning(self, changes: Mapping[str, Any]) -> Varied:
        planning = Varied(self.serving, self.box.material(), RetrainOptions(cohort=COHORT, key_id=""))
        planning.changes = changes
        return planning

    async def trained(self, name: str, changes: Mapping[str, Any], slice_: Slice) -> Ablation:
        chosen = replace(slice_, train=balanced(slice_.train)) if name == BALANCED else slice_
        plan = ablation.of_a_part(self.planning(changes), chosen, 1.0, changes.get("seed", Recipe().seed))
        return await ablation.find_or_train(self.serving, plan, self.box.home.jobs, Progress(), tell(name))

    async def evaluated(self, arm: Any, sets: EvalSets) -> ArmEvaluations:  # noqa: ANN401
        return await evidence.evaluate_arm(self.serving, arm, sets, [COHORT, GUARD], tell(arm.name))


def balanced(rows: Sequence[Row]) -> tuple[Row, ...]:
    """As many rows, as many of each answer that comes up again; rows with an answer of their own stay once."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.completion, []).append(row)
    free = [row for group in groups.values() if len(group) == 1 for row in group]
    labels = [group for group in groups.values() if len(group) > 1]
    turns = [group[n % len(group)] for n in range(max(map(len, labels), default=0)) for group in labels]
    return (*free, *turns[: len(rows) - len(free)])


def report(found: Found, wanted: argparse.Namespace) -> None:
    files = {name: one.adapter for name, one in found.made.items()}
    costs = decode({**files, "none": None}, found.model)
    head = f"{'score':>18} {'to the default':>20} {'general':>8} {'loss':>6} {'s':>5} {'step, to none':>14}"
    print(f"\n{'of 100, with 95 %':22}{head}")
    rows = []
    for name, one in found.made.items():
        mine = evidence.compared(COHORT, found.evaluated[name], found.evaluated[DEFAULT])
        kept = statistics.fmean(evidence.compared(GUARD, found.evaluated[name], found.base).differences)
        row = {
            "recipe": name,
            "score": told(scorecard.interval(mine.candidate)),
            "gain": told(scorecard.interval(mine.differences)),
            "general": 100 * (math.exp(kept) - 1),
            "loss": one.told["best_loss"],
            "seconds": one.told["seconds"],
            "step": costs[name] / costs["none"],
        }
        rows.append(row)
        score, gain = ("{:.1f} ({:.0f} to {:.0f})".format(*row[key]) for key in ("score", "gain"))
        print(
            f"{name:22}{score:>18} {gain:>20} {row['general']:+7.1f}% {row['loss']:6.3f} {row['seconds']:5.0f} "
            f"{row['step']:14.2f}"
        )
    bare = evidence.compared(COHORT, found.base, found.base).candidate
    given = {"data": wanted.data.name, "passes": wanted.passes, "judged": len(bare)}
    print(json.dumps({"bench": "recipes", **given, "base": statistics.fmean(bare), "rows": rows}))


def told(found: scorecard.Interval) -> tuple[float, float, float]:
    return 100 * found.mean, 100 * found.low, 100 * found.high


def decode(files: Mapping[str, Path | None], model: Path) -> dict[str, float]:
    """Median milliseconds of a step of one sequence with each; they take turns."""
    threads = len(os.sched_getaffinity(0))
    with ExitStack() as running:
        each = {n: running.enter_context(Steps(model, f, threads, 1, {})) for n, f in files.items()}
        times: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(ROUNDS):
            for name, steps in each.items():
                times[name] += steps.run(STEPS)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
