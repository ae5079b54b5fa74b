"""The order within a lane: who is admitted when, whose prompt is computed first, and that nobody who speaks waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.engine import memory
from appliance.engine.lane import MIN_CHUNK, PROMPT_STEP_MS, STEP_TARGET_MS, Lane, LaneShape, _Row
from appliance.engine.llama import Model
from appliance.engine.memory import need
from appliance.engine.prefix_cache import Snapshots
from appliance.engine.scheduler import Share
from appliance.engine.sequence import Sequence
from appliance.engine.threads import ThreadChoice
from tests.engine.conftest import MakeLane
from tests.engine.drive import KEY, ask, step, submit

NARROW = LaneShape(context=384, sequences=3, kept=2, batch=32, outputs=16, threads=1)
SHARED = "the patient was in the contract of the loan and for you and me " * 10
ENDINGS = ("What is a loan?", "who may end it", "0123456789 " * 4, "function (a, b) of the bank")


@dataclass(frozen=True, slots=True)
class Arrival:
    shared: int
    ending: str
    new: int
    background: bool


ARRIVALS = st.builds(
    Arrival,
    st.sampled_from((0, 0, 400, len(SHARED))),
    st.sampled_from(ENDINGS),
    st.integers(1, 40),
    st.sampled_from((False, False, False, True)),
)
CANCEL = st.integers(0, 30)
EVENTS = st.lists(st.one_of(ARRIVALS, st.none(), st.none(), CANCEL), min_size=10, max_size=60)


class Watched:
    """A lane whose batches are looked at before they are computed."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.came: list[Sequence] = []
        self._plan: Callable[[bool], list[_Row]] = lane._plan
        lane._plan = self._looked_at  # type: ignore[method-assign]
        self._entered: list[Sequence] = []
        self._enter = lane._memory.enter
        lane._memory.enter = self._noted  # type: ignore[method-assign]

    def submit(self, model: Model, arrival: Arrival) -> None:
        text = SHARED[: arrival.shared] + arrival.ending
        asked = ask(model, text, arrival.new, ignore_end=True, background=arrival.background)
        self.came.append(submit(self.lane, asked)[0])

    def cancel(self, number: int) -> None:
        if number < len(self.came):
            self.came[number].cancelled = True
            self.lane.sweep(time.monotonic())

    def step(self) -> None:
        background = not self.lane.has_work(background=False)
        due = self._due(background)
        self._entered.clear()
        step(self.lane)
        assert due is None or due in self._entered
        self._in_order()

    def _noted(self, sequence: Sequence) -> None:
        self._entered.append(sequence)
        self._enter(sequence)

    def _due(self, background: bool) -> Sequence | None:
        """The first that waits, if there is room for it and nobody computes its beginning."""
        first = next((s for s in self.lane.waiting if s.request.background is background), None)
        if first is None or self.lane._memory.coming(first):
            return None
        rivals = self.lane.running if background else [s for s in self.lane.running if not s.request.background]
        room = len(rivals) < NARROW.sequences and sum(map(need, rivals)) + need(first) <= NARROW.context
        return first if room else None

    def _in_order(self) -> None:
        """Whoever runs came before all who wait, in each class."""
        for background in (False, True):
            under_way = [s for s in (*self.lane.running, *self.lane.waiting) if s.request.background is background]
            assert under_way == [s for s in self.came if s in under_way]

    def _looked_at(self, background: bool) -> list[_Row]:
        rows = self._plan(background)
        speaking = [s for s in self.lane.running if s.request.background is background and s.decoding]
        assert [row.sequence for row in rows[: len(speaking)]] == speaking
        prompts = rows[len(speaking) :]
        target = STEP_TARGET_MS if speaking else PROMPT_STEP_MS
        assert len(prompts) <= min(self.lane._chunk(target), NARROW.batch)
        computed = {row.sequence: row.position + 1 for row in prompts}  # in order, up to where
        silent = [s for s in self.lane.running if s.request.background is background and not s.decoding]
        assert list(computed) == silent[: len(computed)]
        assert all(computed[s] == len(s.tokens) for s in silent[: len(computed) - 1])
        return rows


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(events=EVENTS)
@pytest.mark.parametrize("reserve", [4, 256])
def test_first_come_first_served(events: list[Arrival | int | None], reserve: int, model: Model) -> None:
    """Arrivals, steps (None) and cancellations (a number) in any order; with a small reserve memory fills up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "RESERVE", reserve)
        lane = Lane(KEY, model, None, NARROW, Share("test"), Snapshots(0), ThreadChoice(2))
        watched = Watched(lane)
        for event in events:
            if isinstance(event, Arrival):
                watched.submit(model, event)
            elif event is None:
                watched.step()
            else:
                watched.cancel(event)
        left = 5000
        while lane.running or lane.waiting:
            watched.step()
            left -= 1
            assert left, "the lane makes no progress"
        assert all(s.cancelled or s.generated == s.request.max_new for s in watched.came)
        lane.close()


def test_nobody_overtakes_one_who_waits_for_a_shared_beginning(make_lane: MakeLane, model: Model) -> None:
    """Or a later one could take the place it needs, for as long as it likes."""
    lane = make_lane(LaneShape(context=1024, sequences=2, batch=64, outputs=16, threads=1))
    first, _ = submit(lane, ask(model, SHARED + ENDINGS[0], 200, ignore_end=True))
    step(lane)
    waits, _ = submit(lane, ask(model, SHARED + ENDINGS[1], 5))
    later, _ = submit(lane, ask(model, ENDINGS[2], 200, ignore_end=True))
    assert lane._memory.coming(waits)
    while not waits.admitted:
        assert not later.admitted
        step(lane)
    assert first in lane.running


def test_a_long_prompt_stops_no_answer_and_is_not_stopped_by_them(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=2048, sequences=8, batch=128, outputs=16, threads=1))
    speaking = [submit(lane, ask(model, ending, 100, ignore_end=True))[0] for ending in ENDINGS]
    while not all(s.decoding for s in speaking):
        step(lane)
    lane._prefill_ms = 1e6  # so slow that a chunk is as small as it gets
    lane._note_cost = lambda *_: None  # type: ignore[method-assign]
    long, _ = submit(lane, ask(model, SHARED * 3, 1))
    said = [s.generated for s in speaking]
    steps = -(-len(long.tokens) // MIN_CHUNK)
    for n in range(1, steps + 1):
        step(lane)
        assert [s.generated for s in speaking] == [before + n for before in said]
        assert long.generated or long.n_past == n * MIN_CHUNK
    assert long.generated == 1
