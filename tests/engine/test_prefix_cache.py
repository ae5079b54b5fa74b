"""The law of the prefix cache: whatever was answered before, an answer is that of a cold run of the same release.

On an F32 base greedy answers are token-identical, but where the two best logits lie within NEAR_TIE of each other
(batch shape alone moves them by up to 0.05 there). And the cache does get hits: within one release and partition.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.lane import LaneShape
from appliance.engine.llama import Model
from appliance.engine.prefix_cache import SHORTEST_SNAPSHOT, Snapshots
from appliance.engine.scheduler import Share
from appliance.engine.sequence import SequenceRequest
from tests.engine.drive import GREEDY, Answer, ask, by_tokens, collect, held_up, serving
from tests.tiny import write_adapter

NEAR_TIE = 0.1
SMALL = LaneShape(context=512, sequences=3, kept=3, batch=64, outputs=16, threads=1)
VERSIONS = ("legal@1", "legal@2", "finance@1")
SHARED = "the patient was in the contract of the loan and for you and me " * 6
TURNS = ("What is a loan?", "who may end it", "0123456789", "function (a, b) of the bank")


@dataclass(frozen=True, slots=True)
class Move:
    """One request of an interleaving; `swap` detaches its release before and attaches it anew."""

    lane: str
    partition: str
    shared: int
    turn: str
    new: int
    cancelled: bool = False
    swap: bool = False


MOVES = st.builds(
    Move,
    st.sampled_from((BASE_LANE, *VERSIONS)),
    st.sampled_from(("tenant a", "tenant b")),
    st.sampled_from((0, 90, len(SHARED))),
    st.sampled_from(TURNS),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
)


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {name: write_adapter(folder / f"{i}.gguf", seed=40 + i) for i, name in enumerate(VERSIONS)}


def asked(model: Model, move: Move) -> SequenceRequest:
    """The SequenceRequest of a move; log-probabilities of the two best tell how near a tie was."""
    return ask(
        model, SHARED[: move.shared] + move.turn, move.new, lane=move.lane, logprobs=2, partition=move.partition
    )


def same(warm: Answer, cold: Answer) -> bool:
    """Token for token, up to a first difference at a near tie."""
    for ours, theirs in zip(warm.scores, cold.scores, strict=False):
        if ours.token != theirs.token:
            best, second = (logprob for _, logprob in theirs.top)
            return best - second < NEAR_TIE
    return len(warm.scores) == len(cold.scores)


async def interleave(engine: Engine, moves: list[Move], adapters: dict[str, Path], width: int) -> list[Answer | None]:
    """The answers, `width` requests at a time; None for the cancelled."""
    answers: list[Answer | None] = []
    for start in range(0, len(moves), width):
        group = moves[start : start + width]
        for name in {move.lane for move in group if move.swap and move.lane != BASE_LANE}:
            await engine.detach(name)
            await engine.attach(name, adapters[name], Share(name))
        answers += await asyncio.gather(*(one(engine, move) for move in group))
    return answers


async def one(engine: Engine, move: Move) -> Answer | None:
    with engine.hold(move.lane):
        if not move.cancelled:
            return await collect(engine, asked(engine.model, move))
        with engine.submit([asked(engine.model, move)]) as run:
            async for _ in run.events():
                break
        return None


async def cold(base: Path, moves: list[Move], adapters: dict[str, Path]) -> dict[Move, Answer]:
    """Each move alone in an engine that keeps nothing."""
    found: dict[Move, Answer] = {}
    async with serving(base, LaneShape(context=512, sequences=1, kept=0, batch=64, outputs=16, threads=1)) as engine:
        for name, path in adapters.items():
            await engine.attach(name, path, Share(name))
        for number, move in enumerate(moves):
            alone = Move(move.lane, f"alone {number}", move.shared, move.turn, move.new)
            found[move] = await collect(engine, asked(engine.model, alone))
    return found


def broken(base: Path, moves: list[Move], adapters: dict[str, Path], width: int) -> list[Move]:
    """The moves whose answers break the law."""

    async def main() -> list[Move]:
        async with serving(base, SMALL, cache_bytes=1 << 20) as engine:
            for name, path in adapters.items():
                await engine.attach(name, path, Share(name))
            warm = await interleave(engine, moves, adapters, width)
        right = await cold(base, moves, adapters)
        return [m for m, answer in zip(moves, warm, strict=True) if answer and not same(answer, right[m])]

    return asyncio.run(main())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(moves=st.lists(MOVES, min_size=8, max_size=24), width=st.integers(1, 5))
def test_an_answer_is_that_of_a_cold_run(
    moves: list[Move], width: int, tiny_base: Path, adapters: dict[str, Path]
) -> None:
    assert broken(tiny_base, moves, adapters, width) == []


def test_a_key_without_the_release_breaks_the_law(
    tiny_base: Path, adapters: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test bites: snapshots found by tokens alone, as llama-server finds them, give other answers."""

    monkeypatch.setattr(Snapshots, "best", by_tokens)
    chance = random.Random(3)
    moves = [
        Move(chance.choice((BASE_LANE, *VERSIONS)), "tenant a", len(SHARED), chance.choice(TURNS), 12)
        for _ in range(40)
    ]
    assert broken(tiny_base, moves, adapters, 1)


