"""How many threads, and how they wait for one another: `python bench/threads.py [--rounds 3]`.

Decode steps of 1, 8 and 32 sequences with an adapter on the packaged base: with one thread, and with all of them
under several wait policies of libgomp, in processes of their own that take turns; alone, and beside niced threads
in as many threads. This is what the engine's choice (appliance/engine/threads.py) chooses from. Prints medians in
milliseconds, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rig import adapters, neighbour
from rig.steps import Steps

from appliance import base
from appliance.config import Base

ROWS = (1, 8, 32)
POLICIES = {
    "sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    model = base.locate(Base(), Path("cohorts.toml"))
    most = len(os.sched_getaffinity(0))
    variants = {"one thread": (1, POLICIES["sleep at once"])}
    variants |= {f"{most} threads, {name}": (most, policy) for name, policy in POLICIES.items()}
    times: dict[tuple[str, str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        adapter = Path(folder) / "adapter.gguf"
        adapters.write(model, adapter, 1)
        for rows in ROWS:
            with ExitStack() as running:
                steps = {
                    name: running.enter_context(Steps(model, adapter, threads, rows, policy))
                    for name, (threads, policy) in variants.items()
                }
                for _ in range(rounds):
                    for kind in ("quiet", "niced threads"):
                        with neighbour.beside(kind):
                            for name, child in steps.items():
                                times.setdefault((name, kind, rows), []).extend(child.run(5))
    report(list(variants), times)


def report(variants: list[str], times: dict[tuple[str, str, int], list[float]]) -> None:
    columns = [(kind, rows) for kind in ("quiet", "niced threads") for rows in ROWS]
    print(f"{'ms a step':28}" + "".join(f"{f'{kind}, {rows}':>18}" for kind, rows in columns))
    medians = {name: {f"{k}, {r}": statistics.median(times[name, k, r]) for k, r in columns} for name in variants}
    for name, row in medians.items():
        print(f"{name:28}" + "".join(f"{ms:18.1f}" for ms in row.values()))
    print(json.dumps({"bench": "threads", "median_ms": medians}))


if __name__ == "__main__":
    main()
