"""Does a threshold for each cohort help? `python bench/thresholds.py --data DIR [--router FOLDER]`.

Fits on `DIR/*/train.jsonl` as `cohort router fit` does (or takes the router in FOLDER), and decides the prompts of
`DIR/*/test.jsonl` by the serving code. On one half of them the classifier's thresholds are chosen, on the other they
are judged; each half once, over SPLITS random ones. It does not look at the traffic that `router_quality.py` judges
on. All choices state the same: of what is accepted at most RISK is wrong, and of the rows of no cohort at most
OUTLIERS are accepted. `one`: the least threshold for all that keeps this. `each`: the least of every cohort that
keeps it among the rows nearest to that cohort. `priced`: those of the cohorts that together accept most rightly, and
keep it over all rows. Prints what they give on the halves they have not seen, means over the splits, and each
difference to `one` with the span of 95 % of the splits; then one JSON line. Without the data it says so and ends
well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from router_quality import configuration, fit, rows

from appliance.routing.routers import Routers, scored
from appliance.store.database import Database
from router import artefact
from router.cohort import BASE
from router.learn import OUTLIERS, RISK

SPLITS = 50
NEVER = 2.0
FIGURES = ("coverage", "accuracy", "risk", "ood_accepted", "misrouted")
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """`nearest` is the cohort that each would go to if it were accepted, with this confidence; `fixed`: the semantic
    layer has accepted it already; `inside`: it belongs to a cohort; `right`: to the nearest."""

    nearest: npt.NDArray[np.int64]
    confidence: Values
    fixed: npt.NDArray[np.bool_]
    inside: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]

    def __getitem__(self, which: npt.NDArray[np.bool_]) -> Rows:
        parts = (self.nearest, self.confidence, self.fixed, self.inside, self.right)
        return Rows(*(part[which] for part in parts))  # type: ignore[arg-type]

    def accepted(self, thresholds: Values) -> npt.NDArray[np.bool_]:
        """With one threshold for each cohort."""
        return self.fixed | (self.confidence >= thresholds[self.nearest])

    def keeps(self, accepted: npt.NDArray[np.bool_]) -> bool:
        """What is stated."""
        wrong, outliers = (accepted & ~self.right).sum(), (accepted & ~self.inside).sum()
        return bool(wrong <= RISK * accepted.sum() and outliers <= OUTLIERS * (~self.inside).sum())

    def figures(self, thresholds: Values) -> Values:
        taken = self.accepted(thresholds)
        kept = taken & self.inside
        return np.array(
            [
                kept.sum() / self.inside.sum(),
                (kept & self.right).sum() / kept.sum(),
                (taken & ~self.right).sum() / taken.sum(),
                (taken & ~self.inside).sum() / (~self.inside).sum(),
                (taken & ~self.right).mean(),
            ]
        )


def one(chosen: Rows, cohorts: int) -> Values:
    return np.full(cohorts, _least(chosen))


def each(chosen: Rows, cohorts: int) -> Values:
    return np.array([_least(chosen[chosen.nearest == cohort]) for cohort in range(cohorts)])


def _least(chosen: Rows) -> float:
    """The threshold that accepts most and keeps what is stated."""
    for threshold in np.unique(chosen.confidence[~chosen.fixed]):
        if chosen.keeps(chosen.accepted(np.full(chosen.nearest.max() + 1, threshold))):
            return float(threshold)
    return NEVER


def priced(chosen: Rows, cohorts: int) -> Values:
    """A wrong one costs as many right ones as it must for what is stated to be kept."""
    for price in np.geomspace(1, 1000, 200):
        thresholds = np.array([_worth(chosen[chosen.nearest == cohort], price) for cohort in range(cohorts)])
        if chosen.keeps(chosen.accepted(thresholds)):
            return thresholds
    return np.full(cohorts, NEVER)


def _worth(of: Rows, price: float) -> float:
    """The threshold of one cohort's rows with the most right ones less the price of the wrong ones."""
    free = of[~of.fixed]
    order = np.argsort(-free.confidence, kind="stable")
    gain = np.cumsum(np.where(free.right[order], 1.0, -price))
    if not len(gain) or gain.max() <= 0:
        return NEVER
    return float(free.confidence[order][int(gain.argmax())])


