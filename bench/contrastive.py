"""Is a tuned encoder worth its minutes? `python bench/contrastive.py --data DIR`.

Fits two routers on `DIR/*/train.jsonl`, one as `cohort router fit` and one as `cohort router fit --contrastive`, and
judges both on the prompts of `DIR/*/test.jsonl`, each at the threshold it chose for itself. It does not look at the
traffic that `router_quality.py` judges on, so the better of the two may be chosen here; the 350 rows of tasks nothing
was fitted on are in both. Prints a table with 95 % intervals, and of each difference one over resampled rows, paired;
then one JSON line. Without the data it says so and ends well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from router_quality import configuration, fit, rows

from appliance.routing.routers import Routers, scored
from appliance.store.database import Database
from router import evaluate
from router.cohort import BASE
from router.evaluate import Scored

FIGURES = ("auroc", "coverage", "accuracy", "ood_accepted", "misrouted")
RESAMPLES = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("COHORT_BENCH_DATA"))
    given = parser.parse_args()
    if given.data is None or not (given.data / "traffic" / "tenants.json").exists():
        print("skipped: name a folder with the cohorts' rows, --data DIR or COHORT_BENCH_DATA")
        print(json.dumps({"bench": "contrastive", "skipped": True}))
        return
    kinds = {"plain": False, "contrastive": True}
    made = {kind: asyncio.run(judged(given.data, contrastive=tuned)) for kind, tuned in kinds.items()}
    decided = {kind: scored for kind, (scored, _) in made.items()}
    print_table(
        {kind: evaluate.report(scored) for kind, scored in decided.items()},
        differences(decided["contrastive"], decided["plain"]),
        {kind: seconds for kind, (_, seconds) in made.items()},
    )


async def judged(data: Path, *, contrastive: bool) -> tuple[list[Scored], float]:
    """What a router fitted so decides about the test rows, and the seconds its fit took."""
    config = configuration(data)
    with tempfile.TemporaryDirectory() as scratch:
        database = Database.open(Path(scratch) / "appliance.db", config.store.queue)
        try:
            routers = Routers(config, Path("examples"), Path(scratch), database)
            began = time.monotonic()
            await fit(routers, data, config, contrastive=contrastive)
            seconds = time.monotonic() - began
            test = [row for path in sorted(data.glob("*/test.jsonl")) for row in rows(path, config)]
            test = [replace(row, metadata={}) for row in test]
            return scored(test, await routers.decisions(test, routers.current)), seconds
        finally:
            database.close()


def differences(of: list[Scored], to: list[Scored]) -> dict[str, tuple[float, float, float]]:
    """Of every figure: `of` less `to` on the same rows, and its 95 % interval over resampled rows."""
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(of), size=len(of))
        drawn.append(figures([of[n] for n in chosen]) - figures([to[n] for n in chosen]))
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    told = figures(of) - figures(to)
    return {name: (float(told[n]), float(low[n]), float(high[n])) for n, name in enumerate(FIGURES)}


def figures(decided: list[Scored]) -> npt.NDArray[np.float64]:
    """FIGURES, as `evaluate.report` has them, without its intervals."""
    gold = np.array([row.gold != BASE for row in decided])
    taken = np.array([row.decision.cohort != BASE for row in decided])
    right = np.array([row.decision.cohort == row.gold for row in decided])
    confidence = np.array([row.decision.confidence for row in decided])
    return np.array(
        [
            evaluate.area(confidence[gold], np.sort(confidence[~gold])),
            (taken & gold).sum() / gold.sum(),
            (taken & gold & right).sum() / (taken & gold).sum(),
            (taken & ~gold).sum() / (~gold).sum(),
            (taken & ~right).mean(),
        ]
    )


def print_table(
    found: dict[str, dict[str, Any]], apart: dict[str, tuple[float, float, float]], seconds: dict[str, float]
) -> None:
    rows_of = found["plain"]["n"]
    print(f"{rows_of} rows; fitted in " + ", ".join(f"{s:.0f} s ({kind})" for kind, s in seconds.items()))
    print(f"{'figure':14} {'plain':>25} {'contrastive':>25} {'contrastive - plain':>29}")
    for name in FIGURES:
        cells = []
        for kind in ("plain", "contrastive"):
            low, high = found[kind]["intervals"][name]
            cells.append(f"{found[kind][name]:.4f} ({low:.4f}-{high:.4f})")
        value, low, high = apart[name]
        print(f"{name:14} {cells[0]:>25} {cells[1]:>25} {f'{value:+.4f} ({low:+.4f} to {high:+.4f})':>29}")
    kept = {k: {name: f[name] for name in (*FIGURES, "intervals", "calibration_error")} for k, f in found.items()}
    print(json.dumps({"bench": "contrastive", "rows": rows_of, "seconds": seconds, **kept, "difference": apart}))


if __name__ == "__main__":
    main()
