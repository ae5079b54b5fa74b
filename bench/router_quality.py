"""How well the text router sends requests: `python bench/router_quality.py --data DIR [--router FOLDER]`.

DIR (or COHORT_BENCH_DATA) holds `*/train.jsonl`, `traffic/traffic.jsonl`, `traffic/tenants.json` (the home cohort of
each tenant) and `cohort_unseen/test.jsonl`. Fits as `cohort router fit DIR/*/train.jsonl` does and evaluates as
`cohort router eval` does, with the same code: on the traffic's prompts alone, with each tenant as a prior for its
home, the same in order and with the traffic's sessions, and on prompts of known cohorts but unknown tasks. Prints a
table with 95 % intervals and the targets, then one JSON line. It says nothing of what is answered. Without the data
it says so and ends well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.config import CohortSection, Config
from appliance.errors import ApplianceError
from appliance.routing import router_rows
from appliance.routing.router_rows import LabelledText
from appliance.routing.routers import FitOptions, Routers, scored
from appliance.routing.sessions import Sessions
from appliance.store.database import Database
from router import artefact, evaluate
from router.classifier import FittedRouter
from router.cohort import BASE
from router.decide import decide
from router.layers import Query

Report = dict[str, Any]
# What is asked for: (on which rows, figure, at least or at most, how much).
TARGETS = (
    ("prompt alone", "auroc", ">=", 0.98),
    ("prompt alone", "coverage", ">=", 0.92),
    ("prompt alone", "accuracy", ">=", 0.985),
    ("prompt alone", "ood_accepted", "<=", 0.08),
    ("with tenants", "misrouted", "<=", 0.015),
    ("with tenants", "coverage", ">=", 0.90),
    ("with sessions", "misrouted", "<=", 0.015),
    ("with sessions", "coverage", ">=", 0.90),
    ("unseen tasks", "misrouted", "<=", 0.04),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("COHORT_BENCH_DATA"))
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    given = parser.parse_args()
    if given.data is None or not (given.data / "traffic" / "traffic.jsonl").exists():
        print("skipped: name a folder with labelled traffic, --data DIR or COHORT_BENCH_DATA")
        print(json.dumps({"bench": "router_quality", "skipped": True}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        print_report(asyncio.run(reports(given.data, given.router, Path(scratch))))


async def reports(data: Path, fitted: Path | None, scratch: Path) -> dict[str, Report]:
    config = configuration(data)
    database = Database.open(scratch / "appliance.db", config.store.queue)
    try:
        routers = Routers(config, Path("examples"), scratch, database)
        if fitted is None:
            await fit(routers, data, config)
        else:
            routers.current = artefact.load(fitted, fitted.name[:12], list(config.cohorts))
        traffic = rows(data / "traffic" / "traffic.jsonl", config)
        unseen = rows(data / "cohort_unseen" / "test.jsonl", config)
        return {
            "prompt alone": await routers.report([replace(row, metadata={}) for row in traffic]),
            "with tenants": await routers.report(traffic),
            "with sessions": in_order(data / "traffic" / "traffic.jsonl", config, routers.current),
            "unseen tasks": await routers.report([replace(row, metadata={}) for row in unseen]),
        }
    finally:
        database.close()


def in_order(path: Path, config: Config, router: FittedRouter | None) -> Report:
    """As live traffic would be decided: the rows as they come, each in its session."""
    with path.open(encoding="utf-8") as file:
        names = [json.loads(line)["session"] for line in file]
    given, cohorts, sessions, decided = rows(path, config), config.routing(), Sessions(), []
    for row, name in zip(given, names, strict=True):
        decision = decide(Query(row.prompt, row.metadata, session=sessions.cohort("", name)), cohorts, router)
        if decision.cohort != BASE:
            sessions.note("", name, decision.cohort)
        decided.append(decision)
    return evaluate.report(scored(given, decided))


def configuration(data: Path) -> Config:
    """The cohorts that tenants have as their home, each with its tenants as priors."""
    tenants = json.loads((data / "traffic" / "tenants.json").read_text(encoding="utf-8"))["tenants"]
    homes = sorted({tenant["home_cohort"] for tenant in tenants.values()} - {"none"})
    return Config(
        cohorts={
            home: CohortSection(
                description=home,
                owner="bench@example.org",
                metadata=[{"tenant": name} for name, tenant in tenants.items() if tenant["home_cohort"] == home],
            )
            for home in homes
        }
    )


def rows(path: Path, config: Config) -> list[LabelledText]:
    return list(router_rows.from_file(path, config.cohorts))


async def fit(routers: Routers, data: Path, config: Config, *, contrastive: bool = False) -> None:
    train = [row for path in sorted(data.glob("*/train.jsonl")) for row in rows(path, config)]

    def tell(fraction: float, doing: str) -> None:
        print(f"\r{fraction:4.0%} {doing:60}", end="", file=sys.stderr, flush=True)

    try:
        await routers.fit(FitOptions(train, contrastive=contrastive), "bench", tell)
    except ApplianceError as error:
        raise SystemExit(error.message) from error
    finally:
        print(file=sys.stderr)


def print_report(found: dict[str, Report]) -> None:
    print(f"{'rows':14} {'figure':14} {'value':>7} {'95 % interval':>17} {'target':>9}")
    missed = []
    for on, figure, sense, bound in TARGETS:
        value, (low, high) = found[on][figure], found[on]["intervals"][figure]
        met = value >= bound if sense == ">=" else value <= bound
        missed += [] if met else [f"{figure} {on}"]
        interval = f"{low:.4f} - {high:.4f}"
        print(f"{on:14} {figure:14} {value:7.4f} {interval:>17} {sense} {bound:6} {'' if met else 'missed'}")
    kept = ("n", "auroc", "coverage", "accuracy", "ood_accepted", "misrouted", "intervals", "calibration_error")
    short = {on: {name: report[name] for name in kept} for on, report in found.items()}
    threshold = found["prompt alone"]["threshold"]
    print(json.dumps({"bench": "router_quality", "threshold": threshold, "missed": missed, "rows": short}))


if __name__ == "__main__":
    main()
