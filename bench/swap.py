"""Replacing releases under load: `python bench/swap.py [--swaps 50] [--soak 2000]`.

Three clients stream answers of one cohort without a pause while its live release is replaced again and again: first
none (quiet), then `--swaps` times through the operator API, every third time by a rollback, among three releases of
which one at a time may stay as a spare, so that each replacement loads one and frees one. Counts failures, answers
that name a release that was not live while they ran, and answers computed by another release than they name; compares
the time to the first token with quiet.
Then the soak, in process: an engine takes and frees adapters `--soak` times while it answers, and its memory is read.
Prints a table, then one JSON line. The answers are short, so that many begin close to a replacement.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from rig import adapters, load, servers
from rig.servers import Server

from appliance import base
from appliance.config import Base
from appliance.engine.engine import Engine
from appliance.engine.lane import LaneShape
from appliance.engine.prefix_cache import StateKey
from appliance.engine.queue import WaitingRoom
from appliance.engine.sampling import Sampling
from appliance.engine.scheduler import Share
from appliance.engine.sequence import SequenceRequest
from appliance.engine.text import Delta

CLIENTS, RELEASES, ANSWER, PAUSE_S = 3, 3, 12, 0.5
PROMPT = "List what the notice of delay has to say, in the order of the contract."
SCORED = 12  # of the prompt's first tokens the log-probabilities tell which release computed an answer
BODY: dict[str, object] = {"prompt": PROMPT, "max_tokens": ANSWER, "temperature": 0, "ignore_eos": True}
BODY |= {"echo": True, "logprobs": 0}


@dataclass(frozen=True, slots=True)
class Answer:
    sent: float
    first: float
    ended: float
    status: int
    release: str
    scores: tuple[float, ...]


@dataclass(slots=True)
class Clients:
    """A steady load in threads; `answers` grows until `stop`."""

    server: Server
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Clients:
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self) -> None:
        with httpx.Client(base_url=self.server.url, headers=dict(self.server.headers), timeout=120) as http:
            while not self._over.is_set():
                self.answers.append(ask(http, "legal"))


def ask(http: httpx.Client, model: str) -> Answer:
    sent = first = time.monotonic()
    status, release = 0, ""
    scores: list[float] = []
    try:
        with http.stream("POST", "/v1/completions", json={**BODY, "model": model, "stream": True}) as reply:
            status, release = reply.status_code, reply.headers.get("x-release", "")
            for line in reply.iter_lines():
                if line.startswith("data: {"):
                    first = time.monotonic() if first == sent else first
                    event = json.loads(line[6:])
                    status = 599 if "error" in event else status
                    for choice in event.get("choices", ()):
                        given = (choice.get("logprobs") or {}).get("token_logprobs", ())
                        scores += [score for score in given if score is not None]
    except httpx.HTTPError:
        status = 0
    return Answer(sent, first, time.monotonic(), status, release, tuple(scores[:SCORED]))


def replace(server: Server, swaps: int) -> dict[str, object]:
    """The load alone for a while, then under replacements."""
    memory = psutil.Process(server.pid)
    with httpx.Client(base_url=server.url, headers=dict(server.headers), timeout=120) as operator:
        known = {f"legal@{v}": ask(operator, f"legal@{v}").scores for v in range(1, RELEASES + 1)}
        with Clients(server) as clients:
            time.sleep(min(30.0, swaps * PAUSE_S))
        quiet = clients.answers
        live: list[tuple[float, float, str]] = []  # asked for, done, which
        resident: list[float] = []
        with Clients(server) as clients:
            for swap in range(swaps):
                back = swap % 3 == 2
                version = (swap - swap // 3) % RELEASES + 1
                asked = time.monotonic()
                body = {"cohort": "legal"} if back else {"cohort": "legal", "version": version}
                reply = operator.post(f"/admin/v1/{'rollback' if back else 'promote'}", json=body).raise_for_status()
                live.append((asked, time.monotonic(), str(reply.json()["live"])))
                resident.append(memory.memory_info().rss / 1e6)
                time.sleep(PAUSE_S)
        took = {False: list[float](), True: list[float]()}
        for swap, (asked, done, _) in enumerate(live):
            took[swap % 3 == 2].append(done - asked)
        return {
            "swaps": swaps,
            "promote_s": load.interval(took[False]),
            "rollback_s": load.interval(took[True]),
            "rollback_most_s": max(took[True]),
            **judge(quiet, clients.answers, live, known),
            "memory_mb": growth(resident),
        }


def judge(
    quiet: list[Answer], busy: list[Answer], live: list[tuple[float, float, str]], known: dict[str, tuple[float, ...]]
) -> dict[str, object]:
    def was_live(answer: Answer) -> bool:
        """Some moment between its sending and its first token fell into the release's time."""
        starts = [(asked, done, name) for asked, done, name in live if asked <= answer.first]
        until = [done for asked, done, _ in live[1:]] + [float("inf")]
        return not starts or any(
            name == answer.release and end >= answer.sent
            for (_, _, name), end in zip(live[: len(starts)], until, strict=False)
        ) or answer.sent < live[0][1]  # fmt: skip

    def nearest(answer: Answer) -> str:
        return min(known, key=lambda name: math.dist(known[name], answer.scores))

    good = [a for a in busy if a.status == 200]
    tails = [load.quantile([a.first - a.sent for a in answers], 0.99) for answers in (quiet, busy)]
    return {
        "answers": len(busy),
        "failed": len(busy) - len(good),
        "wrong_version": sum(not was_live(a) for a in good),
        "wrong_scores": sum(nearest(a) != a.release for a in good),
        "ttft_p99_quiet_s": tails[0],
        "ttft_p99_s": tails[1],
    }


