"""Keep, collapse, merge or undecided: each by the evidence that alone allows it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from adapters.attribution import finding
from adapters.equivalence import rows_needed
from adapters.gates import Compared

MARGIN = 0.02


def scores(n: int, right: float, seed: int = 0) -> list[float]:
    """`n` rows of which that share is right."""
    drawn = [float(i < right * n) for i in range(n)]
    random.Random(seed).shuffle(drawn)
    return drawn


def beside(name: str, mine: Sequence[float], theirs: Sequence[float]) -> Compared:
    return Compared(name, mine, theirs)


GOOD, BAD, ALL_BAD = scores(400, 0.9), scores(400, 0.4, 1), [0.0] * 400
CLOSE = scores(400, 0.88, 9)


def test_it_is_kept_when_it_beats_all() -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD), beside("aggregate", GOOD, BAD)], MARGIN)
    assert found.answer == "keep" and "the base and one adapter for all" in found.says
    assert [(one.arm, one.better, one.needed) for one in found.against] == [
        ("base", True, None),
        ("aggregate", True, None),
    ]
    assert found.against[1].wins.mean > 0.7 and found.against[1].gain.mean == pytest.approx(0.5)


def test_without_an_aggregate_it_does_not_claim_to_beat_one() -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD), beside("finance", GOOD, BAD)], MARGIN)
    assert found.answer == "keep" and "the base and finance's adapter" in found.says


def test_it_collapses_into_a_base_that_is_provenly_as_good() -> None:
    found = finding("legal", [beside("base", GOOD, GOOD), beside("aggregate", GOOD, BAD)], MARGIN)
    assert found.answer == "base" and "collapse legal into the base" in found.says


def test_another_adapter_that_beats_both_is_not_hidden_by_a_base_that_does_as_well() -> None:
    rivals = [beside("base", BAD, BAD), beside("aggregate", BAD, GOOD), beside("finance", BAD, ALL_BAD)]
    found = finding("legal", rivals, MARGIN)
    assert (found.answer, found.neighbour) == ("merge", None)
    assert "no more than the base" in found.says and "one adapter for all is: 90.0 on its rows" in found.says
    by_a_neighbour = [beside("base", BAD, BAD), beside("aggregate", BAD, BAD), beside("finance", BAD, GOOD)]
    assert finding("legal", by_a_neighbour, MARGIN).neighbour == "finance"


@pytest.mark.parametrize(
    ("rivals", "instead"),
    [
        ([beside("base", BAD, BAD)], "the base"),
        ([beside("base", BAD, ALL_BAD), beside("finance", BAD, BAD)], "finance's adapter"),
        ([beside("base", BAD, ALL_BAD), beside("aggregate", BAD, BAD)], "one adapter for all"),
    ],
)
def test_what_a_rollback_mends_is_neither_collapsed_nor_merged(rivals: list[Compared], instead: str) -> None:
    """Unless what takes its place is not worse than the release before either."""
    found = finding("legal", [*rivals, beside("previous", BAD, GOOD)], MARGIN)
    assert (found.answer, found.neighbour) == ("undecided", None)
    assert found.says.startswith("go back to legal's release before, and ask again")
    assert f"of this one, {instead}, does less (90.0 to 40.0, +50.0 " in found.says
    assert found.notes[0].startswith("the retrain MADE IT WORSE")
    others = [replace(rival, other=GOOD) for rival in rivals]
    assert finding("legal", [*others, beside("previous", BAD, GOOD)], MARGIN).answer in ("base", "merge")


@pytest.mark.parametrize("before", [0.97, 1.0])
def test_what_a_rollback_does_not_mend_stays_decided(before: float) -> None:
    """The neighbour loses less than a wide margin to this release, and to the one before, which is no better."""
    good, theirs = [1.0] * 400, [1.0] * 372 + [0.0] * 28
    rivals = [
        beside("base", good, ALL_BAD),
        beside("finance", good, theirs),
        beside("previous", good, [1.0] * round(400 * before) + [0.0] * round(400 * (1 - before))),
    ]
    assert finding("legal", rivals, 0.12).answer == "merge"


@pytest.mark.parametrize(("name", "neighbour"), [("aggregate", None), ("finance", "finance")])
def test_another_adapter_that_beats_both_is_not_hidden_by_a_base_that_is_open(
    name: str, neighbour: str | None
) -> None:
    """84 rows cannot prove that an equal base loses less than 2 points."""
    base, mine, theirs = scores(84, 0.1), scores(84, 0.14, 1), scores(84, 0.6, 2)
    assert finding("legal", [beside("base", mine, base)], MARGIN).answer == "undecided"
    found = finding("legal", [beside("base", mine, base), beside(name, mine, theirs)], MARGIN)
    assert (found.answer, found.neighbour) == ("merge", neighbour)
    assert "not proven to be worth more than the base" in found.says and found.says.endswith(" more than the base")


def test_one_that_is_better_is_named_though_it_does_not_beat_the_base_either() -> None:
    theirs = [1.0] * 40 + scores(44, 0.18, 3)
    mine, base = [0.0] * 12 + theirs[12:], theirs[::-1]
    found = finding("legal", [beside("base", mine, base), beside("finance", mine, theirs)], MARGIN)
    assert found.answer == "undecided" and found.notes[0].startswith("finance's adapter does better: ")


def test_a_neighbour_that_beats_the_base_is_named_though_nothing_can_be_proven_replaceable() -> None:
    base, mine = scores(100, 0.3), scores(100, 0.37, 1)
    theirs = [max(b, float(n % 7 == 0)) for n, b in enumerate(base)]
    found = finding("legal", [beside("base", mine, base), beside("finance", mine, theirs)], MARGIN)
    assert found.answer == "undecided"
    assert found.notes == ("finance's adapter is proven to beat the base on these rows",)


def test_an_aggregate_that_is_owed_leaves_open_whether_cohorts_are_worth_it() -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("finance", GOOD, BAD)]
    why = {"aggregate": "its minutes were over before its passes"}
    assert finding("legal", rivals, MARGIN, why).answer == "keep"
    found = finding("legal", rivals, MARGIN, why, owed=True)
    assert found.answer == "undecided"
    assert found.says.startswith("whether one adapter for all would do as well as legal's is not answered: it beats")
    assert found.notes == ("no aggregate: its minutes were over before its passes",)
    merged = [beside("base", GOOD, ALL_BAD), beside("support", GOOD, GOOD)]
    assert finding("legal", merged, MARGIN, why, owed=True).answer == "merge"


def test_going_back_has_its_own_words() -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("previous", GOOD, BAD)]
    assert finding("legal", rivals, MARGIN, change="going back").notes[0].startswith("going back was worth it")


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (BAD, "the retrain was worth it, over the release before: 90.0 to 40.0"),
        (GOOD, "the retrain bought less than the margin over the release before: 90.0 to 90.0"),
        ([1.0] * 400, "the retrain MADE IT WORSE than the release before: 90.0 to 100.0"),
        (scores(400, 0.89, 8), "whether the retrain was worth it is not settled: 90.0 to 89.0"),
    ],
)
def test_the_retrain_has_its_own_words(before: list[float], says: str) -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD), beside("previous", GOOD, before)], MARGIN)
    assert found.answer == "keep" and found.notes[0].startswith(says)
    assert found.against[1].worse is (before == [1.0] * 400)


def test_arms_that_are_left_out_for_one_reason_are_told_together() -> None:
    left_out = {"finance": "no release is live", "aggregate": "it was not asked for", "coding": "no release is live"}
    notes = finding("legal", [beside("base", GOOD, ALL_BAD)], MARGIN, left_out).notes
    assert notes == ("no finance, coding: no release is live", "no aggregate: it was not asked for")


@pytest.mark.parametrize(
    ("prompted", "says"),
    [
        (BAD, "it beats the base under the same system prompt too: 90.0 to 40.0, +50.0 "),
        (CLOSE, "IT IS NOT PROVEN BETTER THAN THE BASE UNDER THE SAME SYSTEM PROMPT, which may be all"),
    ],
)
def test_whether_it_is_the_adapter_or_its_prompt_is_told_beside_the_verdict(prompted: list[float], says: str) -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("prompted base", GOOD, prompted)]
    found = finding("legal", rivals, MARGIN)
    assert found.answer == "keep" and found.notes[0].startswith(says)
    (alone,) = finding("legal", rivals[:1], MARGIN).against
    assert found.against[0] == alone, "judged alone"


@pytest.mark.parametrize(
    ("prompted", "does"),
    [(GOOD, "loses less than the margin (90.0 to 90.0"), ([1.0] * 400, "does better (90.0 to 100.0")],
)
def test_what_a_prompt_does_is_not_worth_an_adapter(prompted: list[float], does: str) -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("aggregate", GOOD, BAD), beside("prompted base", GOOD, prompted)]
    found = finding("legal", rivals, MARGIN)
    assert found.answer == "undecided" and found.says.startswith("try legal's system prompt alone")
    assert found.says.endswith("if that is enough, dissolve the cohort")
    assert does in found.says and "so the prompt is all it takes" in found.notes[0]


def test_a_neighbour_that_does_as_well_does_not_hide_an_aggregate_that_does_better() -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("aggregate", GOOD, [1.0] * 400), beside("support", GOOD, GOOD)]
    found = finding("legal", rivals, MARGIN)
    assert (found.answer, found.neighbour) == ("merge", None) and "one adapter for all does better" in found.says
    rivals[2] = beside("support", GOOD, [1.0] * 400)
    assert finding("legal", rivals, MARGIN).neighbour == "support"


def test_what_is_proven_already_costs_the_open_ones_no_rows() -> None:
    """Holm: those have left the family."""
    open_ = beside("aggregate", scores(300, 0.62), scores(300, 0.58, 4))
    alone = finding("legal", [beside("base", open_.candidate, [0.0] * 300), open_], MARGIN).against[1]
    proven = [beside(name, open_.candidate, [0.0] * 300) for name in ("base", "finance", "support", "coding")]
    assert finding("legal", [*proven, open_], MARGIN).against[-1].needed == alone.needed is not None


@pytest.mark.parametrize("rows", [84, 400])
def test_what_is_better_takes_its_place_though_the_rows_are_too_few_for_the_margin(rows: int) -> None:
    bad, good, nothing = scores(rows, 0.1), scores(rows, 0.6), [0.0] * rows
    found = finding("legal", [beside("base", bad, good)], MARGIN)
    assert found.answer == "base" and "it does better" in found.says
    assert found.against[0].needed is None
    rivals = [beside("base", bad, nothing), beside("aggregate", bad, good), beside("finance", bad, nothing)]
    assert finding("legal", rivals, MARGIN).answer == "merge"
    assert "one adapter for all does better" in finding("legal", rivals, MARGIN).says
    by_a_neighbour = [beside("base", bad, nothing), beside("finance", bad, good)]
    assert finding("legal", by_a_neighbour, MARGIN).neighbour == "finance"


def test_a_neighbour_that_does_as_well_is_named() -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("finance", GOOD, BAD), beside("support", GOOD, GOOD)]
    found = finding("legal", rivals, MARGIN)
    assert (found.answer, found.neighbour) == ("merge", "support")


def test_an_aggregate_that_does_as_well_names_no_neighbour() -> None:
    """That all together do as well says nothing of one of them."""
    rivals = [
        beside("base", GOOD, ALL_BAD),
        beside("aggregate", GOOD, GOOD),
        beside("support", GOOD, scores(400, 0.5, 3)),
    ]
    found = finding("legal", rivals, MARGIN)
    assert (found.answer, found.neighbour) == ("merge", None) and "merged with all others" in found.says


def test_an_aggregate_that_does_as_well_is_enough_without_neighbours() -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD), beside("aggregate", GOOD, GOOD)], MARGIN)
    assert (found.answer, found.neighbour) == ("merge", None) and "one adapter for all does as well" in found.says


def test_few_rows_settle_nothing_and_it_says_how_many_would() -> None:
    mine, theirs = scores(20, 0.6), scores(20, 0.5, 5)
    found = finding("legal", [beside("base", mine, theirs)], MARGIN)
    assert found.answer == "undecided"
    (against,) = found.against
    assert against.needed is not None and against.needed > 20
    assert str(against.needed) in found.says and "there are 20" in found.says


def test_an_open_neighbour_leaves_it_undecided() -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD), beside("aggregate", GOOD, CLOSE)], MARGIN)
    assert found.answer == "undecided" and "beside one adapter for all" in found.says


def test_the_previous_release_is_told_beside_a_keep() -> None:
    rivals = [beside("base", GOOD, ALL_BAD), beside("previous", GOOD, GOOD), beside("aggregate", GOOD, BAD)]
    found = finding("legal", rivals, MARGIN)
    assert found.answer == "keep" and found.against[1].replaceable


def test_no_eval_rows_are_no_verdict() -> None:
    found = finding("legal", [beside("base", [], [])], MARGIN)
    assert found.answer == "undecided" and "import" in found.says


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_as_many_rows_as_it_says_do_settle_it_mostly(share: float) -> None:
    """Four of five tries, says the method; here at least 12 of 20."""
    needed = rows_needed([float(n < 20 * share) for n in range(20)], MARGIN)
    assert needed is not None
    draw = random.Random(7)
    settled = 0
    for _ in range(20):
        gained = [float(draw.random() < share) for _ in range(needed)]
        (against,) = finding("x", [beside("base", gained, [0.0] * needed)], MARGIN).against
        settled += against.better or against.replaceable
    assert settled >= 12, needed


def test_equal_scores_of_few_rows_prove_nothing() -> None:
    """A loss of two rows in a hundred shows in none of five, nine times of ten."""
    few, many = [1.0] * 5, [1.0] * 160
    assert finding("legal", [beside("base", few, few)], MARGIN).answer == "undecided"
    assert finding("legal", [beside("base", many, many)], MARGIN).answer == "base"
    assert rows_needed([0.0] * 5, MARGIN) == 149


def test_three_wins_among_ties_are_no_gain() -> None:
    mine = [1.0] * 3 + [0.5] * 97
    (against,) = finding("legal", [beside("base", mine, [0.5] * 100)], MARGIN).against
    assert not against.better


def test_without_a_margin_equal_arms_cannot_be_settled() -> None:
    found = finding("legal", [beside("base", GOOD, GOOD)], 0.0)
    assert found.answer == "undecided" and "no number of eval rows" in found.says


@pytest.mark.parametrize("margin", [0.0, 0.02, 1.0])
@pytest.mark.parametrize(
    "differences",
    [[-1.0] * 10, [1.0] * 10, [0.0] * 10, [1.0, -1.0] * 5, [1.0, -1.0, -1.0] * 4, [-0.5], [0.0], [1.0], [1.0, 0.0]],
)
def test_every_tolerance_that_may_be_configured_has_an_answer(differences: list[float], margin: float) -> None:
    found = finding("legal", [beside("base", differences, [0.0] * len(differences))], margin)
    assert found.answer in ("keep", "base", "undecided")
    needed = rows_needed(differences, margin)
    assert needed is None or needed > len(differences)


@pytest.mark.parametrize(
    ("differences", "margin", "needed"),
    [
        ([-1.0] * 2, 0.0, 5),  # as many rows of one sign as a sign test takes
        ([-1.0, 0.0], 0.0, 13),
        ([0.0] * 2, 0.0, None),
        ([0.0] * 5, 0.02, 149),
        ([0.0] * 2, 1.0, 3),  # nothing is too much to lose
        ([1.0] * 2, 1.0, 5),
    ],
)
def test_rows_needed_at_the_ends_of_the_tolerance(
    differences: list[float], margin: float, needed: int | None
) -> None:
    assert rows_needed(differences, margin) == needed


def test_a_win_rate_is_called_what_it_is() -> None:
    """All equal is no "better on half of the rows"."""
    assert "wins 50% of the rows, equal ones by half" in finding("legal", [beside("base", GOOD, GOOD)], MARGIN).says


@pytest.mark.parametrize("answer", ["keep", "base", "merge", "undecided"])
def test_what_was_left_out_is_noted(answer: str) -> None:
    by_answer = {
        "keep": [beside("base", GOOD, ALL_BAD)],
        "base": [beside("base", GOOD, GOOD)],
        "merge": [beside("base", GOOD, ALL_BAD), beside("support", GOOD, GOOD)],
        "undecided": [beside("base", scores(20, 0.6), scores(20, 0.5, 5))],
    }
    left_out = {"previous": "legal@1 cannot be served", "aggregate": "it was not asked for"}
    found = finding("legal", by_answer[answer], MARGIN, left_out)
    assert found.answer == answer
    assert found.notes[-2:] == ("no previous: legal@1 cannot be served", "no aggregate: it was not asked for")
    assert any("one training stands beside one" in note for note in found.notes) is (answer == "merge")


def test_alone_it_claims_to_beat_the_base_only() -> None:
    found = finding("legal", [beside("base", GOOD, ALL_BAD)], MARGIN)
    assert found.answer == "keep" and "no other adapter was there" in found.says
