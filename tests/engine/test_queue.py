from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.queue import WaitingRoom
from appliance.errors import InvalidRequest, Unavailable


def full(room: WaitingRoom, tokens: int = 1, count: int = 1) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        room.enter(tokens, count)
    return caught.value


def test_requests_are_bounded() -> None:
    room = WaitingRoom(2, 1000)
    room.enter(10)
    room.enter(10)
    error = full(room)
    assert (error.code, error.status, room.requests, room.tokens) == ("overloaded", 503, 2, 20)
    room.leave(10)
    room.enter(10)


def test_tokens_are_bounded() -> None:
    room = WaitingRoom(10, 100)
    room.enter(60)
    full(room, 41)
    room.enter(40)
    full(room)


def test_one_long_prompt_may_enter_an_empty_room() -> None:
    room = WaitingRoom(10, 100)
    room.enter(5000)
    full(room)
    room.leave(5000)
    assert (room.requests, room.tokens) == (0, 0)


def test_a_group_enters_whole_or_not_at_all() -> None:
    room = WaitingRoom(3, 1000)
    with pytest.raises(InvalidRequest, match="at most 3"):  # waiting would not help
        room.enter(4, count=4)
    room.enter(2, count=2)
    full(room, 2, count=2)
    assert (room.requests, room.tokens) == (2, 2)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3), st.booleans()), max_size=60))
def test_the_bounds_hold_whatever_comes_and_who_fits_is_taken(moves: list[tuple[int, int, bool]]) -> None:
    room = WaitingRoom(5, 100)
    inside: list[int] = []
    for tokens, count, comes in moves:
        if comes:
            before = (room.requests, room.tokens)
            fits = len(inside) + count <= 5 and sum(inside) + tokens * count <= 100
            try:
                room.enter(tokens * count, count)
            except Unavailable:
                assert inside and not fits
                assert (room.requests, room.tokens) == before
            else:
                assert fits or not inside
                inside += [tokens] * count
        elif inside:
            room.leave(inside.pop())
        assert (room.requests, room.tokens) == (len(inside), sum(inside))


COHORTS = st.sampled_from(["legal", "coding", "base", "unknown"])
MOVES = st.lists(st.tuples(COHORTS, st.integers(1, 30), st.integers(1, 3), st.booleans()), max_size=80)


@given(MOVES, st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_cohort_within_its_own_places_is_never_refused(
    moves: list[tuple[str, int, int, bool]], legal: float, coding: float
) -> None:
    """Whoever else waits; and all together stay within the bounds, but for one that came into an empty room."""
    weights = {"legal": legal, "coding": coding, "base": 1.0}
    room = WaitingRoom(24, 600, weights)
    inside: list[tuple[str, int]] = []
    alone: list[tuple[str, int]] = []
    for cohort, tokens, count, comes in moves:
        if comes:
            own = [size for name, size in inside if name == cohort]
            part = weights.get(cohort, 0.0) / sum(weights.values()) / 2
            kept = len(own) + count <= int(24 * part) and sum(own) + tokens * count <= int(600 * part)
            if not inside:
                alone = [(cohort, tokens)] * count
            try:
                room.enter(tokens * count, count, cohort)
            except Unavailable:
                assert inside and not kept
            else:
                inside += [(cohort, tokens)] * count
        elif inside:
            cohort, tokens = inside.pop()
            room.leave(tokens, cohort)
        assert (room.requests, room.tokens) == (len(inside), sum(size for _, size in inside))
        assert len(inside) <= 24 + len(alone)
        assert room.tokens <= 600 + sum(size for _, size in alone)


def test_one_cohort_cannot_fill_the_room() -> None:
    room = WaitingRoom(12, 10**6, {"legal": 1.0, "coding": 2.0})
    for _ in range(8):  # coding keeps four
        room.enter(1, cohort="legal")
    with pytest.raises(Unavailable, match="half of them kept for cohorts that ask less"):
        room.enter(1, cohort="legal")
    with pytest.raises(Unavailable):  # nor is the text read of one that may be legal's
        room.check()
    room.check("coding")
    for _ in range(4):
        room.enter(1, cohort="coding")
    with pytest.raises(Unavailable):
        room.check("coding")
    room.leave(1, "legal")
    room.check("coding")


def test_callers_on_many_threads_do_not_overfill_it() -> None:
    room = WaitingRoom(50, 10_000)
    entered: list[bool] = []

    def come() -> None:
        for _ in range(40):
            try:
                room.enter(1)
            except Unavailable:
                continue
            entered.append(True)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == room.requests == room.tokens == 50


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The room's own clock: its last item is now."""
    times = [1000.0]
    monkeypatch.setattr("appliance.engine.queue.time", SimpleNamespace(monotonic=lambda: times[-1]))
    return times


@pytest.mark.parametrize(("waiting", "seconds"), [(1, {1}), (30, {6, 7}), (100, {20, 21}), (5000, {120})])
def test_retry_after_is_the_time_the_queue_takes_at_the_last_rate(
    clock: list[float], waiting: int, seconds: set[int]
) -> None:
    room = WaitingRoom(waiting, 10**6)
    room.enter(0, waiting)
    for _ in range(50):  # five answers a second
        clock.append(clock[-1] + 0.2)
        room.ended()
    assert full(room).retry_after in seconds


def test_retry_after_is_a_guess_while_nothing_was_served() -> None:
    room = WaitingRoom(1, 10)
    room.enter(1)
    assert full(room).retry_after == 5
    room.ended()
    assert room.retry_after() == 5


def test_a_quiet_hour_does_not_count_as_slow_service(clock: list[float]) -> None:
    room = WaitingRoom(20, 10**6)
    for _ in range(32):
        clock.append(clock[-1] + 0.2)
        room.ended()
    clock.append(clock[-1] + 3600)
    room.enter(0, 20)
    assert room.retry_after() < 30
