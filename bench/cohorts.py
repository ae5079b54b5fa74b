"""Is one adapter per cohort better than one for all? `python bench/cohorts.py --data DIR [--rows 100]`.

DIR (or COHORT_BENCH_DATA) holds `NAME/train.jsonl` and `NAME/test.jsonl` of the eleven data sets named below. On
every task: the base, the base with examples in its prompt, one adapter trained on the rows of all cohorts, the
cohort's own adapter, and for labels a linear model over TF-IDF, a reference from outside; and what the own adapter
gains over each of them on the same rows, task by task, cohort by cohort and in all. Adapters are trained, once each,
and judged by the code that retrains and attributes; nothing is released. All of it is kept by content under --home,
so a run that was ended goes on; the whole takes hours on two cores. Ctrl-C ends it and shows what there is. Wants
`make train-tools`. Prints tables with 95 % intervals over rows, which do not hold what another seed would change,
then one JSON line. `--cohort NAME` compares that one's adapter alone, without the aggregate. Without the data it says
so and ends well.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from rig import rows as given_rows
from rig.home import opened, tell

from adapters import scorecard
from adapters.metrics import judge
from adapters.recipe import Recipe
from adapters.slice import Row, Slice
from appliance.config import CohortSection, Config
from appliance.evaluation.arms import Arm, base_arm
from appliance.evaluation.harness import evaluate
from appliance.http.box import Box
from appliance.jobs import Progress
from appliance.store import examples
from appliance.training import ablation
from appliance.training.ablation import Ablation
from appliance.training.planning import Planning, RetrainOptions
from appliance.training.trainer import Plan

TASKS = {
    "legal": {"legal_overruling": "label", "legal_cuad_clause": "label"},
    "healthcare": {"health_medquad_section": "label", "health_mts_header": "label", "health_medquad_focus": "json"},
    "finance": {"finance_banking77": "label", "finance_sentfin": "label"},
    "support": {"support_restaurant8k": "json", "support_clinc": "label"},
    "coding": {"coding_wikisql": "exact", "coding_nl2bash_tool": "label"},
}
SHOTS = 6  # examples in the prompt of the base, which is told no labels beyond them
ARMS = ("base", "few-shot base", "aggregate", "cohort", "TF-IDF")
Report = dict[str, dict[str, dict[str, Any]]]  # task, arm, figures
Gains = dict[str, dict[str, list[float]]]  # task, cohort or all; arm; mean, low and high
Found = tuple[Report, Gains, dict[str, Any]]  # and what each training told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("COHORT_BENCH_DATA"))
    parser.add_argument("--home", type=Path, default=Path("var/bench-cohorts"))
    parser.add_argument("--rows", type=int, default=100, help="test rows of each task, by a stable hash")
    parser.add_argument("--cohort", choices=TASKS, help="only this one, without the aggregate of all")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="passes; the default is a retrain's")
    parser.add_argument("--rate", type=float, default=Recipe().learning_rate, help="the learning rate; the same")
    wanted = parser.parse_args()
    if wanted.data is None or not (wanted.data / "legal_overruling" / "train.jsonl").exists():
        print("skipped: name a folder with the data sets, --data DIR or COHORT_BENCH_DATA")
        print(json.dumps({"bench": "cohorts", "skipped": True}))
        return
    print_report(asyncio.run(run(wanted)), wanted)


async def run(wanted: argparse.Namespace) -> Found:
    train = {"epochs": wanted.epochs, "learning_rate": wanted.rate, "max_minutes": 600}
    sections = {
        name: CohortSection.model_validate({"description": name, "owner": "bench", "train": train}) for name in TASKS
    }
    async with opened(Config(cohorts=sections), wanted.home / _digest(wanted.data)) as box:
        return await Comparison(box, wanted).run()


def _digest(data: Path) -> str:
    """Of the rows, and of what they are judged by: with others, nothing that was kept is of use."""
    files = [
        path.read_bytes() for tasks in TASKS.values() for task in tasks for path in sorted((data / task).iterdir())
    ]
    return hashlib.sha256(b"\n".join([json.dumps(TASKS).encode(), *files])).hexdigest()[:12]


class Comparison:
    def __init__(self, box: Box, wanted: argparse.Namespace) -> None:
        self.box, self.serving, self.wanted = box, box.ready(), wanted
        self.cohorts = [wanted.cohort] if wanted.cohort else list(TASKS)  # to compare; the rows of all are imported
        self.found: Report = {task: {} for cohort in self.cohorts for task in TASKS[cohort]}
        self.scores: dict[tuple[str, str], list[float]] = {}  # of each row, by task and arm
        self.training: dict[str, Any] = {}

    async def run(self) -> Found:
        for cohort, tasks in TASKS.items():
            for task, metric in tasks.items():
                await self.import_rows(cohort, task, metric)
        tests = {task: self.tests(cohort, task) for cohort in self.cohorts for task in TASKS[cohort]}
        slices = {cohort: await self.slice_of(cohort) for cohort in self.cohorts}
        for cohort in self.cohorts:
            for task in (task for task, metric in TASKS[cohort].items() if metric == "label"):
                scored = await asyncio.to_thread(reference, slices[cohort], task, tests[task])
                self.keep("TF-IDF", task, scored)
        try:
            await self.arms(slices, tests)
        except asyncio.CancelledError:
            print("\nended: what there is", file=sys.stderr)
        return self.found, self.all_gains(), self.training

    async def arms(self, slices: dict[str, Slice], tests: dict[str, list[Row]]) -> None:
        """The aggregate first: each of the others is judged beside it as soon as it is there."""
        bare = base_arm(self.serving.base.digest)
        if len(self.cohorts) > 1:
            any_cohort = self.planning("legal")
            plan = ablation.of_all(any_cohort, list(slices.values()), any_cohort.recipe(), dict.fromkeys(TASKS, ""))
            together = await self.adapter("aggregate", plan)
            for cohort in self.cohorts:
                await self.on_all("aggregate", together, cohort, tests)
        for cohort in self.cohorts:
            own = await self.adapter(cohort, ablation.of_a_part(self.planning(cohort), slices[cohort], 1.0, 1))
            await self.on_all("cohort", own, cohort, tests)
        for cohort in self.cohorts:
            for task in TASKS[cohort]:
                await self.judged("base", bare, cohort, task, tests[task])
                await self.judged("few-shot base", self.few_shot(slices[cohort], task), cohort, task, tests[task])

    def keep(self, arm: str, task: str, scored: Sequence[dict[str, float]], unasked: int = 0) -> None:
        """`unasked`: of the rows, those that could not be asked, or answered, which count as wrong."""
        self.scores[task, arm] = [scores["score"] for scores in scored]
        self.found[task][arm] = {**figures(scored), "unasked": unasked}

    def gains(self, tasks: Sequence[str]) -> dict[str, list[float]]:
        """What the cohorts' own adapters gain over every other arm that was asked the rows of all these tasks: the
        mean over the same rows, and its interval."""
        found = {}
        for arm in ARMS:
            pairs = [(self.scores.get((task, "cohort")), self.scores.get((task, arm))) for task in tasks]
            if arm != "cohort" and all(own and theirs for own, theirs in pairs):
                apart = [a - b for own, theirs in pairs for a, b in zip(own or (), theirs or (), strict=True)]
                gain = scorecard.interval(apart)
                found[arm] = rounded(gain.mean, gain.low, gain.high)
        return found

    def all_gains(self) -> Gains:
        parts = {task: [task] for task in self.found}
        parts |= {f"all of {cohort}": list(TASKS[cohort]) for cohort in self.cohorts}
        parts["all"] = list(self.found)
        return {name: self.gains(tasks) for name, tasks in parts.items()}

    async def on_all(self, name: str, made: Ablation, cohort: str, tests: dict[str, list[Row]]) -> None:
        for task in TASKS[cohort]:
            await self.judged(name, made.arm(self.serving, name, ""), cohort, task, tests[task])

    # -- rows --------------------------------------------------------------------------------------------------------

    async def import_rows(self, cohort: str, task: str, metric: str) -> None:
        for split, name in (("train", "train"), ("eval", "test")):
            file = self.wanted.data / task / f"{name}.jsonl"
            rows = given_rows.read(file, cohort, split, task, metric)  # type: ignore[arg-type]
            await self.box.database.commit(partial(examples.insert, examples=rows))

    def tests(self, cohort: str, task: str) -> list[Row]:
        rows = [row for row in self.box.material().rows(cohort, "eval") if row.task == task]
        return sorted(rows, key=lambda row: hashlib.sha256(row.digest.encode()).digest())[: self.wanted.rows]

    def planning(self, cohort: str) -> Planning:
        return Planning(self.serving, self.box.material(), RetrainOptions(cohort=cohort, key_id=""))

    async def slice_of(self, cohort: str) -> Slice:
        planning = self.planning(cohort)
        return await asyncio.to_thread(planning.choose, await planning.eval_sets())

    # -- arms --------------------------------------------------------------------------------------------------------

    async def adapter(self, name: str, plan: Plan) -> Ablation:
        made = await ablation.find_or_train(self.serving, plan, self.box.home.jobs, Progress(), tell(name))
        if made.cut_short:
            sys.exit(f"the training of {name} ended with its minutes and not with its passes: nothing to compare")
        told = made.told
        self.training[name] = {
            "rows": made.rows,
            "steps": told["step"],
            "seconds": round(told["seconds"]),
            "tokens_per_second": round(told["tokens"] / told["seconds"]),
            "loss": round(told["best_loss"], 4),
        }
        return made

    def few_shot(self, slice_: Slice, task: str) -> Arm:
        """Examples of the task, each with another answer where there are enough."""
        rows = sorted((row for row in slice_.train if row.task == task), key=lambda row: row.digest)
        others = {row.completion: row for row in reversed(rows)}
        first = list(others.values())
        chosen = [*first, *(row for row in rows if row not in first)][:SHOTS]
        shots = tuple(turn for row in chosen for turn in (*row.turns, ("assistant", row.completion)))
        return replace(base_arm(self.serving.base.digest, "", shots), name="few-shot base")

    async def judged(self, name: str, arm: Arm, cohort: str, task: str, rows: Sequence[Row]) -> None:
        found = await evaluate(self.serving, arm, cohort, rows, tell(f"{name}, {task}"))
        unasked = sum(result.error is not None for result in found.results)
        self.keep(name, task, [{"score": result.score, **result.scores} for result in found.results], unasked)


def reference(slice_: Slice, task: str, rows: Sequence[Row]) -> list[dict[str, float]]:
    """Words and pieces of the prompt by TF-IDF into a logistic regression over the labels, of all rows that training
    sees."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    known = [row for row in (*slice_.train, *slice_.validation) if row.task == task]
    read = make_union(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
        TfidfVectorizer(sublinear_tf=True, analyzer="char_wb", ngram_range=(2, 5)),
    )
    model = make_pipeline(read, LogisticRegression(C=30, max_iter=2000))
    model.fit([row.turns[-1][1] for row in known], [row.completion for row in known])
    answers = model.predict([row.turns[-1][1] for row in rows])
    return [judge(row.metric, answer, row.completion, row.refs) for row, answer in zip(rows, answers, strict=True)]