def growth(readings: list[float]) -> dict[str, float]:
    """Of resident memory, MB: after a first fifth of warming up, at the end, and the slope per 100 swaps."""
    warm = readings[len(readings) // 5 :]
    slope = statistics.linear_regression(range(len(warm)), warm).slope
    return {"warm": warm[0], "end": warm[-1], "slope_per_100": slope * 100}


async def soak(model: Path, files: list[Path], swaps: int) -> dict[str, object]:
    """Attach, answer, detach; while another lane answers all the time."""
    key = StateKey("bench", "bench", "base", 1.0, "bench", "bench")
    engine = Engine(model, LaneShape(2048, threads=2), 0, WaitingRoom(64, 1 << 20), key, cache_bytes=64 << 20)
    await engine.start()
    prompt = engine.model.tokenize(PROMPT, special=False)
    over = asyncio.Event()
    beside = asyncio.create_task(_answer_on(engine, prompt, over))
    resident = []
    for swap in range(swaps):
        name = f"release {swap % len(files)} {swap}"
        await engine.attach(name, files[swap % len(files)], Share(name))
        with engine.hold(name):
            await _answer(engine, name, prompt, 2)
        await engine.detach(name)
        resident.append(psutil.Process().memory_info().rss / 1e6)
    over.set()
    answered = await beside
    await engine.stop()
    return {"swaps": swaps, "answered_beside": answered, "memory_mb": growth(resident)}


async def _answer_on(engine: Engine, prompt: list[int], over: asyncio.Event) -> int:
    count = 0
    while not over.is_set():
        await _answer(engine, "base", prompt, ANSWER)
        count += 1
    return count


async def _answer(engine: Engine, lane: str, prompt: list[int], tokens: int) -> None:
    given = 0
    with engine.submit(
        [SequenceRequest(lane, prompt, tokens, Sampling(temperature=0), ignore_end=True, logprobs=0)]
    ) as run:
        async for _, event in run.events():
            given += len(event.scores) if isinstance(event, Delta) else 0
    if given != tokens:
        raise SystemExit(f"{given} of {tokens} tokens came")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=50)
    parser.add_argument("--soak", type=int, default=2000)
    args = parser.parse_args()
    model = base.locate(Base(), Path("cohorts.toml"))
    with tempfile.TemporaryDirectory() as folder:
        files = adapters.several(model, Path(folder), RELEASES, spread=0.08)
        with servers.appliance(
            Path(folder) / "home", model, files[:1], format="as_is", context=2048, spare_lanes=1
        ) as server:
            for file in files[1:]:
                servers.cohort(server, "release", "add", str(file), "--cohort", "legal")
            replaced = replace(server, args.swaps)
        soaked = asyncio.run(soak(model, files, args.soak)) if args.soak else {}
    for title, row in (("replacements under load", replaced), ("soak", soaked)):
        print(title)
        for name, value in row.items():
            print(f"  {name:18} {value}")
    print(json.dumps({"bench": "swap", "replacements": replaced, "soak": soaked}))


if __name__ == "__main__":
    main()