def hits(base: Path, adapters: dict[str, Path], asks: list[tuple[str, str, str]]) -> list[int]:
    """Reused tokens of each (lane, partition, text), one after the other."""

    async def main() -> list[int]:
        async with serving(base, SMALL, cache_bytes=1 << 20) as engine:
            for name, path in adapters.items():
                await engine.attach(name, path, Share(name))
            answers = [
                await collect(engine, ask(engine.model, text, 3, lane=lane, partition=partition))
                for lane, partition, text in asks
            ]
            return [answer.finished.reused_tokens for answer in answers]

    return asyncio.run(main())


def test_one_release_and_partition_gets_hits(tiny_base: Path, adapters: dict[str, Path]) -> None:
    first, second = SHARED + TURNS[0], SHARED + TURNS[1]
    cold, warm, again = hits(
        tiny_base, adapters, [("legal@1", "a", first), ("legal@1", "a", second), ("legal@1", "a", first)]
    )
    assert cold == 0 and warm > 20 and again > warm


def test_no_other_release_or_partition_does(tiny_base: Path, adapters: dict[str, Path]) -> None:
    asks = [("legal@1", "a", SHARED)] + [(lane, "a", SHARED) for lane in ("legal@2", "finance@1", BASE_LANE)]
    assert hits(tiny_base, adapters, [*asks, ("legal@1", "b", SHARED)]) == [0] * 5


def test_what_memory_lost_comes_back_from_ram(tiny_base: Path, adapters: dict[str, Path]) -> None:
    others = [(BASE_LANE, "a", f"{n} " + "x y z of the other kind " * 8) for n in range(8)]
    asks = [(BASE_LANE, "a", SHARED + TURNS[0]), *others, (BASE_LANE, "a", SHARED + TURNS[0])]
    assert hits(tiny_base, adapters, asks)[-1] >= SHORTEST_SNAPSHOT


def test_ram_is_bounded(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, SMALL, cache_bytes=100_000) as engine:
            for n in range(30):
                await collect(engine, ask(engine.model, f"{n} " + SHARED, 3))
                assert engine.snapshots.bytes <= 100_000
            assert len(engine.snapshots)

    asyncio.run(main())


def test_a_scored_prompt_is_computed_anew(tiny_base: Path) -> None:
    """Its log-probabilities need the logits of every token."""

    async def main() -> None:
        async with serving(tiny_base, SMALL) as engine:
            await collect(engine, ask(engine.model, SHARED, 3))
            scored = await collect(engine, ask(engine.model, SHARED, 0, score_from=1))
            assert len(scored.prompt_scores) == len(engine.model.tokenize(SHARED, special=False)) - 1
            assert scored.finished.reused_tokens == 0

    asyncio.run(main())


@pytest.mark.parametrize(("partitions", "shared"), [("aaa", True), ("abc", False)])
def test_who_arrive_together_and_begin_alike_compute_it_once(tiny_base: Path, partitions: str, shared: bool) -> None:
    """Those of one partition; of several, nobody takes anything over from a running sequence, nor waits for it."""

    async def main() -> list[Answer]:
        async with serving(tiny_base, SMALL) as engine:
            model = engine.model
            asks = [ask(model, SHARED + t, 3, partition=p) for t, p in zip(TURNS, partitions, strict=False)]
            async with held_up(engine):
                runs = [asyncio.create_task(collect(engine, each)) for each in asks]
                await asyncio.sleep(0)
            return await asyncio.gather(*runs)

    answers = asyncio.run(main())
    first, *others = (answer.finished.reused_tokens for answer in answers)
    assert first == 0
    assert all(reused >= SHORTEST_SNAPSHOT if shared else reused == 0 for reused in others)


@pytest.mark.parametrize(("cache_bytes", "copied"), [(1 << 20, 2), (0, 0)])
def test_older_answers_go_to_ram_before_room_is_short(tiny_base: Path, cache_bytes: int, copied: int) -> None:
    """What lies in memory slows the steps of others; without a RAM tier it stays, or it would be lost. While nobody
    else runs it stays too."""
    prompts = [[first, *range(20, 220)] for first in (10, 11, 12)]

    async def main() -> None:
        shape = LaneShape(context=2048, sequences=2, batch=64, outputs=16, threads=1)
        async with serving(tiny_base, shape, cache_bytes=cache_bytes) as engine:
            asks = [SequenceRequest(BASE_LANE, prompt, 1, GREEDY) for prompt in prompts]
            await collect(engine, asks[0])
            await collect(engine, asks[1])
            assert len(engine.snapshots) == 0
            with engine.submit([SequenceRequest(BASE_LANE, [9], 1500, GREEDY, ignore_end=True)]) as beside:
                events = beside.events()
                await anext(events)
                await collect(engine, asks[2])
                await events.aclose()
            assert len(engine.snapshots) == copied
            again = [await collect(engine, ask) for ask in asks]
            assert [answer.finished.reused_tokens for answer in again] == [200, 200, 200]

    asyncio.run(main())
