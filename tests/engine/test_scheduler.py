from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import cycle
from math import ceil

import pytest
from hypothesis import given, target
from hypothesis import strategies as st

from appliance.engine.scheduler import QUANTUM_MS, DeficitRoundRobin, Share
from appliance.engine.scheduler import weights as weights_of

LONGEST_MS = 400.0
TINY = 1e-6  # of rounding
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
    """The milliseconds that others get less than while `lane` is ready and waits, as the scheduler promises it."""
    turns = ceil(LONGEST_MS / (QUANTUM_MS * weights[lane]))
    others = [weight for name, weight in weights.items() if name != lane]
    return sum(turns * QUANTUM_MS * w + LONGEST_MS for w in others) + QUANTUM_MS * max(others, default=0.0)


def longest_lead(weights: Mapping[str, float], lane: str) -> float:
    """What a lane gets less than beyond its share."""
    return QUANTUM_MS * weights[lane] + LONGEST_MS


def longest_lag(weights: Mapping[str, float], lane: str) -> float:
    """What a lane's share is less than beyond what it gets."""
    return QUANTUM_MS * weights[lane] + weights[lane] / sum(weights.values()) * len(weights) * LONGEST_MS


def beyond_share(weights: Mapping[str, float], got: Mapping[str, float]) -> dict[str, float]:
    """The milliseconds that each lane got more than its share."""
    unit = sum(got.values()) / sum(weights.values())
    return {lane: got[lane] - unit * weight for lane, weight in weights.items()}


@given(WEIGHTS, COSTS)
def test_shares_follow_the_weights(weights: dict[str, float], costs: list[float]) -> None:
    """At every moment, within a quantum and a step."""
    turns = DeficitRoundRobin()
    got = dict.fromkeys(weights, 0.0)
    lag = {lane: longest_lag(weights, lane) + TINY for lane in weights}
    lead = {lane: longest_lead(weights, lane) + TINY for lane in weights}
    for ms in costs:
        lane = turns.pick(weights)
        turns.charge(lane, ms)
        got[lane] += ms
        beyond = beyond_share(weights, got)
        assert all(-lag[lane] < beyond[lane] < lead[lane] for lane in weights)
    target(max(map(abs, beyond.values())))


@given(st.sets(st.sampled_from("abcdef"), min_size=1), COSTS)
def test_equal_weights_share_within_one_step_and_one_quantum(lanes: set[str], costs: list[float]) -> None:
    got = saturate(DeficitRoundRobin(), dict.fromkeys(lanes, 1.0), costs)
    for ms in got.values():
        assert abs(ms - sum(got.values()) / len(lanes)) <= LONGEST_MS + QUANTUM_MS


STEP = st.tuples(st.frozensets(st.sampled_from("abcdef")), st.one_of(st.floats(0.1, LONGEST_MS), st.just(LONGEST_MS)))


@given(WEIGHTS, st.lists(STEP, max_size=100), st.integers(0, 30))
def test_no_ready_lane_waits_longer_than_promised(
    weights: dict[str, float], steps: list[tuple[frozenset[str], float]], joins: int
) -> None:
    """Lanes come and go at will and steps cost what the adversary likes; one lane is there to stay from a step on."""
    patient = next(iter(weights))
    turns = DeficitRoundRobin()
    waited = longest = 0.0
    for n, (present, ms) in enumerate(steps):
        ready = {name: w for name, w in weights.items() if name in present or (name == patient and n >= joins)}
        if not ready:
            continue
        lane = turns.pick(ready)
        turns.charge(lane, ms)
        waited = 0.0 if lane == patient or patient not in ready else waited + ms
        longest = max(longest, waited)
        assert waited < longest_wait(weights, patient) + TINY
    target(longest / longest_wait(weights, patient) if len(weights) > 1 else 0.0)


def test_a_lane_may_have_to_wait_nearly_as_long_as_promised() -> None:
    """It owes the longest step; the others use up what they earn until its turn, and then overdraw by such a step."""
    weights = {"patient": 1.0, "light": 0.3, "heavy": 5.0}
    rounds = LONGEST_MS / QUANTUM_MS
    turns = DeficitRoundRobin()
    assert turns.pick(weights) == "patient"
    turns.charge("patient", QUANTUM_MS + LONGEST_MS - TINY)
    got = dict.fromkeys(weights, 0.0)
    while (lane := turns.pick(weights)) != "patient":
        left = rounds * QUANTUM_MS * weights[lane] - TINY - got[lane]
        ms = left if 0 < left <= LONGEST_MS else LONGEST_MS
        turns.charge(lane, ms)
        got[lane] += ms
    assert sum(got.values()) > 0.9 * longest_wait(weights, "patient")


@given(WEIGHTS, st.lists(st.tuples(st.sampled_from("bcdef"), st.floats(0.1, LONGEST_MS)), max_size=200))
def test_lanes_that_are_unloaded_and_loaded_anew_get_a_step_more_in_each_turn(
    weights: dict[str, float], steps: list[tuple[str, float]]
) -> None:
    """Their debt is forgiven, so a step counts in every turn and not only once."""
    weights = weights | {"a": 1.0}
    rounds = LONGEST_MS / QUANTUM_MS
    others = [weight for name, weight in weights.items() if name != "a"]
    most = rounds * sum(QUANTUM_MS * w + LONGEST_MS for w in others) + QUANTUM_MS * max(others, default=0.0)
    turns = DeficitRoundRobin()
    waited = 0.0
    for gone, ms in steps:
        lane = turns.pick(weights)
        turns.charge(lane, ms)
        turns.forget(gone)
        waited = 0.0 if lane == "a" else waited + ms
        assert waited < most + TINY


def test_the_smallest_weight_holds_nobody_up() -> None:
    """A lane with debt and a weight of 1e-12 would earn nothing in a trillion rounds."""
    assert saturate(DeficitRoundRobin(), {"only": 1e-12}, [LONGEST_MS] * 50) == {"only": 50 * LONGEST_MS}
    got = saturate(DeficitRoundRobin(), {"small": 1e-12, "large": 10.0}, [LONGEST_MS] * 50)
    assert got == {"small": LONGEST_MS, "large": 49 * LONGEST_MS}


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


def test_more_releases_of_a_cohort_do_not_give_it_more_time() -> None:
    working = {"legal@1": Share("legal", 3.0), "legal@2": Share("legal", 3.0), "coding@7": Share("coding", 1.0)}
    got = saturate(DeficitRoundRobin(), weights_of(working), [25.0] * 4000)
    legal = got["legal@1"] + got["legal@2"]
    assert legal / got["coding@7"] == pytest.approx(3.0, rel=0.05)
    assert got["legal@1"] / got["legal@2"] == pytest.approx(1.0, rel=0.05)


def test_a_cohort_with_one_lane_at_work_has_its_whole_weight() -> None:
    assert weights_of({"legal@2": Share("legal", 3.0), "base": Share("base")}) == {"legal@2": 3.0, "base": 1.0}