def figures(scored: Sequence[dict[str, float]]) -> dict[str, Any]:
    found = scorecard.interval([scores["score"] for scores in scored])
    mean, low, high = rounded(found.mean, found.low, found.high)
    exact = fmean(scores.get("exact", scores["score"]) for scores in scored)
    told = {"n": len(scored), "score": mean, "low": low, "high": high, "exact": round(exact, 4)}
    if all("valid" in scores for scores in scored):
        told["valid"] = round(fmean(scores["valid"] for scores in scored), 4)
    return told


def rounded(*values: float) -> list[float]:
    return [round(value, 4) for value in values]


def print_report(found: Found, wanted: argparse.Namespace) -> None:
    report, gains, training = found
    print(f"\n{'of 100, with 95 %':24}" + "".join(f"{arm:>20}" for arm in ARMS))
    for task, arms in report.items():
        print(f"{task:24}" + "".join(f"{_cell(arms.get(arm)):>20}" for arm in ARMS))
        if any(one["exact"] != one["score"] for one in arms.values()):
            print(f"{'  of it the same text':24}" + "".join(f"{_share(arms.get(arm), 'exact'):>20}" for arm in ARMS))
        if any("valid" in one for one in arms.values()):
            print(f"{'  of it JSON':24}" + "".join(f"{_share(arms.get(arm), 'valid'):>20}" for arm in ARMS))
        if any(one["unasked"] for one in arms.values()):
            told = (str(arms[arm]["unasked"]) if arm in arms else "-" for arm in ARMS)
            print(f"{'  rows not asked':24}" + "".join(f"{one:>20}" for one in told))
    print(f"\n{'its own adapter gains':24}" + "".join(f"{arm:>20}" for arm in ARMS if arm != "cohort"))
    for name, over in gains.items():
        print(f"{name:24}" + "".join(f"{_gain(over.get(arm)):>20}" for arm in ARMS if arm != "cohort"))
    print(f"\n{'training':24}{'rows':>8}{'steps':>8}{'seconds':>9}{'tokens/s':>10}{'loss':>8}")
    for name, t in training.items():
        print(f"{name:24}{t['rows']:8}{t['steps']:8}{t['seconds']:9}{t['tokens_per_second']:10}{t['loss']:8.3f}")
    recipe = {"epochs": wanted.epochs, "rate": wanted.rate}
    print(json.dumps({"bench": "cohorts", **recipe, "tasks": report, "gains": gains, "training": training}))


def _cell(one: dict[str, Any] | None) -> str:
    return "-" if one is None else f"{100 * one['score']:.1f} ({100 * one['low']:.0f}-{100 * one['high']:.0f})"


def _share(one: dict[str, Any] | None, what: str) -> str:
    return "-" if one is None or what not in one else f"{100 * one[what]:.1f}"


def _gain(one: list[float] | None) -> str:
    if one is None:
        return "-"
    mean, low, high = (100 * value for value in one)
    return f"{mean:+.1f} ({low:+.0f} {high:+.0f})"


if __name__ == "__main__":
    main()
