"""Learning curves: nested subsets, the smallest that is enough, a warning where more was worse, a forecast."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import curve as curves
from adapters import scorecard
from adapters.curve import SHARES, Curve, Point, says, subset
from tests.adapters.test_slice import row


def scores(right: float, seed: int = 3, n: int = 400) -> list[float]:
    """Nested: what fewer get right, more get right."""
    order = list(range(n))
    random.Random(seed).shuffle(order)
    return [float(order[i] < right * n) for i in range(n)]


def curve(points: list[Point]) -> Curve:
    """Above a base that has nothing right."""
    return curves.curve(points, [0.0] * len(points[0].scores))


ROWS = [row(f"what of the number {n}") for n in range(40)]


@given(st.integers(0, 50), st.sampled_from(SHARES), st.sampled_from(SHARES))
def test_subsets_are_nested_and_keep_their_order(seed: int, one: float, other: float) -> None:
    fewer, more = (subset(ROWS, share, seed) for share in sorted((one, other)))
    assert set(fewer) <= set(more) and len(fewer) == round(min(one, other) * 40)
    assert list(more) == [r for r in ROWS if r in set(more)]


def test_another_seed_is_another_subset() -> None:
    assert subset(ROWS, 0.25, 1) != subset(ROWS, 0.25, 2) and subset(ROWS, 1.0, 1) == subset(ROWS, 1.0, 2)


def test_a_share_of_few_rows_is_one_at_least() -> None:
    assert len(subset(ROWS[:2], 0.25, 1)) == 1


def test_the_smallest_set_within_noise_of_the_best() -> None:
    points = [Point(n, 1, scores(right)) for n, right in ((25, 0.5), (50, 0.80), (75, 0.805), (100, 0.805))]
    found = curve(points)
    assert (found.best, found.enough, found.worse) == (75, 50, ())
    assert says(found)[0].startswith("50 of 100 rows are within noise of the best (75 rows), -0.5 points (")
    assert found.gap.mean == pytest.approx(-0.005) and found.gap.low < found.gap.mean


def test_more_rows_that_made_it_worse_are_a_warning() -> None:
    points = [Point(n, 1, scores(right)) for n, right in ((25, 0.4), (50, 0.8), (75, 0.6), (100, 0.61))]
    found = curve(points)
    assert [(w.fewer, w.more) for w in found.worse] == [(50, 75)] and found.worse[0].change.mean == pytest.approx(
        -0.2
    )
    assert any("more rows made it worse: 50 to 75 rows, -20.0 points" in line for line in says(found))


def test_a_slow_decline_is_a_warning_though_no_step_is_proven() -> None:
    rights = ((25, 0.66), (50, 0.62), (75, 0.58), (100, 0.54))
    (found,) = curve([Point(n, 1, scores(right, n=400, seed=n)) for n, right in rights]).worse
    assert (found.fewer, found.more) == (25, 100)


def test_noise_is_no_warning() -> None:
    points = [Point(n, 1, scores(0.6, seed=n)) for n in (25, 50, 75, 100)]
    assert curve(points).worse == ()


def test_a_power_law_is_found_again() -> None:
    """Errors of 2 / sqrt(rows): 0.1 at 400 rows, 0.0707 at 800."""
    points = [Point(n, 1, scores(1 - 2 * n**-0.5, n=4000)) for n in (100, 200, 300, 400)]
    forecast = curve(points).forecast
    assert forecast is not None and forecast.rows == 800
    assert forecast.score.mean == pytest.approx(1 - 2 * 800**-0.5, abs=0.003)
    assert forecast.score.low < forecast.score.mean < forecast.score.high


def test_a_curve_that_flattens_is_not_promised_its_beginning_again() -> None:
    """From 30 by 40 points, then by 2 and by 1."""
    points = [Point(n, 1, scores(right)) for n, right in ((100, 0.3), (200, 0.7), (300, 0.72), (400, 0.73))]
    forecast = curve(points).forecast
    assert forecast is not None and 0.73 < forecast.score.mean < 0.78


@pytest.mark.parametrize("rights", [(0.5, 0.9, 0.88, 0.86), (0.4, 0.8, 0.6, 0.61)])
def test_a_curve_that_falls_in_the_end_promises_nothing(rights: tuple[float, ...]) -> None:
    found = curve([Point(n, 1, scores(right)) for n, right in zip((100, 200, 300, 400), rights, strict=True)])
    assert found.forecast is not None and found.forecast.gain.mean < 0
    assert "promise nothing: about " in says(found)[-1] or "is not settled: about " in says(found)[-1]


def test_errors_that_do_not_fall_promise_nothing() -> None:
    found = curve([Point(n, 1, scores(right)) for n, right in ((25, 0.8), (50, 0.7), (75, 0.7), (100, 0.7))])
    assert says(found)[-1] == (
        "errors do not fall as rows are added, so more rows of this kind promise nothing: "
        "about 70.0 (65.5 to 74.5), +0.0 points (+0.0 to +0.0) more than all"
    )


def test_what_the_eval_rows_leave_open_is_promised_neither_way() -> None:
    rights = ((25, 0.58), (50, 0.62), (75, 0.62), (100, 0.62))
    found = curve([Point(n, 1, scores(right, n=84, seed=n)) for n, right in rights])
    assert found.forecast is not None and found.forecast.gain.low < 0 < found.forecast.gain.high
    assert says(found)[-1].startswith("what 200 rows would give is not settled: about ")


def test_all_right_is_a_curve_too() -> None:
    found = curve([Point(n, 1, [1.0] * 60) for n in (25, 50, 75, 100)])
    assert (found.enough, found.worse) == (25, ()) and "promise nothing" in says(found)[-1]


def test_seeds_are_averaged_and_shown() -> None:
    points = [Point(n, seed, scores(0.5 + 0.1 * seed)) for n in (25, 50, 100) for seed in (1, 2)]
    level = curve(points).levels[0]
    assert list(level.seeds) == pytest.approx([0.6, 0.7]) and level.score.mean == pytest.approx(0.65)


def test_what_seeds_leave_open_is_in_every_interval() -> None:
    """Seeds that overlap: as far as three trainings tell, fewer rows may be as good."""
    means = {74: (0.4, 0.42, 0.41), 111: (0.5, 0.74, 0.56), 148: (0.7, 0.58, 0.64)}
    points = [Point(n, seed, scores(of[seed])) for n, of in means.items() for seed in (2, 0, 1)]
    found = curve(points)
    assert (found.best, found.enough) == (148, 111)
    one_each = curve([Point(n, 1, scores(sum(of) / 3)) for n, of in means.items()])
    assert one_each.enough == 148 and not any("one training for each" in line for line in says(found))
    assert any("one training for each part: what chance moves is in no interval" in line for line in says(one_each))
    best, fewer = (np.mean([p.scores for p in points if p.rows == n], axis=0) for n in (148, 111))
    rows_alone = {"gain": scorecard.interval(best), "gap": scorecard.interval(fewer - best)}
    for mine, alone in ((found.gain, rows_alone["gain"]), (found.gap, rows_alone["gap"])):
        assert mine.mean == pytest.approx(alone.mean)
        assert mine.high - mine.low > 1.2 * (alone.high - alone.low) > 0
    assert found.levels[-1].score == found.gain, "over a base that has nothing right"
    (lost,) = curve([Point(n, seed, scores(right)) for n, of in LESS.items() for seed, right in enumerate(of)]).worse
    assert lost.seeds == 3 and lost.change.high - lost.change.low > 0.05, "0.02 over eval rows alone"
    assert found.forecast is not None and one_each.forecast is not None
    assert found.forecast.gain.low < 0 < one_each.forecast.gain.low


LESS = {111: (0.59, 0.89, 0.69), 148: (0.585, 0.60, 0.685)}


@pytest.mark.parametrize(
    ("points", "base"),
    [
        ([], []),
        ([], [1.0]),
        ([Point(1, 1, [])], []),
        ([Point(1, 1, [1.0]), Point(2, 1, [1.0, 0.0])], [1.0]),
        ([Point(1, 1, [1.0])], [1.0, 0.0]),
    ],
)
def test_points_of_other_rows_are_refused(points: list[Point], base: list[float]) -> None:
    with pytest.raises(ValueError, match="same eval rows"):
        curves.curve(points, base)


@pytest.mark.parametrize(("base", "better"), [(0.5, True), (0.69, False), (0.7, False), (0.9, False)])
def test_whether_rows_are_worth_their_training_at_all(base: float, better: bool) -> None:
    """Against the base, on the same rows."""
    points = [Point(n, 1, scores(right, seed=n)) for n, right in ((25, 0.68), (50, 0.69), (75, 0.7), (100, 0.69))]
    found = curves.curve(points, scores(base, seed=1))
    assert found.best == 75 and found.better is better
    assert found.gain.mean == pytest.approx(0.7 - base)
    assert ("NO PART IS PROVEN BETTER THAN THE BASE: " in says(found)[1]) is not better


def test_too_few_parts_promise_neither_more_nor_nothing() -> None:
    found = curve([Point(n, 1, scores(right)) for n, right in ((50, 0.4), (100, 0.7))])
    assert found.forecast is None and says(found)[-1] == "2 parts are too few to say what more rows would give"
