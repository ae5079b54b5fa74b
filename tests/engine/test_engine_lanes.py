from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.engine import BASE_LANE
from appliance.engine.scheduler import QUANTUM_MS, DeficitRoundRobin, Share
from appliance.errors import EngineFault, Unavailable
from tests.engine.drive import ENDLESS, ONE_SLOT, PROMPTS, ask, collect, held_up, lanes, serving, stream, until
from tests.tiny import write_adapter

# -- background work --------------------------------------------------------------------------------------------


def test_background_waits_for_every_lanes_foreground_and_completes(
    tiny_base: Path, tiny_adapters: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            await engine.attach("a", tiny_adapters[0], Share("a"))
            order: list[str] = []

            async def note(name: str, lane: str, max_new: int) -> None:
                asked = ask(
                    engine.model, max_new=max_new, lane=lane, ignore_end=True, background=name == "background"
                )
                async with aclosing(stream(engine, asked)) as events:
                    async for _ in events:
                        order.append(name)

            background = asyncio.create_task(note("background", BASE_LANE, 1500))
            await until(lambda: "background" in order)
            await asyncio.gather(note("foreground", "a", 100), note("foreground", BASE_LANE, 100))
            assert not background.done()
            await background
            first = order.index("foreground")
            last = len(order) - order[::-1].index("foreground")
            assert "background" not in order[first:last]
            assert "background" in order[last:]

    asyncio.run(main())


# -- shares of the time -----------------------------------------------------------------------------------------


def test_lanes_that_always_have_work_share_the_time_by_weight(
    tiny_base: Path, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every moment, within a quantum and a step, on a clock by which a step of each lane takes its cost."""
    weights = {BASE_LANE: 1.0, "a": 3.0, "b": 0.5}
    costs = {BASE_LANE: 37.0, "a": 12.0, "b": 90.0}
    steps: list[str] = []
    charge = DeficitRoundRobin.charge

    def by_the_clock(turns: DeficitRoundRobin, lane: str, _: float) -> None:
        charge(turns, lane, costs[lane])
        steps.append(lane)

    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            for key, path in zip("ab", tiny_adapters, strict=True):
                await engine.attach(key, path, Share(key, weights[key]))
            async with held_up(engine):
                runs = [
                    engine.submit([ask(engine.model, max_new=ENDLESS, lane=lane, ignore_end=True)])
                    for lane in weights
                ]
            await until(lambda: len(steps) >= 1000)
            for run in runs:
                run.cancel()

    monkeypatch.setattr(DeficitRoundRobin, "charge", by_the_clock)
    asyncio.run(main())
    got = dict.fromkeys(weights, 0.0)
    for lane in steps[:1000]:
        got[lane] += costs[lane]
        for name, weight in weights.items():
            share = weight / sum(weights.values())
            error = got[name] - share * sum(got.values())
            assert -QUANTUM_MS * weight - share * sum(costs.values()) < error < QUANTUM_MS * weight + costs[name]


# -- lanes come and go ------------------------------------------------------------------------------------------


def test_attach_and_detach_do_not_touch_a_running_stream(tiny_base: Path, tiny_adapters: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            asked = ask(engine.model, max_new=400, ignore_end=True)
            alone = (await collect(engine, asked)).text
            streaming = asyncio.create_task(collect(engine, asked))
            texts = set()
            for _ in range(3):
                for key, path in zip("ab", tiny_adapters, strict=True):
                    await engine.attach(key, path, Share(key))
                    with engine.hold(key):
                        texts.add((key, (await collect(engine, ask(engine.model, max_new=9, lane=key))).text))
                    await engine.detach(key)
                    assert key not in lanes(engine)
            assert (await streaming).text == alone
            assert len(texts) == 2

    asyncio.run(main())


def test_detach_waits_for_those_who_hold(tiny_base: Path, tiny_adapters: tuple[Path, Path]) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            await engine.attach("a", tiny_adapters[0], Share("a"))
            asked = ask(engine.model, max_new=200, lane="a", ignore_end=True)
            with engine.hold("a"):
                leaving = asyncio.create_task(engine.detach("a"))
                await asyncio.sleep(0)
                assert (await collect(engine, asked)).finished.answer_tokens == 200
                assert ("a" in lanes(engine)) and engine.holds("a") == 1 and not leaving.done()
            await leaving
            assert "a" not in lanes(engine)
            with pytest.raises(Unavailable), engine.hold("a"):
                pass
            with pytest.raises(Unavailable):
                await collect(engine, replace(asked, max_new=1))

    asyncio.run(main())


def test_what_was_cancelled_just_before_a_detach_leaves_the_room(
    tiny_base: Path, tiny_adapters: tuple[Path, Path]
) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            await engine.attach("a", tiny_adapters[0], Share("a"))
            endless = ask(engine.model, max_new=ENDLESS, lane="a", ignore_end=True)
            waiters = [asyncio.create_task(collect(engine, endless)) for _ in range(3)]
            await until(lambda: engine.status()[1].waiting == 2)
            async with held_up(engine):
                for waiter in waiters:
                    waiter.cancel()
                await asyncio.wait(waiters)
                leaving = asyncio.create_task(engine.detach("a"))
                await asyncio.sleep(0)
            await leaving
            assert engine.room.requests == 0

    asyncio.run(main())


# -- damaged adapters -------------------------------------------------------------------------------------------


def test_an_adapter_that_does_not_fit_leaves_the_engine_serving(tiny_base: Path, tmp_path: Path) -> None:
    wrong = {
        "shape": write_adapter(tmp_path / "shape.gguf", embd=32),
        "architecture": write_adapter(tmp_path / "arch.gguf", architecture="qwen2"),
    }

    async def main() -> None:
        async with serving(tiny_base) as engine:
            before = (await collect(engine, ask(engine.model))).text
            for key, path in wrong.items():
                with pytest.raises(EngineFault) as caught:
                    await engine.attach(key, path, Share(key))
                assert caught.value.code == "adapter_refused" and key not in lanes(engine)
            assert (await collect(engine, ask(engine.model))).text == before

    asyncio.run(main())


def test_an_adapter_of_nans_fails_its_own_request_only(tiny_base: Path, tmp_path: Path) -> None:
    damaged = write_adapter(tmp_path / "nan.gguf", scale=math.nan)

    async def main() -> None:
        async with serving(tiny_base) as engine:
            await engine.attach("nan", damaged, Share("nan"))
            asked = ask(engine.model, PROMPTS[1], 100)
            alone = (await collect(engine, asked)).text
            streaming = asyncio.create_task(collect(engine, asked))
            for _ in range(3):
                with pytest.raises(EngineFault) as caught:
                    await collect(engine, ask(engine.model, lane="nan"))
                assert caught.value.code == "not_finite"
            assert (await streaming).text == alone
            assert engine.room.requests == 0

    asyncio.run(main())
