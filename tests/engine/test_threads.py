"""Thread counts are learned for each size of step, follow neighbours that come and go, and cost little to learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.threads import TRIALS, ThreadChoice

Cost = Callable[[int, int], float]


def quiet(rows: int, threads: int) -> float:
    """Idle processors: a step shares its work among threads that wait for one another a thousand times."""
    return 7.0 * rows / threads + 4.0 * (threads - 1)


def disturbed(rows: int, threads: int) -> float:
    """A busy neighbour: whoever waits for others waits for the one that was put aside."""
    return quiet(rows, 1) if threads == 1 else 3 * quiet(rows, 1)


def drive(choice: ThreadChoice, rows: int, cost: Cost, steps: int) -> tuple[list[int], float]:
    """The counts chosen in `steps` steps of `rows`, and the milliseconds they took."""
    chosen, total = [], 0.0
    for _ in range(steps):
        threads = choice.pick(rows)
        ms = cost(rows, threads)
        choice.note(rows, threads, ms)
        chosen.append(threads)
        total += ms
    return chosen, total


def test_each_size_of_step_has_its_own_count() -> None:
    choice = ThreadChoice(8)
    small, _ = drive(choice, 1, quiet, 200)
    large, _ = drive(choice, 256, quiet, 200)
    assert small[50:].count(1) > 100
    assert large[50:].count(8) > 100


def test_the_first_step_takes_all_threads() -> None:
    assert ThreadChoice(6).pick(100) == 6


@pytest.mark.parametrize("most", [1, 2, 3, 6, 64])
def test_no_more_threads_than_allowed(most: int) -> None:
    chosen, _ = drive(ThreadChoice(most), 64, quiet, 300)
    assert set(chosen) <= set(range(1, most + 1))
    assert most in chosen


def test_a_neighbour_that_comes_and_goes_is_followed() -> None:
    choice = ThreadChoice(2)
    drive(choice, 64, quiet, 100)
    beside, _ = drive(choice, 64, disturbed, 300)
    assert beside[20:].count(1) > 270
    after, _ = drive(choice, 64, quiet, 2000)
    assert after[-500:].count(2) > 450


@given(st.integers(1, 512), st.lists(st.floats(0.1, 500.0), min_size=4, max_size=4))
def test_trials_cost_their_share_and_no_more(rows: int, costs: list[float]) -> None:
    """Over any fixed costs: the best neighbouring count plus the share for trials, the first try of each, and one."""
    ms = dict(zip((1, 2, 4, 8), costs, strict=True))
    chosen, total = drive(ThreadChoice(8), rows, lambda _, threads: ms[threads], 400)
    settled = min((ms[count] for count in chosen[-100:]), default=0.0)
    assert total <= (1 + TRIALS) * (400 * settled + sum(costs)) + 8 * max(costs)


def test_one_slow_measurement_does_not_settle_it() -> None:
    choice = ThreadChoice(2)
    drive(choice, 64, quiet, 50)
    choice.note(64, 2, 40 * quiet(64, 2))
    chosen, _ = drive(choice, 64, quiet, 4000)
    assert chosen[-200:].count(2) > 150
    calm = ThreadChoice(2)
    drive(calm, 64, quiet, 50)
    calm.note(64, 2, 3 * quiet(64, 2))
    assert drive(calm, 64, quiet, 50)[0].count(2) > 45
