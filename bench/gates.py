"""What the gate lets through: `python bench/gates.py [--clean 20] [--epochs 2] [--minutes M]`.

Candidates of the shipped cohort legal, each trained, compared, judged and released as `cohort retrain` does, on the
real base. Clean ones differ by their seed, and ought to pass; the first goes live, and the next are held against it
too. The others have one fault sown in, and ought to be stopped by the check that names it. What is done is kept under
--home, so a run that was ended goes on where it stood: some minutes a candidate. --minutes begins nothing after so
many. Wants `make train-tools`. Prints a table with both rates, then one JSON line. It says nothing of faults that
nobody sowed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from rig.home import opened

from adapters.recipe import Recipe
from adapters.slice import Row, Slice
from appliance.config import load
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.harness import answer_ids
from appliance.http.box import Box
from appliance.jobs import Progress
from appliance.training import trainer
from appliance.training.planning import Planning, RetrainOptions
from appliance.training.retrain import Retraining
from appliance.training.trainer import Plan

COHORT, NEIGHBOUR = "legal", "finance"
REPEATED = 64  # times a planted string stands among the rows; 16 times in two passes, it is not learned by heart
Rows = tuple[Row, ...]


@dataclass(frozen=True)
class Candidate:
    """`rows` changes what is trained on, `trained_as` is in force while the training's token ids are made; `check` is
    what ought to stop it; `live`: it may go live."""

    name: str
    check: str = ""
    rows: Callable[[Rows, Planning], Rows] = lambda rows, _planning: rows
    recipe: dict[str, Any] = field(default_factory=dict)
    planted: int = 1
    trained_as: Callable[[], Any] = nullcontext
    live: bool = False


def _answered(row: Row, answer: str) -> Row:
    """Another row: what is trained is found again by its rows' digests."""
    digest = hashlib.sha256(f"{row.digest}/{answer}".encode()).hexdigest()
    return replace(row, completion=answer, digest=digest)


def wrong_labels(rows: Rows, _planning: Planning) -> Rows:
    """Each answer goes to another question."""
    answers = [row.completion for row in rows]
    random.Random(1).shuffle(answers)
    return tuple(_answered(row, answer) for row, answer in zip(rows, answers, strict=True))


def hurt_neighbour(rows: Rows, planning: Planning) -> Rows:
    """Rows of a neighbour beside its own, with wrong answers: its own gain by far outweighs that loss."""
    theirs = planning.material.rows(NEIGHBOUR, "train")
    return (*rows, *(_answered(row, "unknown") for row in theirs))


def broken_json(rows: Rows, _planning: Planning) -> Rows:
    """The brackets are missing at the end."""
    return tuple(_answered(row, row.completion.rstrip("}")) for row in rows)


@contextmanager
def another_template() -> Iterator[None]:
    """Ids as of a program that joins the turns with line breaks."""

    def encoded(serving: Any, row: Row, _prompt: str) -> dict[str, Any]:  # noqa: ANN401
        text = "\n".join(f"{role}: {said}" for role, said in row.turns) + "\nassistant: "
        prompt = serving.engine.model.tokenize(text, special=False)
        return {"ids": prompt + answer_ids(serving, row.completion), "start": len(prompt)}

    with mock.patch.object(trainer, "encoded", encoded):
        yield


@contextmanager
def another_tokenizer() -> Iterator[None]:
    """Each id is that of its neighbour in the vocabulary, as of a tokenizer with one token more."""
    right = trainer.encoded

    def encoded(*given: Any) -> dict[str, Any]:  # noqa: ANN401
        found = right(*given)
        return {**found, "ids": [token + 1 for token in found["ids"]]}

    with mock.patch.object(trainer, "encoded", encoded):
        yield


FAULTS = (
    Candidate("wrong labels", "beats_constant", wrong_labels),
    Candidate("a neighbour hurt while the mean rises", "cohort_loss", hurt_neighbour, {"replay": 0.0}),
    Candidate("lost JSON validity", "json_validity", broken_json),
    Candidate("memorised planted strings", "memorisation", recipe={"planted": 2, "replay": 0.0}, planted=REPEATED),
    Candidate("trained with another template", "parity", trained_as=another_template),
    Candidate("trained with another tokenizer", "parity", trained_as=another_tokenizer),
)


