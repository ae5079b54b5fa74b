from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from appliance.engine.engine import Engine
from appliance.engine.queue import WaitingRoom
from appliance.engine.scheduler import Share
from appliance.errors import BaseModelError, DeadlineExceeded, InvalidRequest, Unavailable
from tests.engine.drive import (
    ENDLESS,
    KEY,
    ONE_SLOT,
    PROMPTS,
    SHAPE,
    Answer,
    ask,
    collect,
    held_up,
    lanes,
    running,
    serving,
    stream,
    until,
)

Threads = Callable[[], list[threading.Thread]]


@pytest.fixture
def engine_threads() -> Callable[[], list[threading.Thread]]:
    """The engine threads that this test started."""
    others = set(threading.enumerate())
    return lambda: [t for t in threading.enumerate() if t.name == "engine" and t not in others]


# -- life -------------------------------------------------------------------------------------------------------


def test_an_engine_starts_serves_and_leaves_no_thread(tiny_base: Path, engine_threads: Threads) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            answer = await collect(engine, ask(engine.model, max_new=10))
            assert answer.finished.answer_tokens == len(answer.tokens) == 10
            assert len(engine_threads()) == 1
            assert engine.room.requests == engine.room.tokens == 0
        assert not engine_threads()

    asyncio.run(main())


def test_a_base_that_does_not_load_is_told_at_the_start(tmp_path: Path, engine_threads: Threads) -> None:
    async def main() -> None:
        engine = Engine(tmp_path / "none.gguf", SHAPE, 0, WaitingRoom(1, 1), KEY)
        with pytest.raises(BaseModelError, match=r"none\.gguf"):
            await engine.start()
        await engine.stop()
        assert not engine_threads()

    asyncio.run(main())


def test_stopping_fails_what_runs_and_what_waits(tiny_base: Path, engine_threads: Threads) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            asked = ask(engine.model, max_new=ENDLESS, ignore_end=True)
            tasks = [asyncio.create_task(collect(engine, asked)) for _ in range(5)]
            await until(lambda: running(engine) == 1 and engine.status()[0].waiting == 4)
        assert not engine_threads()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, Unavailable) and error.code == "stopping"

    asyncio.run(main())


def test_a_request_after_the_stop_is_refused(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            asked = ask(engine.model)
        with pytest.raises(Unavailable) as caught:
            async with asyncio.timeout(30):
                await collect(engine, asked)
        assert caught.value.code == "stopping"

    asyncio.run(main())


def test_news_do_not_wait_for_the_idle_engines_next_beat(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.engine.engine._IDLE_WAIT_S", 60.0)

    async def main() -> None:
        async with serving(tiny_base) as engine:
            with pytest.raises(Unavailable):
                async with asyncio.timeout(30):
                    await collect(engine, ask(engine.model, lane="unknown"))
            with pytest.raises(DeadlineExceeded):
                async with asyncio.timeout(30):
                    await collect(engine, ask(engine.model, deadline=time.monotonic() - 1))
            assert engine.room.requests == 0

    asyncio.run(main())


def test_a_command_given_up_does_not_end_the_engine(tiny_base: Path, tiny_adapters: tuple[Path, Path]) -> None:
    async def main() -> None:
        engine = Engine(tiny_base, SHAPE, 0, WaitingRoom(10, 1000), KEY)
        await engine.start()
        async with held_up(engine):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await engine.attach("a", tiny_adapters[0], Share("a"))
        async with asyncio.timeout(30):
            answer = await collect(engine, ask(engine.model, max_new=2))
            assert answer.finished.answer_tokens == 2 and lanes(engine) == {"base"}
            await engine.stop()

    asyncio.run(main())


def test_a_lane_that_is_there_takes_another_share(tiny_base: Path, tiny_adapters: tuple[Path, Path]) -> None:
    """One that was loaded to be judged, and became live meanwhile."""

    async def main() -> None:
        async with serving(tiny_base) as engine:
            for share in (Share("a"), Share("legal", 3.0)):
                await engine.attach("a", tiny_adapters[0], share)
                assert engine._lanes["a"].share == share

    asyncio.run(main())


# -- leaving early ----------------------------------------------------------------------------------------------


def test_closing_the_stream_frees_the_slot(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            endless = ask(engine.model, max_new=ENDLESS, ignore_end=True)
            async with aclosing(stream(engine, endless)) as events:
                await anext(events)
                assert running(engine) == 1
            await until(lambda: running(engine) == 0)
            assert (await collect(engine, ask(engine.model, max_new=3))).finished.answer_tokens == 3
            assert engine.room.requests == 0

    asyncio.run(main())


def test_a_cancelled_waiter_leaves_the_queue(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            endless = ask(engine.model, max_new=ENDLESS, ignore_end=True)
            async with aclosing(stream(engine, endless)) as events:
                await anext(events)
                waiter = asyncio.create_task(collect(engine, endless))
                await until(lambda: engine.status()[0].waiting == 1)
                assert engine.room.requests == 1
                waiter.cancel()
                await until(lambda: engine.status()[0].waiting == 0)
                await until(lambda: engine.room.requests == 0)

    asyncio.run(main())


def test_deadlines_pass_while_running_and_in_the_queue(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            endless = ask(engine.model, max_new=ENDLESS, ignore_end=True, deadline=time.monotonic() + 0.3)
            tasks = [asyncio.create_task(collect(engine, endless)) for _ in range(2)]
            for error in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(error, DeadlineExceeded)
            assert time.monotonic() >= endless.deadline
            assert (await collect(engine, ask(engine.model, max_new=3))).finished.answer_tokens == 3
            assert engine.room.requests == 0

    asyncio.run(main())


# -- several sequences of one answer ----------------------------------------------------------------------------


def test_choices_run_together_and_are_told_apart(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            asks = [ask(engine.model, text, 10 + n) for n, text in enumerate(PROMPTS[:3])]
            alone = [(await collect(engine, asked)).text for asked in asks]
            answers = [Answer() for _ in asks]
            async for index, event in engine.submit(asks).events():
                answers[index].events.append(event)
            assert [answer.text for answer in answers] == alone
            assert [answer.finished.answer_tokens for answer in answers] == [10, 11, 12]

    asyncio.run(main())


def test_a_failed_choice_cancels_the_others(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            endless = ask(engine.model, max_new=ENDLESS, ignore_end=True)
            with pytest.raises(Unavailable):
                async for _ in engine.submit([endless, ask(engine.model, lane="unknown"), endless]).events():
                    pass
            await until(lambda: engine.status()[0].waiting == running(engine) == engine.room.requests == 0)

    asyncio.run(main())


def test_what_does_not_fit_the_waiting_room_is_not_begun(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, room=WaitingRoom(4, 1000)) as engine:
            engine.room.enter(tokens=1, count=2)
            with pytest.raises(Unavailable) as caught:
                engine.submit([ask(engine.model)] * 3)
            assert caught.value.code == "overloaded" and caught.value.retry_after
            with pytest.raises(InvalidRequest, match="5 prompts and choices"):
                engine.submit([ask(engine.model)] * 5)
            assert engine.room.requests == 2

    asyncio.run(main())


def test_a_run_that_nobody_reads_can_be_cancelled(tiny_base: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base, ONE_SLOT) as engine:
            run = engine.submit([ask(engine.model, max_new=ENDLESS, ignore_end=True)] * 2)
            await until(lambda: running(engine) == 1)
            run.cancel()
            await until(lambda: engine.status()[0].waiting == running(engine) == engine.room.requests == 0)

    asyncio.run(main())