KINDS: dict[str, Callable[[Rows, int], Values]] = {"one": one, "each": each, "priced": priced}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("COHORT_BENCH_DATA"))
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    given = parser.parse_args()
    if given.data is None or not (given.data / "traffic" / "tenants.json").exists():
        print("skipped: name a folder with the cohorts' rows, --data DIR or COHORT_BENCH_DATA")
        print(json.dumps({"bench": "thresholds", "skipped": True}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        found, cohorts = asyncio.run(decided(given.data, given.router, Path(scratch)))
    print_table({kind: judged(found, choose, cohorts) for kind, choose in KINDS.items()}, len(found.nearest))


async def decided(data: Path, fitted: Path | None, scratch: Path) -> tuple[Rows, int]:
    """The test rows as the router decides them when it accepts everything, and the number of cohorts."""
    config = configuration(data)
    database = Database.open(scratch / "appliance.db", config.store.queue)
    try:
        routers = Routers(config, Path("examples"), scratch, database)
        if fitted is None:
            await fit(routers, data, config)
        else:
            routers.current = artefact.load(fitted, fitted.name[:12], list(config.cohorts))
        assert routers.current is not None  # noqa: S101 - `fit` puts the first one in force
        test = [replace(row, metadata={}) for path in sorted(data.glob("*/test.jsonl")) for row in rows(path, config)]
        test = [row for row in test if row.prompt.strip()]
        told = scored(test, await routers.decisions(test, routers.current.at(0.0)))
    finally:
        database.close()
    names = list(config.cohorts)
    told = [row for row in told if row.decision.cohort != BASE]  # too long to be read
    return Rows(
        np.array([names.index(row.decision.cohort) for row in told]),
        np.array([row.decision.confidence for row in told]),
        np.array([row.decision.layer == "semantic" for row in told]),
        np.array([row.gold != BASE for row in told]),
        np.array([row.gold == row.decision.cohort for row in told]),
    ), len(names)


def judged(found: Rows, choose: Callable[[Rows, int], Values], cohorts: int) -> Values:
    """FIGURES on every half, by what was chosen on the other: (2 * SPLITS, 5)."""
    rng, told = np.random.default_rng(0), []
    for _ in range(SPLITS):
        half = rng.permutation(len(found.nearest)) < len(found.nearest) // 2
        told += [found[~part].figures(choose(found[part], cohorts)) for part in (half, ~half)]
    return np.array(told)


def print_table(found: dict[str, Values], count: int) -> None:
    print(f"{count} rows, {2 * SPLITS} halves; stated: {RISK:.1%} wrong, {OUTLIERS:.0%} of no cohort")
    print(f"{'thresholds':11} " + " ".join(f"{name:>30}" for name in FIGURES))
    row: dict[str, dict[str, list[float]]] = {}
    for kind, values in found.items():
        mean, apart = values.mean(0), values - found["one"]
        low, high = np.quantile(apart, (0.025, 0.975), axis=0)
        spans = [f"({d:+.4f}, {a:+.4f} to {b:+.4f})" for d, a, b in zip(apart.mean(0), low, high, strict=True)]
        cells = [f"{m:.4f} {span if kind != 'one' else ''}" for m, span in zip(mean, spans, strict=True)]
        print(f"{kind:11} " + " ".join(f"{cell:>30}" for cell in cells))
        parts = zip(mean, apart.mean(0), low, high, strict=True)
        row[kind] = {name: [float(part) for part in four] for name, four in zip(FIGURES, parts, strict=True)}
    print(json.dumps({"bench": "thresholds", "rows": count, "halves": 2 * SPLITS, **row}))


if __name__ == "__main__":
    main()
