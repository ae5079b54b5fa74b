"""Which odds should metadata and sessions have? `python bench/odds.py --data DIR [--router FOLDER]`.

Fits on `DIR/*/train.jsonl` as `cohort router fit` does (or takes the router in FOLDER), and decides prompts and bare
texts of `DIR/*/test.jsonl` with tenants and sessions that are made up here; it does not look at the traffic that
`router_quality.py` judges on. A session is a tenant's and has LENGTH requests on average; a request follows the
session's subject but for one in WANDER, then it is of any row. At `--home` (a share) the subject is the tenant's home
cohort, else any. Of every pair of odds that are tried it prints what is misrouted and covered, and which pair covers
most while it misroutes at most AIM; then one JSON line. Without the data it says so and ends well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from router_quality import configuration, fit, rows

from appliance.config import Config
from appliance.routing.router_rows import LabelledText
from appliance.routing.routers import Routers
from appliance.routing.sessions import Sessions
from appliance.store.database import Database
from router import artefact
from router.classifier import FittedRouter
from router.cohort import BASE
from router.decide import decide
from router.layers import Query
from router.text import Policy, Reading

ODDS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0)
HOMES = (0.6, 0.8, 0.95)
LENGTH, WANDER = 4, 8
REQUESTS = 6000
AIM = 0.01  # of all requests
Figures = dict[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Request:
    row: LabelledText
    session: str


class Read:
    """A router that has read its texts already."""

    def __init__(self, router: FittedRouter, texts: Sequence[str]) -> None:
        self.version, self.policy = router.version, router.policy
        self._readings = {text: router.read(text) for text in set(texts)}

    def read(self, text: str) -> Reading:
        return self._readings[text]

    def under(self, policy: Policy) -> Read:
        self.policy = policy
        return self


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("COHORT_BENCH_DATA"))
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    given = parser.parse_args()
    if given.data is None or not (given.data / "traffic" / "tenants.json").exists():
        print("skipped: name a folder with the cohorts' rows, --data DIR or COHORT_BENCH_DATA")
        print(json.dumps({"bench": "odds", "skipped": True}))
        return
    config = configuration(given.data)
    whole = [row for path in sorted(given.data.glob("*/test.jsonl")) for row in rows(path, config)]
    test = [*whole, *(replace(row, prompt=row.text) for row in whole)]
    with tempfile.TemporaryDirectory() as scratch:
        router = asyncio.run(fitted(given.data, config, given.router, Path(scratch)))
    read = Read(router, [row.prompt for row in test])
    told = {home: figures(read, config, made_up(test, config, home)) for home in HOMES}
    for home, found in told.items():
        print_grid(home, found)
    best = {home: chosen(found) for home, found in told.items()}
    cells = {str(home): [[*odds, *values] for odds, values in found.items()] for home, found in told.items()}
    print(json.dumps({"bench": "odds", "rows": len(test), "chosen": best, "grid": cells}))


async def fitted(data: Path, config: Config, folder: Path | None, scratch: Path) -> FittedRouter:
    if folder is not None:
        return artefact.load(folder, folder.name[:12], list(config.cohorts))
    database = Database.open(scratch / "appliance.db", config.store.queue)
    try:
        routers = Routers(config, Path("examples"), scratch, database)
        await fit(routers, data, config)
        assert routers.current is not None  # noqa: S101 - `fit` puts the first one in force
        return routers.current
    finally:
        database.close()


def made_up(test: Sequence[LabelledText], config: Config, home: float) -> list[Request]:
    """Tenants and sessions for the rows; a tenant is one of those that are configured."""
    rng, requests = random.Random(0), list[Request]()
    of = {name: [row for row in test if row.cohort == name] for name in (*config.cohorts, BASE)}
    tenants = [(rule.match["tenant"], cohort.name) for cohort in config.routing() for rule in cohort.rules]
    while len(requests) < REQUESTS:
        tenant, subject = rng.choice(tenants)
        if rng.random() >= home:
            subject = rng.choice(test).cohort
        name = f"s{len(requests)}"
        while True:
            row = rng.choice(test if rng.randrange(WANDER) == 0 else of[subject])
            requests.append(Request(replace(row, metadata={"tenant": tenant}), name))
            if rng.randrange(LENGTH) == 0:
                break
    return requests


def figures(read: Read, config: Config, requests: Sequence[Request]) -> Figures:
    """For each pair of prior and session odds: misrouted of all, and coverage."""
    policy = read.policy
    return {
        (prior, session): outcome(
            read.under(replace(policy, prior_odds=prior, session_odds=session)), config, requests
        )
        for prior in ODDS
        for session in ODDS
    }


def outcome(read: Read, config: Config, requests: Sequence[Request]) -> tuple[float, float]:
    sessions, cohorts = Sessions(), config.routing()
    wrong = covered = inside = 0
    for request in requests:
        row = request.row
        query = Query(row.prompt, row.metadata, session=sessions.cohort("", request.session))
        sent = decide(query, cohorts, read).cohort
        if sent != BASE:
            sessions.note("", request.session, sent)
        wrong += sent not in (BASE, row.cohort)
        inside += row.cohort != BASE
        covered += BASE not in (sent, row.cohort)
    return wrong / len(requests), covered / inside


def chosen(found: Figures) -> tuple[float, float] | None:
    good = {odds: covered for odds, (wrong, covered) in found.items() if wrong <= AIM}
    return max(good, key=lambda odds: good[odds], default=None)


def print_grid(home: float, found: Figures) -> None:
    print(f"at home {home:.0%}: misrouted, coverage (%), by odds of the session (across) and of a prior (down)")
    print(f"{'':>5}" + "".join(f"{session:>13g}" for session in ODDS))
    for prior in ODDS:
        cells = [found[prior, session] for session in ODDS]
        print(f"{prior:5g}" + "".join(f"{100 * wrong:7.2f} {100 * covered:5.1f}" for wrong, covered in cells))
    print(f"most coverage at {AIM:.0%} misrouted at most: prior and session {chosen(found)}\n")


if __name__ == "__main__":
    main()
