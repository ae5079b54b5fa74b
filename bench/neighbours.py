"""What neighbours on the same processors cost an answer: `python bench/neighbours.py [--rounds 5] [--router FOLDER]`.

Four streaming clients ask `auto` of the served base and its adapters (packaged base as it is; a router fitted on the
shipped examples reads every text; the log as always), in turn alone and beside: a trainer, as the appliance starts
such work (all threads, niced); the same in the scheduler's idle class; and a stranger at normal priority. Time to the
first token and time for each further token are the appliance's own (`timings`), since the clients are niced too.
Prints medians over the rounds, their ratio to quiet, and the share of requests that went where their texts belong;
then one JSON line. No time is promised beside a stranger. Fits a router first (`make train-tools`; a minute or two),
or takes the one in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from rig import adapters, fitted, load, neighbour, prompts, servers
from rig.load import Done

from appliance import base
from appliance.config import Base

CLIENTS, PROMPT, ANSWER = 4, 75, 48
MIX = {"legal": 8, "support": 4, "base": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    given = parser.parse_args()
    model = base.locate(Base(), Path("cohorts.toml"))
    done: dict[str, list[list[Done]]] = {name: [] for name in neighbour.KINDS}
    with tempfile.TemporaryDirectory() as folder:
        router, texts = given.router or fitted.fit(Path(folder)), fitted.texts()
        files = adapters.several(model, Path(folder), 3)
        home = Path(folder) / "appliance"
        with servers.appliance(home, model, files, router=router, format="as_is", context=4096) as server:
            load.run(server, CLIENTS, prompts.mix(MIX, 999, PROMPT, ANSWER, texts))
            seeds = count()  # other prompts each time: those asked before are in the prefix cache
            for _ in range(given.rounds):
                for name in neighbour.KINDS:
                    asked = prompts.mix(MIX, next(seeds), PROMPT, ANSWER, texts)
                    with neighbour.beside(name):
                        done[name].append(load.run(server, CLIENTS, asked))
    report(done)


def report(done: dict[str, list[list[Done]]]) -> None:
    rows = []
    print(f"{'beside':20} {'ms a token':>22} {'to quiet':>18} {'TTFT, ms':>24} {'failed':>7} {'placed':>7}")
    quiet = [per_token(run) for run in done["quiet"]]
    for name, runs in done.items():
        row: dict[str, Any] = {
            "beside": name,
            "ms_per_token": load.interval([per_token(run) for run in runs]),
            "to_quiet": load.interval([per_token(run) / alone for run, alone in zip(runs, quiet, strict=True)]),
            "ttft_ms": load.interval([load.quantile([d.prompt_ms for d in run], 0.5) for run in runs]),
            "failed": sum(d.status != 200 for run in runs for d in run),
            "placed": load.placed([d for run in runs for d in run]),
        }
        rows.append(row)
        cells = (load.spread(row[key]) for key in ("ms_per_token", "to_quiet", "ttft_ms"))
        print("{:20} {:>22} {:>18} {:>24} {:7} {:7.0%}".format(name, *cells, row["failed"], row["placed"]))
    print(json.dumps({"bench": "neighbours", "clients": CLIENTS, "rows": rows}))


def per_token(run: list[Done]) -> float:
    """The median milliseconds between the tokens of an answer."""
    return load.quantile([d.token_ms for d in run], 0.5)


if __name__ == "__main__":
    main()