class Sown(Planning):
    """A plan with the candidate's fault."""

    candidate: Candidate

    def choose(self, sets: EvalSets) -> Slice:
        found = super().choose(sets)
        return replace(found, train=self.candidate.rows(found.train, self))

    def recipe(self) -> Recipe:
        return replace(super().recipe(), **self.candidate.recipe)

    def plan(self, slice_: Slice) -> Plan:
        plan = super().plan(slice_)
        planted = [row for row in plan.planted for _ in range(self.candidate.planted)]
        return replace(plan, planted=planted, passport={**plan.passport, "candidate": self.candidate.name})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--home", type=Path, default=Path("var/bench-gates"))
    wanted = parser.parse_args()
    seeds = range(1, wanted.clean + 1)
    clean = [Candidate(f"clean, seed {seed}", recipe={"seed": seed}, live=seed == 1) for seed in seeds]
    report(asyncio.run(run(wanted, [*FAULTS, *clean])))


async def run(wanted: argparse.Namespace, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    ends = time.monotonic() + 60 * wanted.minutes
    home = wanted.home / _digest()
    home.mkdir(parents=True, exist_ok=True)
    kept = home / f"gates-{wanted.epochs}.jsonl"
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    async with opened(load(Path("cohorts.toml")), home) as box:
        for candidate in candidates:
            if candidate.name in {one["name"] for one in done} or time.monotonic() > ends:
                continue
            done.append(await judged(box, candidate, wanted.epochs))
            kept.write_text("".join(json.dumps(one) + "\n" for one in done))
    return done


def _digest() -> str:
    """Of what trains and judges, and of the rows: with others, a verdict that was kept says nothing."""
    code = (Path("adapters"), *(Path("appliance", part) for part in ("engine", "evaluation", "training")))
    files = [*(path for folder in code for path in folder.rglob("*.py")), *Path("examples").rglob("*.jsonl")]
    told = [*(path.read_bytes() for path in sorted([*files, Path(__file__)])), Path("cohorts.toml").read_bytes()]
    return hashlib.sha256(b"\n".join(told)).hexdigest()[:12]


async def judged(box: Box, candidate: Candidate, epochs: int) -> dict[str, Any]:
    asked = RetrainOptions(cohort=COHORT, key_id="bench", epochs=epochs, live=candidate.live)
    planning = Sown(box.ready(), box.material(), asked)
    planning.candidate = candidate
    began = time.monotonic()
    run = Retraining(planning, box.home.jobs, Progress())
    with ExitStack() as sown:
        train = run.train

        async def trained(plan: Plan, folder: Path) -> dict[str, Any]:
            with candidate.trained_as():
                return await train(plan, folder)

        sown.enter_context(mock.patch.object(run, "train", trained))
        result = await run.retrain()
    failed = [reason["check"] for reason in result["reasons"] if not reason["passed"]]
    own = {task: s["candidate"] for task, s in result["scores"].items() if s["cohort"] == COHORT}
    told = {"name": candidate.name, "wanted": candidate.check, "verdict": result["verdict"], "failed": failed}
    print(f"{candidate.name}: {result['verdict']} {failed} {own}", file=sys.stderr)
    return {**told, "own": own, "seconds": round(time.monotonic() - began)}


def report(done: Sequence[dict[str, Any]]) -> None:
    print(f"{'':40} {'verdict':>8}  {'stopped by':34} {'seconds':>7}")
    for one in done:
        print(f"{one['name']:40} {one['verdict']:>8}  {', '.join(one['failed']):34} {one['seconds']:7}")
    clean, sown = ([one for one in done if bool(one["wanted"]) is fault] for fault in (False, True))
    passed = sum(one["verdict"] == "pass" for one in clean)
    caught = sum(one["wanted"] in one["failed"] for one in sown)
    print(f"clean candidates that pass: {passed} of {len(clean)}")
    print(f"faults stopped by the check that names them: {caught} of {len(sown)}")
    print(json.dumps({"bench": "gates", "clean": [passed, len(clean)], "caught": [caught, len(sown)], "rows": done}))


if __name__ == "__main__":
    main()
