"""What a recipe learns, and what each token then costs: `python bench/recipes.py [--cohort legal] [--epochs 2]`.

Each recipe trains on the shipped rows of a cohort (no replay) and is judged by its loss on the cohort's eval rows, in
nats a token, which no training saw. Then decode steps of 1 and 8 sequences with each adapter, and with none, take
turns. Wants `make train-tools`; some minutes a recipe. Prints a table, then one JSON line. No answers are generated:
the gate of `cohort retrain` does that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rig import demo
from rig.steps import Steps

from adapters.recipe import MODULES, Recipe
from appliance import base
from appliance.config import Base

ATTENTION, FEED_FORWARD = MODULES[:4], MODULES[4:]
RECIPES = {
    "all, rank 16": Recipe(rank=16, alpha=32.0, replay=0.0),
    "all, rank 8": Recipe(replay=0.0),
    "all, rank 4": Recipe(rank=4, alpha=8.0, replay=0.0),
    "attention, rank 16": Recipe(rank=16, alpha=32.0, modules=ATTENTION, replay=0.0),
    "feed-forward, rank 8": Recipe(modules=FEED_FORWARD, replay=0.0),
    "q and v, rank 16": Recipe(rank=16, alpha=32.0, modules=("attn_q", "attn_v"), replay=0.0),
}
STEPS, ROUNDS = 24, 5
PROBE = {
    "ids": [1, 2, 3],
    "start": 2,
    "part": "probe",
}  # the trainer wants one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohort", default="legal")
    parser.add_argument("--epochs", type=int, default=2)
    wanted = parser.parse_args()
    path = base.locate(Base(), Path("cohorts.toml"))
    lines = [
        json.dumps({"ids": row.ids, "start": row.start, "part": part})
        for part, split in (("train", "train"), ("validation", "eval"))
        for row in demo.rows(path, wanted.cohort, split)  # type: ignore[arg-type]
    ]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rows.jsonl").write_text("\n".join(lines))
        found = {name: trained(path, recipe, wanted.epochs, Path(folder), name) for name, recipe in RECIPES.items()}
        files: dict[str, Path | None] = {name: Path(folder) / name / "adapter.gguf" for name in found}
        report(found, {**files, "none": None}, path)


def trained(model: Path, recipe: Recipe, epochs: int, folder: Path, name: str) -> dict[str, Any]:
    """Run the trainer on it as the appliance does; its result."""
    header = base.inspect(model)
    architecture = header.text("general.architecture")
    out = folder / name
    out.mkdir()
    job = {
        **{
            "base": str(model),
            "rows": str(folder / "rows.jsonl"),
            "out": str(out),
            "target": str(out / "adapter.gguf"),
        },
        **{"recipe": {**asdict(recipe), "epochs": epochs}, "threads": len(os.sched_getaffinity(0)), "minutes": 600},
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
