"""The law of the prefix cache on the packaged base, where rounding hides from a comparison token by token.

Quantised weights make logits move with the shape of a batch, so greedy choices flip now and then whether or not there
is a cache. The law is then: with the cache they flip no more often than without one in batches of another shape. Each
choice is made after the same given tokens, so that one flip is one flip.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

from appliance.engine import llama
from appliance.engine.engine import Engine
from appliance.engine.lane import LaneShape
from appliance.engine.prefix_cache import Snapshots
from appliance.engine.scheduler import Share
from appliance.engine.sequence import SequenceRequest
from tests.engine.drive import Answer, by_tokens, collect, serving
from tests.tiny import write_adapter

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

PROSE = Path(llama.__file__).with_name("prose.txt")
BEGINNINGS, BEGINNING = 4, 72  # how many, and tokens of each: enough to be kept in RAM
GIVEN = 128  # tokens that follow, at each of which a choice is compared
ENDINGS = 3  # 4 * 3 * 128 = 1536 choices
FEW = 6  # asks that are tried with a broken key: 768 choices
ALIKE = 2.0  # two ways to batch the same asks differ that much in flips, since those of one ask come together
RANDOM = 1e-6  # a difference that chance makes this seldom is none of chance
OURS, THEIRS = "legal@1", "legal@2"
THREADS = len(os.sched_getaffinity(0))
# One answer at a time in two slots, so that beginnings are copied, taken over, and brought back from RAM.
KEEPING = LaneShape(context=512, sequences=1, kept=1, threads=THREADS)
OTHERWISE = LaneShape(context=1024, sequences=3, kept=0, batch=150, outputs=50, threads=THREADS)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two of the packaged base, strong enough that each makes choices of its own."""
    folder = tmp_path_factory.mktemp("adapters")

    def write(seed: int) -> Path:
        return write_adapter(
            folder / f"{seed}.gguf",
            seed=seed,
            rank=8,
            scale=0.6,
            layers=30,
            embd=576,
            heads=9,
            kv_heads=3,
            ffn=1536,
        )

    return {OURS: write(1), THEIRS: write(2)}


@dataclass(frozen=True, slots=True)
class Texts:
    """Beginnings, and what follows each, as token ids."""

    beginnings: list[list[int]]
    endings: list[list[int]]

    @classmethod
    def of(cls, engine: Engine) -> Texts:
        """Out of the packaged prose."""
        ids = engine.model.tokenize(PROSE.read_text(encoding="ascii"), special=False)
        rest = ids[BEGINNINGS * BEGINNING :]
        return cls(
            [ids[n * BEGINNING : (n + 1) * BEGINNING] for n in range(BEGINNINGS)],
            [rest[n * GIVEN : (n + 1) * GIVEN] for n in range(ENDINGS)],
        )

    def asks(self, partition: str = "") -> list[SequenceRequest]:
        """Every beginning with every ending, in no order; without a partition each ask has its own."""
        pairs = list(product(self.beginnings, self.endings))
        random.Random(1).shuffle(pairs)
        return [
            SequenceRequest(OURS, a + b, 0, score_from=BEGINNING, logprobs=1, partition=partition or f"alone {n}")
            for n, (a, b) in enumerate(pairs)
        ]


def choices(given: list[Answer]) -> list[int]:
    """The best token at every position."""
    return [score.top[0][0] for answer in given for score in answer.prompt_scores]


@asynccontextmanager
async def ready(base: Path, adapters: dict[str, Path], shape: LaneShape) -> AsyncIterator[Engine]:
    async with serving(base, shape, cache_bytes=1 << 28) as engine:
        for name, path in adapters.items():
            await engine.attach(name, path, Share(name))
        yield engine


async def answers(engine: Engine, asks: list[SequenceRequest], width: int = 1) -> list[Answer]:
    """`width` at a time."""
    found: list[Answer] = []
    for start in range(0, len(asks), width):
        found += await asyncio.gather(*(collect(engine, asked) for asked in asks[start : start + width]))
    return found


async def beside_the_other(engine: Engine, asks: list[SequenceRequest], *lanes: str) -> list[Answer]:
    """After every beginning was computed in the other release, and in `lanes`."""
    asked = Texts.of(engine)
    for lane in (THEIRS, *lanes):
        await answers(engine, [SequenceRequest(lane, [*text, 1], 1, partition="all") for text in asked.beginnings])
    fillers = [SequenceRequest(THEIRS, asked.endings[0][n:], 1, partition="all") for n in range(KEEPING.kept + 1)]
    await answers(engine, fillers)  # the other's beginnings all go to RAM
    return await answers(engine, asks)


def flips(given: list[Answer], cold: list[Answer]) -> int:
    return sum(a != b for a, b in zip(choices(given), choices(cold), strict=True))


def chance(flipped: int, noise: int) -> float:
    """How likely so many or more of all flips fall to one side, when that side gets up to ALIKE times as many."""
    n, part = flipped + noise, ALIKE / (1 + ALIKE)
    return math.fsum(math.comb(n, k) * part**k * (1 - part) ** (n - k) for k in range(flipped, n + 1))


@pytest.mark.slow
def test_choices_flip_no_more_often_than_in_batches_of_another_shape(
    real_base: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a key without the release, for some of the asks, makes them flip far more often."""

    async def main() -> None:
        async with ready(real_base, adapters, KEEPING) as engine:
            asked = Texts.of(engine)
            cold = await answers(engine, asked.asks())
            warm = await beside_the_other(engine, asked.asks("all"), OURS)
        async with ready(real_base, adapters, OTHERWISE) as engine:
            reshaped = await answers(engine, asked.asks(), width=OTHERWISE.sequences)
        monkeypatch.setattr(Snapshots, "best", by_tokens)
        async with ready(real_base, adapters, KEEPING) as engine:
            mixed = await beside_the_other(engine, asked.asks("all")[:FEW])

        assert all(answer.finished.reused_tokens == 0 for answer in (*cold, *reshaped))
        assert all(answer.finished.reused_tokens == BEGINNING - 1 for answer in (*warm, *mixed))
        assert len(choices(cold)) == BEGINNINGS * ENDINGS * GIVEN
        noise, flipped = flips(reshaped, cold), flips(warm, cold)
        assert chance(flipped, noise) > RANDOM, (flipped, noise)
        wrong, noise = flips(mixed, cold[:FEW]), flips(reshaped[:FEW], cold[:FEW])
        assert chance(wrong, noise) < RANDOM, (wrong, noise)

    asyncio.run(main())
