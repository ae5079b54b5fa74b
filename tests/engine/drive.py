"""Drives lanes step by step on the test's thread, and engines over asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Model
from appliance.engine.prefix_cache import Ids, Snapshot, Snapshots, StateKey, common
from appliance.engine.queue import WaitingRoom
from appliance.engine.sampling import Sampling, TokenScore
from appliance.engine.sequence import AnswerEvent, Event, Failed, Finished, PromptScores, Sequence, SequenceRequest
from appliance.engine.text import Delta
from appliance.errors import ApplianceError

KEY = StateKey("base digest", "format digest", BASE_LANE, 1.0, "template digest", "context")
SHAPE = LaneShape(context=512, sequences=4, batch=64, outputs=16, threads=1)
ONE_SLOT = LaneShape(context=16384, sequences=1, batch=64, outputs=16, threads=1)
ENDLESS = 16000  # tokens: seconds of work, which no test waits for
GREEDY = Sampling(temperature=0)
PROMPTS = (
    "the patient was in",
    "What is a loan?",
    "contract 12: who",
    "function (a, b)",
    "naïve ✓ text",
    " for you and me and them",
    "0123456789",
    "system: how can there be one",
    "x",
)


def ask(
    model: Model,
    text: str = PROMPTS[0],
    max_new: int = 24,
    *,
    lane: str = BASE_LANE,
    **more: Any,  # noqa: ANN401
) -> SequenceRequest:
    """A greedy SequenceRequest that scores its tokens, unless told otherwise."""
    return SequenceRequest(
        lane, model.tokenize(text, special=False), max_new, **{"sampling": GREEDY, "logprobs": 0, **more}
    )


@dataclass(slots=True)
class Answer:
    """What a waiter was told."""

    events: list[Event] = field(default_factory=list)

    @property
    def deltas(self) -> list[Delta]:
        return [event for event in self.events if isinstance(event, Delta)]

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def scores(self) -> list[TokenScore]:
        return [score for delta in self.deltas for score in delta.scores]

    @property
    def tokens(self) -> list[int]:
        return [score.token for score in self.scores]

    @property
    def prompt_scores(self) -> list[TokenScore]:
        return [score for event in self.events if isinstance(event, PromptScores) for score in event.scores]

    @property
    def finished(self) -> Finished:
        assert isinstance(self.events[-1], Finished), self.events[-1:]
        return self.events[-1]

    @property
    def error(self) -> ApplianceError:
        assert isinstance(self.events[-1], Failed), self.events[-1:]
        return self.events[-1].error


# -- a lane -----------------------------------------------------------------------------------------------------


def submit(lane: Lane, asked: SequenceRequest) -> tuple[Sequence, Answer]:
    answer = Answer()
    sequence = Sequence(asked, answer.events.append, time.monotonic())
    lane.waiting.append(sequence)
    return sequence, answer


def step(lane: Lane) -> list[Sequence]:
    """One step as the engine takes it: background work only when there is no other."""
    background = not lane.has_work(background=False)
    return lane.step(background=background, on_admit=lambda _: None)


def drain(lane: Lane, limit: int = 5000) -> None:
    """Step until nothing is left to do."""
    while lane.running or lane.waiting:
        step(lane)
        limit -= 1
        assert limit, "the lane makes no progress"


def solo(lane: Lane, asked: SequenceRequest) -> Answer:
    _, answer = submit(lane, asked)
    drain(lane)
    return answer


# -- an engine --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(
    base: Path, shape: LaneShape = SHAPE, room: WaitingRoom | None = None, cache_bytes: int = 0
) -> AsyncIterator[Engine]:
    engine = Engine(base, shape, 0, room or WaitingRoom(100, 100_000), KEY, cache_bytes)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@asynccontextmanager
async def held_up(engine: Engine) -> AsyncIterator[None]:
    """Keep the engine's thread from taking further commands, so that several arrive together."""
    go_on = threading.Event()

    def wait() -> None:
        go_on.wait(60)

    engine._post(wait)
    try:
        yield
    finally:
        go_on.set()


async def stream(engine: Engine, asked: SequenceRequest) -> AsyncGenerator[AnswerEvent, None]:
    """The events of one ask."""
    async with aclosing(engine.submit([asked]).events()) as events:
        async for _, event in events:
            yield event


async def collect(engine: Engine, asked: SequenceRequest) -> Answer:
    answer = Answer()
    async with asyncio.timeout(60), aclosing(stream(engine, asked)) as events:
        async for event in events:
            answer.events.append(event)
    return answer


async def until(true: Callable[[], bool]) -> None:
    """Wait for a condition that must come; a minute without it is a failure."""
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.001)


def running(engine: Engine) -> int:
    return sum(lane.running for lane in engine.status())


def lanes(engine: Engine) -> set[str]:
    """The keys of the lanes there are."""
    return {lane.key for lane in engine.status()}


def by_tokens(self: Snapshots, _key: object, _partition: str, prompt: Ids, limit: int) -> tuple[Snapshot | None, int]:
    """`Snapshots.best` with a key that lacks the release: found by tokens alone, as llama-server does."""
    found = [(min(common(s.tokens, prompt), limit), s) for s in self._kept.values()]
    length, snapshot = max(found, key=lambda pair: pair[0], default=(0, None))
    return (snapshot, length) if length else (None, 0)
