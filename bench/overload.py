"""More than it can do: `python bench/overload.py [--seconds 60] [--times 10] [--router FOLDER]`.

First what the appliance gives to a closed loop of 16 clients, as many as a lane has slots; then, for `--seconds`,
requests that arrive at random `--times` as fast as it ended them before, none of them asked again. Goodput is the
tokens of whole answers a second, to those of the closed loop. A reject is honest when it is a 503 with Retry-After;
nothing else may come instead of an answer. Every request asks `auto`, and a router fitted on the shipped examples
(first, by `make train-tools` in a minute or two, or that of `--router`) reads its text. The clients run niced in a
process of their own, so what they see of a reject's time is mostly their own wait for a processor; so 16 that are not
niced ask meanwhile, and say how fast a reject is: some hundred of them. One that was taken in leaves after a second
("taken in"), and a reject that took longer would be counted there. Prints a table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rig import adapters, fitted, load, prompts, servers
from rig.load import Done
from rig.servers import Server

from appliance import base
from appliance.config import Base

CLIENTS, PROMPT, ANSWER = 16, 40, 24
MIX = {"legal": 3, "support": 2, "finance": 1, "base": 2}


WATCHERS, PATIENCE = 16, 1.0  # seconds


def closed(server: Server, rounds: int) -> list[Done]:
    shares = {cohort: count * rounds for cohort, count in MIX.items()}
    return load.run(server, CLIENTS, prompts.mix(shares, rounds, PROMPT, ANSWER, fitted.texts()))


def flood(server: Server, rate: float, seconds: float) -> list[Done]:
    """Requests at `rate` a second on average, however many are under way."""
    total = int(rate * seconds)
    rounds = -(-total // sum(MIX.values()))
    shares = {cohort: count * rounds for cohort, count in MIX.items()}
    return load.run(server, 0, prompts.mix(shares, 0, PROMPT, ANSWER, fitted.texts()), rate)


@dataclass(slots=True)
class Watched:
    """What clients saw that are not niced: seconds from asking to the whole reject, and how many were taken in."""

    rejects: list[float] = field(default_factory=list)
    taken: int = 0


def watch(server: Server, stop: threading.Event, seed: int) -> Watched:
    """Ask until it is told to stop, twice a second at most."""
    rng, texts, seen = random.Random(seed), fitted.texts()["base"], Watched()
    with httpx.Client(base_url=server.url, headers=dict(server.headers), timeout=PATIENCE) as client:
        while not stop.wait(0.5):
            asked = {"prompt": prompts.like(texts, PROMPT, rng), "max_tokens": 1, **server.select["base"]}
            started = time.perf_counter()
            try:
                status = client.post("/v1/completions", json=asked).status_code
            except httpx.TimeoutException:
                status = 200  # in good time
            if status == 503:
                seen.rejects.append(time.perf_counter() - started)
            seen.taken += status == 200
    return seen


def watched(server: Server, work: Callable[[], list[Done]]) -> tuple[list[Done], Watched]:
    """What `work` gave, and what was seen meanwhile."""
    stop = threading.Event()
    with ThreadPoolExecutor(WATCHERS) as pool:
        watching = [pool.submit(watch, server, stop, seed) for seed in range(WATCHERS)]
        try:
            done = work()
        finally:
            stop.set()
    each = [watcher.result() for watcher in watching]
    return done, Watched([s for one in each for s in one.rejects], sum(one.taken for one in each))


def report(calm: Sequence[Done], busy: Sequence[Done], seen: Watched) -> dict[str, object]:
    answered = [d for d in busy if d.status == 200 and d.tokens == ANSWER]
    rejects = [d for d in busy if d.status == 503]
    # What came during the flood and its backlog: until the last answer.
    span = max(d.ended for d in answered) - min(d.sent for d in busy)
    goodput = sum(d.tokens for d in answered) / span
    waits = [d.ended - d.sent for d in rejects] or [0.0]
    return {
        "sent": len(busy),
        "answered": len(answered),
        "rejected": len(rejects),
        "rejected_without_retry_after": sum(d.retry_after <= 0 for d in rejects),
        "other": Counter(d.status for d in busy if d not in answered and d not in rejects),
        "tokens_per_second": load.tokens_per_second(calm),
        "goodput": goodput / load.tokens_per_second(calm),
        "placed": load.placed(busy),
        "watched_taken_in": seen.taken,
        "watched_rejects": len(seen.rejects),
        "watched_reject_p50_ms": load.quantile(seen.rejects or [0.0], 0.5) * 1e3,
        "watched_reject_p99_ms": load.quantile(seen.rejects or [0.0], 0.99) * 1e3,
        "reject_p50_ms": load.quantile(waits, 0.5) * 1e3,
        "reject_p99_ms": load.quantile(waits, 0.99) * 1e3,
        "answer_p95_s": load.quantile([d.ended - d.sent for d in answered], 0.95),
        "retry_after_s": load.quantile([d.retry_after for d in rejects] or [0.0], 0.5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=10)
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    args = parser.parse_args()
    model = base.locate(Base(), Path("cohorts.toml"))
    with tempfile.TemporaryDirectory() as folder:
        router = args.router or fitted.fit(Path(folder))
        files = adapters.several(model, Path(folder), 3)
        edge = {"max_per_key": 10_000}
        with servers.appliance(
            Path(folder) / "home", model, files, edge=edge, router=router, format="as_is", context=4096
        ) as server:
            closed(server, 2)
            calm = closed(server, 8)
            rate = len(calm) / (max(d.ended for d in calm) - min(d.sent for d in calm))
            busy, seen = watched(server, lambda: flood(server, rate * args.times, args.seconds))
    row = report(calm, busy, seen)
    for name, value in row.items():
        print(f"{name:30} {value if isinstance(value, (int, Counter)) else round(float(str(value)), 2)}")
    print(json.dumps({"bench": "overload", "times": args.times, "seconds": args.seconds, **row}))


if __name__ == "__main__":
    main()
