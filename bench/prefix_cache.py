"""What the prefix cache saves: `python bench/prefix_cache.py [BASE.gguf]`.

Time to the first token of questions that share a long system prompt, and of the turns of a conversation, and
of four questions at once, with a partition of its own for each request (cold) against one for all (warm), alternating
in one process. Prints a table, then one JSON line. It does not measure HTTP.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from pathlib import Path

from appliance import base
from appliance.config import Base
from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.lane import LaneShape
from appliance.engine.prefix_cache import StateKey
from appliance.engine.queue import WaitingRoom
from appliance.engine.sampling import Sampling
from appliance.engine.sequence import Finished, SequenceRequest

KEY = StateKey("bench", "bench", BASE_LANE, 1.0, "bench", "bench")
SYSTEM = "You read contracts for a law firm. Quote the clause you rely on, and say when there is none. " * 20
QUESTIONS = [f"Question {n}: who bears the cost of delay number {n}?" for n in range(8)]


async def first_token(engine: Engine, tokens: list[int], partition: str) -> tuple[float, list[int], int]:
    """Seconds to the first token, the tokens of prompt and answer, and how many were reused."""
    ask = SequenceRequest(
        BASE_LANE, tokens, 16, Sampling(temperature=0), ignore_end=True, logprobs=0, partition=partition
    )
    answer: list[int] = []
    with engine.submit([ask]) as run:
        async for _, event in run.events():
            if isinstance(event, Finished):
                return event.first_token - event.submitted, [*tokens, *answer], event.reused_tokens
            answer += [score.token for score in event.scores]
    raise AssertionError


async def measure(engine: Engine, scenario: str) -> dict[str, object]:
    """Medians over the questions after the first."""
    encode = engine.model.tokenize
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    reused = 0
    history = encode(SYSTEM, special=False)
    for n, question in enumerate(QUESTIONS):
        prompt = history + encode(question, special=False)
        cold, _, _ = await first_token(engine, prompt, f"{scenario} {n}")
        warm, whole, reused = await first_token(engine, prompt, scenario)
        history = whole if scenario == "conversation" else history
        if n:
            times["cold"].append(cold)
            times["warm"].append(warm)
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    return {"scenario": scenario, "prompt_tokens": len(prompt), "reused": reused, **medians}


async def together(engine: Engine) -> dict[str, object]:
    """Four questions of one beginning that arrive at once: seconds to the last one's first token."""
    encode = engine.model.tokenize
    prompts = [encode(SYSTEM + question, special=False) for question in QUESTIONS[:4]]
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    reused = 0
    for round_ in range(3):
        for name in times:
            parts = [f"{name} {round_} {n if name == 'cold' else ''}" for n in range(len(prompts))]
            done = await asyncio.gather(*(first_token(engine, p, q) for p, q in zip(prompts, parts, strict=True)))
            times[name].append(max(seconds for seconds, _, _ in done))
            reused = max(tokens for _, _, tokens in done)
    medians = {name: statistics.median(values) * 1e3 for name, values in times.items()}
    return {"scenario": "four at once", "prompt_tokens": len(prompts[0]), "reused": reused, **medians}


async def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else base.locate(Base(), Path("cohorts.toml"))
    shape = LaneShape(4096, threads=len(os.sched_getaffinity(0)))
    engine = Engine(path, shape, 0, WaitingRoom(8, 1 << 20), KEY, cache_bytes=256 << 20)
    await engine.start()
    rows = [await measure(engine, scenario) for scenario in ("shared system prompt", "conversation")]
    rows.append(await together(engine))
    await engine.stop()
    print(f"{'scenario':22} {'prompt':>7} {'reused':>7} {'cold':>9} {'warm':>9} {'ratio':>6}")
    for row in rows:
        cold, warm = float(str(row["cold"])), float(str(row["warm"]))
        print(
            f"{row['scenario']!s:22} {row['prompt_tokens']!s:>7} {row['reused']!s:>7} "
            f"{cold:6.0f} ms {warm:6.0f} ms {cold / warm:5.1f}x"
        )
    print(json.dumps({"bench": "prefix_cache", "base": path.name, "rows": rows}))


if __name__ == "__main__":
    asyncio.run(main())
