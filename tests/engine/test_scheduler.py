from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.scheduler import QUANTUM_MS, DeficitRoundRobin

LONGEST_MS = 400.0
WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.1, 10), min_size=1)
COSTS = st.lists(st.floats(0.1, LONGEST_MS), min_size=50, max_size=200)


def saturate(turns: DeficitRoundRobin, weights: Mapping[str, float], costs: list[float]) -> dict[str, float]:
    """Every lane always ready; step i costs `costs[i]`. Returns the milliseconds each lane got."""
    got = dict.fromkeys(weights, 0.0)
    for ms in costs:
        lane = turns.pick(weights)
        turns.charge(lane, ms)
        got[lane] += ms
    return got


def longest_wait(weights: Mapping[str, float], lane: str) -> float:
    """The milliseconds that others may get while `lane` is ready and waits.

    It owes one step at most, so after so many rounds of quanta it is its turn; in each round the others use their
    quanta, and at the end each may have overdrawn by a step.
    """
    rounds = LONGEST_MS // (QUANTUM_MS * weights[lane]) + 2
    return sum(rounds * QUANTUM_MS * w + LONGEST_MS for name, w in weights.items() if name != lane)


@given(WEIGHTS, COSTS)
def test_shares_follow_the_weights(weights: dict[str, float], costs: list[float]) -> None:
    """Within a quantum and a step of the lane, and its part of the steps by which the others overdrew."""
    got = saturate(DeficitRoundRobin(), weights, costs)
    total, everybody = sum(got.values()), sum(weights.values())
    for lane, weight in weights.items():
        part = weight / everybody
        slack = QUANTUM_MS * weight + LONGEST_MS
        assert got[lane] <= total * part + slack
        assert got[lane] >= total * part - slack - part * LONGEST_MS * len(weights)


@given(st.sets(st.sampled_from("abcdef"), min_size=1), COSTS)
def test_equal_weights_share_within_one_step_and_one_quantum(lanes: set[str], costs: list[float]) -> None:
    got = saturate(DeficitRoundRobin(), dict.fromkeys(lanes, 1.0), costs)
    for ms in got.values():
        assert abs(ms - sum(got.values()) / len(lanes)) <= LONGEST_MS + QUANTUM_MS


@given(WEIGHTS, COSTS)
def test_no_ready_lane_waits_for_ever(weights: dict[str, float], costs: list[float]) -> None:
    turns = DeficitRoundRobin()
    waited = dict.fromkeys(weights, 0.0)
    for ms in costs:
        lane = turns.pick(weights)
        turns.charge(lane, ms)
        for name in weights:
            waited[name] = 0.0 if name == lane else waited[name] + ms
            assert waited[name] <= longest_wait(weights, name)


@given(WEIGHTS, st.lists(st.tuples(st.sets(st.sampled_from("abcdef")), st.floats(0.1, LONGEST_MS)), max_size=200))
def test_no_lane_waits_for_ever_while_others_come_and_go(
    weights: dict[str, float], steps: list[tuple[set[str], float]]
) -> None:
    """The first lane is always ready, the others as chance has it."""
    patient = next(iter(weights))
    turns = DeficitRoundRobin()
    waited = 0.0
    for present, ms in steps:
        lane = turns.pick({n: w for n, w in weights.items() if n == patient or n in present})
        turns.charge(lane, ms)
        waited = 0.0 if lane == patient else waited + ms
        assert waited <= longest_wait(weights, patient)


def test_short_visits_of_others_do_not_starve_a_lane() -> None:
    """Two lanes with one step of work each take turns to be there; the third is always ready."""
    turns = DeficitRoundRobin()
    picked: Counter[str] = Counter()
    for visitor, _ in zip(cycle("ab"), range(100), strict=False):
        lane = turns.pick({"patient": 1.0, visitor: 1.0})
        turns.charge(lane, QUANTUM_MS)
        picked[lane] += 1
    assert picked["patient"] >= 40


@given(st.integers(0, 300), COSTS)
def test_idle_lanes_earn_nothing(idle: int, costs: list[float]) -> None:
    """However long "late" was idle, from its return on it gets what a lane does that was never there before."""
    turns = DeficitRoundRobin()
    saturate(turns, {"late": 1.0, "busy": 1.0}, [30.0] * 10)
    saturate(turns, {"busy": 1.0}, [30.0] * idle)
    got = saturate(turns, {"late": 1.0, "busy": 1.0}, costs)
    assert got["late"] <= got["busy"] + 2 * (LONGEST_MS + QUANTUM_MS)


def test_short_visits_save_no_credit_up() -> None:
    turns = DeficitRoundRobin()
    both = {"visitor": 1.0, "busy": 1.0}
    for _ in range(20):
        while turns.pick(both) != "visitor":
            turns.charge("busy", 10.0)
        turns.charge("visitor", 1.0)
        turns.charge(turns.pick({"busy": 1.0}), 10.0)
    got = saturate(turns, both, [10.0] * 100)
    assert got["visitor"] <= 500 + QUANTUM_MS + 10


def test_a_lane_does_not_escape_its_debt_by_pausing() -> None:
    turns = DeficitRoundRobin()
    both = {"greedy": 1.0, "meek": 1.0}
    assert turns.pick({"greedy": 1.0}) == "greedy"
    turns.charge("greedy", 20 * QUANTUM_MS)
    turns.pick({"meek": 1.0})
    got = saturate(turns, both, [QUANTUM_MS] * 10)
    assert got == {"greedy": 0.0, "meek": 10 * QUANTUM_MS}


def test_a_forgotten_lane_starts_afresh() -> None:
    turns = DeficitRoundRobin()
    both = {"a": 1.0, "b": 1.0}
    saturate(turns, both, [QUANTUM_MS] * 4)
    turns.charge("a", 100 * QUANTUM_MS)
    turns.forget("a")
    got = saturate(turns, both, [QUANTUM_MS] * 10)
    assert got["a"] == pytest.approx(got["b"], abs=QUANTUM_MS)


@given(st.floats(0.1, LONGEST_MS))
def test_a_lane_alone_always_runs(ms: float) -> None:
    assert saturate(DeficitRoundRobin(), {"only": 0.1}, [ms] * 50) == {"only": pytest.approx(50 * ms)}
