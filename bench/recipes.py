"""What a recipe learns, and what each token then costs: `python bench/recipes.py [--cohort legal] [--data FILE]`.

Each recipe trains on four fifths of a cohort's shipped train rows, or of those in a JSONL file with `prompt` and
`completion`, without replay, and is judged by its loss on the last fifth, in nats a token; no eval row is read. Then
decode steps of 1 and 8 sequences with each adapter, and with none, take turns. Wants `make train-tools`; some minutes
a recipe. Prints a table, then one JSON line. No answers are generated: the gate of `cohort retrain` does that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rig import demo
from rig.steps import Steps

from adapters.packing import Row
from adapters.recipe import MODULES, Recipe
from appliance import base
from appliance.config import Base

ATTENTION, FEED_FORWARD = tuple(MODULES)[:4], tuple(MODULES)[4:]
RECIPES = {
    "all, rank 16": Recipe(rank=16, alpha=32.0),
    "all, rank 8": Recipe(),
    "all, rank 4": Recipe(rank=4, alpha=8.0),
    "attention, rank 16": Recipe(rank=16, alpha=32.0, modules=ATTENTION),
    "feed-forward, rank 8": Recipe(modules=FEED_FORWARD),
    "q and v, rank 16": Recipe(rank=16, alpha=32.0, modules=("attn_q", "attn_v")),
    "rate 3e-4": Recipe(learning_rate=3e-4),
    "rate 3e-3": Recipe(learning_rate=3e-3),
    "one pass": Recipe(epochs=1),
    "four passes": Recipe(epochs=4),
    "labels balanced": Recipe(),
}
PASSES = 2  # where a recipe does not vary them
VARIED = ("one pass", "four passes")
BALANCED = ("labels balanced",)
STEPS, ROUNDS = 24, 5
PROBE = {"ids": [1, 2, 3], "start": 2, "part": "probe"}  # the trainer wants one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", default="legal")
    parser.add_argument("--data", type=Path)
    wanted = parser.parse_args()
    path = base.locate(Base(), Path("cohorts.toml"))
    rows = demo.rows(path, wanted.cohort, "train", wanted.data)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: trained(path, recipe, rows, Path(folder), name) for name, recipe in RECIPES.items()}
        files: dict[str, Path | None] = {name: Path(folder) / name / "adapter.gguf" for name in found}
        report(found, {**files, "none": None}, path)


def divided(rows: Sequence[Row], *, balanced: bool) -> tuple[list[Row], list[Row]]:
    """To learn from, as many of each answer that comes up again if `balanced` (rows repeat), and to judge by."""
    judged = [row for number, row in enumerate(rows) if number % 5 == 4]
    learned = [row for number, row in enumerate(rows) if number % 5 != 4]
    if not balanced:
        return learned, judged
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row in learned:
        groups.setdefault(tuple(row.ids[row.start :]), []).append(row)
    free = [row for group in groups.values() if len(group) == 1 for row in group]
    labels = [group for group in groups.values() if len(group) > 1]
    turns = [group[n % len(group)] for n in range(max(map(len, labels), default=0)) for group in labels]
    return [*free, *turns[: len(learned) - len(free)]], judged


def trained(model: Path, recipe: Recipe, rows: Sequence[Row], folder: Path, name: str) -> dict[str, Any]:
    """Run the trainer on it as the appliance does; its result."""
    epochs = recipe.epochs if name in VARIED else PASSES
    header = base.inspect(model)
    architecture = header.text("general.architecture")
    out = folder / name
    out.mkdir()
    parts = zip(("train", "validation"), divided(rows, balanced=name in BALANCED), strict=True)
    lines = [{"ids": row.ids, "start": row.start, "part": part} for part, given in parts for row in given]
    (out / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    job = {
        **{
            "base": str(model),
            "rows": str(out / "rows.jsonl"),
            "out": str(out),
            "target": str(out / "adapter.gguf"),
        },
        **{
            "recipe": {**asdict(recipe), "epochs": epochs, "replay": 0.0},
            "threads": len(os.sched_getaffinity(0)),
            "minutes": 600,
        },
        **{"warm": None, "steps": None, "probes": [PROBE], "passport": {}, "architecture": architecture},
        "heads": header.keys[f"{architecture}.attention.head_count"],
        "kv_heads": header.keys[f"{architecture}.attention.head_count_kv"],
    }
    (out / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [sys.executable, "-m", "adapters.train", str(out / "job.json")], capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    print(f"{name}: {result['best_loss']:.3f} after {result['seconds']:.0f} s", file=sys.stderr)
    return result


def report(found: dict[str, dict[str, Any]], files: dict[str, Path | None], model: Path) -> None:
    times = {rows: decode(files, model, rows) for rows in (1, 8)}
    print(f"{'':22} {'loss':>6} {'s':>5} {'step of 1, ms':>14} {'to none':>8} {'step of 8, ms':>14} {'to none':>8}")
    rows = []
    for name in files:
        costs = {n: (each[name], each[name] / each["none"]) for n, each in times.items()}
        loss, seconds = (found[name][key] if name in found else 0.0 for key in ("best_loss", "seconds"))
        rows.append(
            {"recipe": name, "loss": loss, "seconds": seconds, "step_ms": {n: c[0] for n, c in costs.items()}}
        )
        cells = "".join(f" {ms:14.2f} {ratio:8.2f}" for ms, ratio in costs.values())
        print(f"{name:22} {loss:6.3f} {seconds:5.0f}{cells}")
    print(json.dumps({"bench": "recipes", "rows": rows}))


def decode(files: dict[str, Path | None], model: Path, sequences: int) -> dict[str, float]:
    """Median milliseconds of a step with each; they take turns."""
    threads = len(os.sched_getaffinity(0))
    with ExitStack() as running:
        each = {n: running.enter_context(Steps(model, f, threads, sequences, {})) for n, f in files.items()}
        times: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(ROUNDS):
            for name, steps in each.items():
                times[name] += steps.run(STEPS)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
