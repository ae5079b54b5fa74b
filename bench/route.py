"""What routing a text costs: `python bench/route.py [--router FOLDER] [--rounds 12]`.

A decision is timed as live traffic makes it (`router.decide`, one thread, no metadata): by the prompt's length in
word pieces of the encoder, with its processor time, which busy neighbours stretch less, and the shares of tokeniser,
encoder and lexical model in it; and by number of cohorts, with random weights. Then the engine decodes with the
packaged base, one answer and four at once, alternately alone and with 4 decisions a second beside it, at random
moments on another thread as in the appliance. Texts are the shipped examples'. Fits a router on them first (`make
train-tools`; a minute or two), or takes the one in FOLDER. Prints tables with the targets, then one JSON line. It
measures no HTTP, no templates and no log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from rig import fitted, load
from tokenizers import Tokenizer

from appliance import base, config
from appliance.config import Base
from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.lane import LaneShape
from appliance.engine.prefix_cache import StateKey
from appliance.engine.queue import WaitingRoom
from appliance.engine.sampling import Sampling
from appliance.engine.sequence import Finished, SequenceRequest
from appliance.routing import router_rows
from router import artefact
from router.classifier import FittedRouter
from router.cohort import Cohort
from router.decide import decide
from router.layers import Query

KEY = StateKey("bench", "bench", BASE_LANE, 1.0, "bench", "bench")
LENGTHS = (8, 16, 24, 32, 64, 128, 512, 4096)  # word pieces, begin and end among them
TARGETS = {8: 6.0, 16: 6.0, 24: 6.0, 32: 6.0, 64: 12.0}  # milliseconds at the median
COHORTS = range(3, 9)
USUAL = 24
TEXTS = 20  # of each length
RATE, KEPT = 4.0, 0.95  # decisions a second beside the engine, and what of its speed is to be left
ANSWER = 192
Routing = tuple[FittedRouter, tuple[Cohort, ...]]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", type=Path, help="folder of a router that was fitted before")
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.router or fitted.fit(Path(scratch))
        routing = fitted.load(folder)
        texts = {length: cut(folder, length) for length in LENGTHS}
        lengths = by_length(routing, texts, given.rounds)
        cohorts = by_cohorts({n: fitted.for_cohorts(folder, n) for n in COHORTS}, texts[USUAL], given.rounds)
    engine = asyncio.run(beside(routing, texts[32], given.rounds))
    print(json.dumps({"bench": "route", "lengths": lengths, "cohorts": cohorts, "engine": engine}))


def cut(folder: Path, length: int) -> list[str]:
    """Texts of so many word pieces: shipped prompts one after the other, each text beginning with another one."""
    tokenizer = Tokenizer.from_file(str(folder / artefact.TOKENIZER))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    names = config.load(fitted.ROOT / "cohorts.toml").cohorts
    prompts = [row.prompt for row in router_rows.shipped(fitted.ROOT / "examples", names, "eval")]
    random.Random(1).shuffle(prompts)
    texts = []
    for number in range(TEXTS):
        whole = "\n".join((prompts[number:] + prompts[:number])[: 8 + length // 8])
        ends = [end for _, end in tokenizer.encode(whole, add_special_tokens=False).offsets]
        texts.append(whole[: ends[length - 3]])
    return texts


def decision_ms(routing: Routing, text: str) -> tuple[float, float]:
    """Milliseconds by the clock, and of this thread on a processor."""
    router, cohorts = routing
    began, worked = time.perf_counter(), time.thread_time()
    decide(Query(text), cohorts, router)
    return (time.perf_counter() - began) * 1e3, (time.thread_time() - worked) * 1e3


def parts_ms(router: FittedRouter, text: str) -> tuple[float, float, float]:
    """Of the processor: tokeniser and encoder together, encoder, lexical model."""
    began = time.thread_time()
    found = router.encoder.encode(text)
    encoded = time.thread_time()
    router.encoder.embed(found.ids)
    embedded = time.thread_time()
    router.probabilities(found)
    ended = time.thread_time()
    return (encoded - began) * 1e3, (embedded - encoded) * 1e3, (ended - embedded) * 1e3


def by_length(routing: Routing, texts: dict[int, list[str]], rounds: int) -> list[Row]:
    """Lengths take turns, so that what disturbs the machine disturbs them alike."""
    whole: dict[int, list[tuple[float, float]]] = {length: [] for length in texts}
    parts: dict[int, list[tuple[float, float, float]]] = {length: [] for length in texts}
    for turn in range(-1, rounds):
        for number in range(TEXTS):
            for length, some in texts.items():
                ms, part = decision_ms(routing, some[number]), parts_ms(routing[0], some[number])
                if turn >= 0:  # the first one warms up
                    whole[length].append(ms)
                    parts[length].append(part)
    times = f"{'pieces':>6} {'p50 ms':>8} {'p95 ms':>8} {'cpu p50':>8}"
    print(f"{times} {'target':>7} {'tokenise':>9} {'encode':>7} {'lexical':>8}")
    rows = [length_row(length, whole[length], parts[length]) for length in texts]
    for row in rows:
        target = row["target_ms"] or "-"
        print("{pieces:6} {p50_ms:8.2f} {p95_ms:8.2f} {cpu_ms:8.2f} ".format(**row), end="")
        print("{:>7} {tokenise:9.0%} {encode:7.0%} {lexical:8.0%}".format(target, **row))
    return rows


def length_row(length: int, whole: list[tuple[float, float]], parts: list[tuple[float, float, float]]) -> Row:
    both, encode, lexical = (load.quantile(column, 0.5) for column in zip(*parts, strict=True))
    clock, cpu = zip(*whole, strict=True)
    middle = load.quantile(cpu, 0.5)
    return {
        "pieces": length,
        "p50_ms": load.quantile(clock, 0.5),
        "p95_ms": load.quantile(clock, 0.95),
        "cpu_ms": middle,
        "target_ms": TARGETS.get(length),
        "tokenise": max(0.0, both - encode) / middle,
        "encode": encode / middle,
        "lexical": lexical / middle,
    }


def by_cohorts(routings: dict[int, Routing], texts: Sequence[str], rounds: int) -> list[Row]:
    times: dict[int, list[tuple[float, float]]] = {count: [] for count in routings}
    for turn in range(-1, rounds):
        for text in texts:
            for count, routing in routings.items():
                ms = decision_ms(routing, text)
                times[count] += [ms] if turn >= 0 else []
    rows: list[Row] = []
    print(f"\n{'cohorts':>7} {'p50 ms':>8} {'p95 ms':>8} {'cpu p50':>8}   at {USUAL} word pieces")
    for count, found in times.items():
        clock, cpu = zip(*found, strict=True)
        middle, slow = load.quantile(clock, 0.5), load.quantile(clock, 0.95)
        rows.append({"cohorts": count, "p50_ms": middle, "p95_ms": slow, "cpu_ms": load.quantile(cpu, 0.5)})
        print("{cohorts:7} {p50_ms:8.2f} {p95_ms:8.2f} {cpu_ms:8.2f}".format(**rows[-1]))
    return rows


async def beside(routing: Routing, texts: Sequence[str], rounds: int) -> list[Row]:
    """Decode alone and with decisions beside, in turn; which comes first changes with the round."""
    path = base.locate(Base(), Path("cohorts.toml"))
    shape = LaneShape(4096, threads=len(os.sched_getaffinity(0)))
    engine = Engine(path, shape, 0, WaitingRoom(8, 1 << 20), KEY, cache_bytes=0)
    await engine.start()
    rows: list[Row] = []
    print(f"\n{'answers':>7} {'tokens/s alone':>22} {'with 4 decisions/s':>22} {'ratio':>18} {'target':>7}")
    for answers in (1, 4):
        speeds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(-1, rounds):
            for routed in (False, True) if turn % 2 else (True, False):
                async with decisions(routing, texts if routed else (), turn):
                    speed = await decoded(engine, answers)
                speeds[routed] += [speed] if turn >= 0 else []
        ratios = [busy / alone for alone, busy in zip(speeds[False], speeds[True], strict=True)]
        alone, busy, ratio = map(load.interval, (speeds[False], speeds[True], ratios))
        rows.append({"answers": answers, "alone": alone, "beside": busy, "ratio": ratio, "target": KEPT})
        print(f"{answers:7} {load.spread(alone):>22} {load.spread(busy):>22} {load.spread(ratio):>18} {KEPT:7}")
    await engine.stop()
    return rows


@contextlib.asynccontextmanager
async def decisions(routing: Routing, texts: Sequence[str], seed: int) -> AsyncIterator[None]:
    """RATE a second at random moments, until the block ends; none without texts."""
    rng = random.Random(seed)

    async def arrive() -> None:
        while texts:
            await asyncio.sleep(rng.expovariate(RATE))
            await asyncio.to_thread(decision_ms, routing, rng.choice(texts))

    task = asyncio.create_task(arrive())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def decoded(engine: Engine, answers: int) -> float:
    """Tokens a second of so many answers at once, from the last one's first token to the first one's end."""
    prompt = engine.model.tokenize("Tell me what a contract is. " * 4, special=False)
    asks = [
        SequenceRequest(
            BASE_LANE, prompt, ANSWER, Sampling(temperature=0), ignore_end=True, partition=f"{time.monotonic()} {n}"
        )
        for n in range(answers)
    ]
    ends = []
    with engine.submit(asks) as run:
        async for _, event in run.events():
            if isinstance(event, Finished):
                ends.append(event)
    seconds = max(event.ended for event in ends) - min(event.first_token for event in ends)
    return answers * (ANSWER - 1) / seconds


if __name__ == "__main__":
    main()
