"""The appliance beside llama.cpp's own server: `python bench/serve.py [--pairs 5] [--base BASE.gguf]`.

Both serve the same base file as it is and the same five random adapters (rank 16, all linear layers) on this machine;
a niced closed loop of 8 clients asks each in turn, the order alternating from pair to pair: first one adapter for
all, then five at 55/20/12/8/5 %. The third runner is a bare loop over llama_decode with the same batch and threads,
one adapter and no server at all. Prints medians of the pairs with their intervals, then one JSON line. llama.cpp's
server comes as the wheel `xllamacpp`, which is installed into a virtual environment of its own (.venv-peer).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rig import adapters, bare, load, prompts, servers
from rig.load import Done
from rig.servers import ROOT, Server

from appliance import base
from appliance.config import Base

CLIENTS, PROMPT, ANSWER, SLOTS, CONTEXT = 8, 75, 32, 8, 4096
SCENARIOS = {
    "one": {"legal": 40},
    "five": {"legal": 44, "support": 16, "finance": 10, "healthcare": 6, "coding": 4},
}
Runs = dict[tuple[str, str], list[list[Done]]]


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        files = adapters.several(args.base, Path(folder), 5)
        python = servers.peer_python(ROOT / ".venv-peer")
        threads = len(os.sched_getaffinity(0))
        own = servers.appliance(
            Path(folder) / "appliance", args.base, files, format="as_is", context=CONTEXT, sequences=SLOTS
        )
        peer = servers.llama_server(Path(folder) / "peer", python, args.base, files, SLOTS, CONTEXT, threads)
        both = [running.enter_context(own), running.enter_context(peer)]
        runs = measure(both, args.pairs, lambda: bare.run(args.base, files[0], CLIENTS, PROMPT, ANSWER, count=40))
    report(*runs)


def measure(both: Sequence[Server], pairs: int, loop: Callable[[], float]) -> tuple[Runs, list[float]]:
    """What came back, by scenario and server, one list a pair; and what the bare loop gave in between."""
    runs: Runs = {}
    bares: list[float] = []
    for scenario, shares in SCENARIOS.items():
        for server in both:
            load.run(server, CLIENTS, prompts.mix(dict.fromkeys(shares, 2), 999, PROMPT, ANSWER))
        for pair in range(pairs):
            for server in both if pair % 2 else both[::-1]:
                done = load.run(server, CLIENTS, prompts.mix(shares, pair, PROMPT, ANSWER))
                runs.setdefault((scenario, server.name), []).append(done)
                print(f"{scenario:5} {server.name:13} {load.tokens_per_second(done):6.1f} tokens/s", flush=True)
            if scenario == "one":
                bares.append(loop())
    return runs, bares


def summary(scenario: str, server: str, runs: Sequence[Sequence[Done]]) -> dict[str, Any]:
    """Medians over the pairs; the slowest and fastest cohort over all of them together."""
    tails = {
        cohort: load.quantile([d.ttft for done in runs for d in done if d.cohort == cohort], 0.95)
        for cohort in SCENARIOS[scenario]
    }
    return {
        "scenario": scenario,
        "server": server,
        "failed": sum(d.status != 200 or d.tokens != ANSWER for done in runs for d in done),
        "tokens_per_second": load.interval([load.tokens_per_second(done) for done in runs]),
        "ttft_p95": load.interval([load.quantile([d.ttft for d in done], 0.95) for done in runs]),
        "ttft_p95_by_cohort": tails,
        "worst_to_best_cohort": max(tails.values()) / min(tails.values()),
    }


def report(runs: Runs, loop: Sequence[float]) -> None:
    rows = [summary(scenario, server, done) for (scenario, server), done in runs.items()]
    print(f"{'adapters':9} {'server':13} {'tokens/s':>20} {'TTFT p95, s':>20} {'cohorts, worst:best':>20} failed")
    for row in rows:
        speed, tail = (load.spread(row[key]) for key in ("tokens_per_second", "ttft_p95"))
        apart = row["worst_to_best_cohort"]
        print(f"{row['scenario']:9} {row['server']:13} {speed:>20} {tail:>20} {apart:20.1f} {row['failed']:6}")
    print(f"{'one':9} {'llama_decode':13} {load.spread(load.interval(loop)):>20}")
    ratios = {
        **{f"{s}: tokens/s to llama-server": _ratio(runs, s, load.tokens_per_second) for s in SCENARIOS},
        **{f"{s}: TTFT p95 to llama-server": _ratio(runs, s, _tail) for s in SCENARIOS},
        "one: tokens/s to llama_decode": load.interval(
            [load.tokens_per_second(own) / bare for own, bare in zip(runs["one", "appliance"], loop, strict=True)]
        ),
    }
    for name, ratio in ratios.items():
        print(f"{name:32} {load.spread(ratio)}")
    print(json.dumps({"bench": "serve", "rows": rows, "llama_decode": loop, "ratios": ratios}))


def _ratio(runs: Runs, scenario: str, measure: Callable[[Sequence[Done]], float]) -> tuple[float, float, float]:
    """The appliance's to the peer's, pair by pair."""
    pairs = zip(runs[scenario, "appliance"], runs[scenario, "llama-server"], strict=True)
    return load.interval([measure(own) / measure(peer) for own, peer in pairs])


def _tail(done: Sequence[Done]) -> float:
    return load.quantile([d.ttft for d in done], 0.95)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--base", type=Path, default=base.locate(Base(), Path("cohorts.toml")))
    return parser.parse_args()


if __name__ == "__main__":
    main()
