"""What neighbours on the same processors cost an answer: `python bench/neighbours.py [--rounds 5]`.

Four streaming clients ask the served base and its adapters (packaged base as it is, routing and log as always), in
turn alone and beside: a trainer, as the appliance starts such work (all threads, niced); the same in the scheduler's
idle class; and a stranger at normal priority. Time to the first token and time for each further token are the
appliance's own (`timings`), since the clients are niced too. Prints medians over the rounds and their ratio to quiet,
then one JSON line. No time is promised beside a stranger.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import count
from pathlib import Path

from rig import adapters, load, neighbour, prompts, servers
from rig.load import Done

from appliance import base
from appliance.config import Base

CLIENTS, PROMPT, ANSWER = 4, 75, 48
MIX = {"legal": 8, "support": 4, "base": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    model = base.locate(Base(), Path("cohorts.toml"))
    done: dict[str, list[list[Done]]] = {name: [] for name in neighbour.KINDS}
    with tempfile.TemporaryDirectory() as folder:
        files = adapters.several(model, Path(folder), 3)
        with servers.appliance(Path(folder) / "appliance", model, files, format="as_is", context=4096) as server:
            load.run(server, CLIENTS, prompts.mix(MIX, 999, PROMPT, ANSWER))
            seeds = count()  # other prompts each time: those asked before are in the prefix cache
            for _ in range(rounds):
                for name in neighbour.KINDS:
                    with neighbour.beside(name):
                        done[name].append(load.run(server, CLIENTS, prompts.mix(MIX, next(seeds), PROMPT, ANSWER)))
    report(done)


def report(done: dict[str, list[list[Done]]]) -> None:
    rows = []
    print(f"{'beside':20} {'ms a token':>22} {'to quiet':>18} {'TTFT, ms':>24} {'failed':>7}")
    quiet = [per_token(run) for run in done["quiet"]]
    for name, runs in done.items():
        row = {
            "beside": name,
            "ms_per_token": load.interval([per_token(run) for run in runs]),
            "to_quiet": load.interval([per_token(run) / alone for run, alone in zip(runs, quiet, strict=True)]),
            "ttft_ms": load.interval([load.quantile([d.prompt_ms for d in run], 0.5) for run in runs]),
            "failed": sum(d.status != 200 for run in runs for d in run),
        }
        rows.append(row)
        cells = (load.spread(row[key]) for key in ("ms_per_token", "to_quiet", "ttft_ms"))
        print("{:20} {:>22} {:>18} {:>24} {:7}".format(name, *cells, row["failed"]))
    print(json.dumps({"bench": "neighbours", "clients": CLIENTS, "rows": rows}))


def per_token(run: list[Done]) -> float:
    """The median milliseconds between the tokens of an answer."""
    return load.quantile([d.token_ms for d in run], 0.5)


if __name__ == "__main__":
    main()
