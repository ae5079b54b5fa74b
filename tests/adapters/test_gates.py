"""Verdicts by tables of evidence: each regression is caught by the check that names it, clean ones pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adapters.gates import Check, Compared, Evidence, Outcome, Tolerances, verdict
from adapters.scorecard import doubt, interval, proven, smallest_loss

N = 84
RULES = Tolerances()


def drawn(share: float, seed: int, n: int = N) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).random(n) < share]


def clean(seed: int = 0) -> Evidence:
    """A candidate that learned its own and changed nothing else but by chance."""
    rng = np.random.default_rng(seed)
    base = drawn(0.3, seed + 100)
    guard = [float(x) for x in rng.normal(-0.4, 0.1, N)]
    return Evidence(
        own=Compared("legal", drawn(0.8, seed), drawn(0.1, seed + 1)),
        others=[Compared(f"other{n}", base, list(rng.permutation(base))) for n in range(4)],
        guard=Compared("general", [g + e for g, e in zip(guard, rng.normal(0.0, 0.02, N), strict=True)], guard),
        previous=Compared("legal", drawn(0.8, seed), drawn(0.78, seed + 2)),
        json_valid=[1.0] * 40,
        asked=50,
    )


def failed(evidence: Evidence, rules: Tolerances = RULES) -> tuple[Outcome, list[Check]]:
    found = verdict(evidence, rules)
    return found.outcome, [reason.check for reason in found.reasons if not reason.passed]


def test_twenty_clean_candidates_pass() -> None:
    outcomes = [verdict(clean(seed), RULES).outcome for seed in range(20)]
    assert outcomes.count("pass") == 20


def worse_elsewhere() -> Evidence:
    """The mean over cohorts rises all the same."""
    found = clean()
    return replace(found, others=[*found.others[:3], Compared("support", drawn(0.3, 5), drawn(0.7, 6))])


@pytest.mark.parametrize(
    ("evidence", "check"),
    [
        (replace(clean(), own=Compared("legal", drawn(0.12, 1), drawn(0.12, 2))), "beats_base"),
        (replace(clean(), constant=[Compared("legal", drawn(0.3, 1), drawn(0.3, 2))]), "beats_constant"),
        (worse_elsewhere(), "cohort_loss"),
        (replace(clean(), guard=Compared("general", [-0.6] * N, [-0.4] * N)), "guard_loss"),
        (replace(clean(), previous=Compared("legal", drawn(0.5, 1), drawn(0.9, 2))), "previous_loss"),
        (replace(clean(), json_valid=[1.0] * 20 + [0.0] * 20), "json_validity"),
        (replace(clean(), planted=["0123456789"], hidden=4), "memorisation"),
        (replace(clean(), extracted=2), "memorisation"),
    ],
)
def test_each_regression_is_caught_by_the_check_that_names_it(evidence: Evidence, check: Check) -> None:
    assert failed(evidence) == ("fail", [check])


def test_each_cohort_loses_what_itself_can_bear() -> None:
    """Of 40 points lost by support, its own tolerance decides, and not the one of the cohort that is trained."""
    bears = {"support": 0.9}
    assert verdict(worse_elsewhere(), replace(RULES, others=bears)).outcome == "pass"
    lax = replace(RULES, loss=0.9, others={"support": RULES.loss})
    assert [r.check for r in verdict(worse_elsewhere(), lax).reasons if not r.passed] == ["cohort_loss"]


def test_without_a_guard_set_the_verdict_says_that_nothing_was_guarded() -> None:
    found = verdict(replace(clean(), guard=None), RULES)
    (told,) = (reason for reason in found.reasons if reason.check == "guard_loss")
    assert (found.outcome, told.passed) == ("pass", True) and "there is no guard set" in told.says
    assert told.says.startswith("NOT CHECKED"), "loudly: nothing else says that a pass leaves this open"
    (told,) = (reason for reason in verdict(clean(), RULES).reasons if reason.check == "guard_loss")
    assert "not checked" not in told.says.lower()


def test_a_task_that_one_answer_cannot_be_given_to_is_said() -> None:
    """Nothing to compare with is no proof, and no silence."""
    found = verdict(replace(clean(), incomparable={"": "no row to train on is of this task"}), RULES)
    (told,) = (reason for reason in found.reasons if reason.check == "beats_constant")
    assert told.passed and told.says == "not checked: rows without a task: no row to train on is of this task"
    beaten = Compared("legal", [1.0] * 60, [0.0] * 60)
    found = verdict(replace(clean(), constant=[beaten], incomparable={"clause": "why"}), RULES)
    (told,) = (reason for reason in found.reasons if reason.check == "beats_constant")
    assert told.passed and told.says.endswith("to everything; not checked: clause: why")


def test_where_one_answer_is_nearly_always_right_it_need_not_be_beaten() -> None:
    """Four of 84 rows are of the other label: an adapter without a fault differs in four."""
    perfect = Compared("fraud", [1.0] * 84, [1.0] * 80 + [0.0] * 4)
    found = verdict(replace(clean(), constant=[perfect]), RULES)
    (told,) = (reason for reason in found.reasons if reason.check == "beats_constant")
    assert found.outcome == "pass"
    assert told.says == (
        "not checked: the most common answer to everything is right on all but 4 of 84 rows, too few to beat it"
    )
    worse = Compared("fraud", [1.0] * 70 + [0.0] * 14, [1.0] * 80 + [0.0] * 4)
    assert failed(replace(clean(), constant=[worse])) == ("fail", ["beats_constant"]), "it lost ten rows"


def test_a_retrain_that_could_ask_for_nothing_says_so() -> None:
    assert said(replace(clean(), hidden=0, asked=0), "memorisation") == [
        "not checked: no string is planted, and no training row is long enough to be recognised"
    ]
    assert said(replace(clean(), hidden=0, asked=None), "memorisation") == [], "a review asks for none"


def test_a_task_in_which_one_answer_does_better_is_named() -> None:
    """Six of 42 labels by the most common one, none by the candidate: what it gained elsewhere does not hide that."""
    gained = Compared("obligation", [1.0] * 30 + [0.0] * 12, [0.0] * 42)
    lost = Compared("clause", [0.0] * 42, [1.0] * 6 + [0.0] * 36)
    assert failed(replace(clean(), constant=[gained, lost])) == ("fail", ["beats_constant"])
    first, second = said(replace(clean(), constant=[gained, lost]), "beats_constant")
    assert first.startswith("legal: +28.6 points") and "not proven" not in first
    assert second.startswith("clause: -14.3 points") and second.endswith("a proven loss")
    unlucky = Compared("clause", [0.0] * 42, [1.0] * 4 + [0.0] * 38)
    assert failed(replace(clean(), constant=[gained, unlucky])) == ("pass", []), "four rows prove nothing"


def said(evidence: Evidence, check: Check, rules: Tolerances = RULES) -> list[str]:
    return [reason.says for reason in verdict(evidence, rules).reasons if reason.check == check]


def test_a_cohort_without_eval_rows_is_named() -> None:
    unasked = replace(clean(), others=[*clean().others, Compared("coding", [], [])])
    assert failed(unasked) == ("pass", [])
    (told,) = (says for says in said(unasked, "cohort_loss") if says.startswith("coding"))
    assert "not checked, it has no eval rows" in told


@pytest.mark.parametrize(
    ("n", "told"),
    [
        (3, "too few rows (3) to prove any loss"),
        (20, "; 20 rows prove no loss of less than 30 points"),
        (84, "; 84 rows prove no loss of less than "),
        (148, "; 148 rows prove no loss of less than "),
        (149, "(+0.0 to +0.0) against the base"),
    ],
)
def test_few_rows_of_another_cohort_say_what_they_could_prove(n: int, told: str) -> None:
    same = [float(number % 2) for number in range(n)]
    found = verdict(replace(clean(), others=[Compared("coding", same, same)]), RULES)
    (says,) = (reason.says for reason in found.reasons if reason.check == "cohort_loss")
    assert found.outcome == "pass" and told in says and ("; " in says) is (n < 149)


def test_a_release_before_that_learned_all_eval_rows_is_no_measure_and_it_says_so() -> None:
    found = replace(clean(), previous=Compared("legal, without 60 eval rows that legal@1 learned from", [], []))
    (says,) = said(found, "previous_loss")
    assert says.startswith(
        "legal, without 60 eval rows that legal@1 learned from: not checked, no eval rows are left"
    )
    assert failed(found) == ("pass", [])


def test_of_a_cohort_that_gained_it_does_not_say_what_its_rows_could_not_prove() -> None:
    gained = Compared("coding", [1.0] * 8 + [0.0] * 76, [0.0] * 84)
    (says,) = said(replace(clean(), others=[gained]), "cohort_loss")
    assert "no loss" not in says


def test_what_few_rows_are_said_to_prove_they_do_prove() -> None:
    for n, level in ((8, 0.05), (20, 0.01), (84, 0.05 / 6)):
        least = smallest_loss(n, -0.02, level)
        assert least is not None
        lost = round(least * n)
        assert doubt([-1.0] * lost + [0.0] * (n - lost), -0.02) <= level
        assert doubt([-1.0] * (lost - 1) + [0.0] * (n - lost + 1), -0.02) > level
    assert smallest_loss(4, -0.02, 0.05) is None and smallest_loss(100, -1.0, 0.05) is None


def test_nothing_is_proven_that_chance_does_as_often() -> None:
    one_lost, one_each = [1.0] + [0.0] * 182, [1.0, -1.0] + [0.0] * 147
    assert doubt(one_lost, 0.02) == pytest.approx(0.98**183 + 183 * 0.02 * 0.98**182), "binomial"
    assert doubt([0.0] * 149, 0.02) <= 0.05 < doubt(one_each, 0.02)
    little, rarely = [-0.02] * 84, 0.02 / 1.02
    assert doubt(little, 0.0) == pytest.approx((1 - rarely) ** 84), "a row that takes it back is not drawn"
    assert doubt(little, 0.0, bounded=False) < 0.001
    assert doubt([1.0] * 600, 0.02) == doubt([1.0] * 600, 1.0) == 1.0


def test_a_guard_of_few_prompts_says_so() -> None:
    (says,) = said(replace(clean(), guard=Compared("general", [-0.4] * 3, [-0.4] * 3)), "guard_loss")
    assert "too few rows (3) to prove any loss" in says


@pytest.mark.parametrize(
    ("spread", "drop", "told"),
    [(0.02, 0.0, ""), (0.4, 0.05, "; that it is less than 2 % is not proven either"), (0.02, 0.3, ", a proven loss")],
)
def test_a_guard_that_is_held_is_proven_to_be(spread: float, drop: float, told: str) -> None:
    before = list(np.random.default_rng(1).normal(-0.4, 0.1, N))
    noise = np.random.default_rng(2).normal(0.0, spread, N)
    after = [one + float(error) - float(noise.mean()) - drop for one, error in zip(before, noise, strict=True)]
    found = verdict(replace(clean(), guard=Compared("general", after, before)), RULES)
    (one,) = (reason for reason in found.reasons if reason.check == "guard_loss")
    assert one.says.endswith(f"of the likelihood of the base's own answers{told}")
    assert (one.passed, one.open) == (drop < 0.3, drop == 0.05)


def test_what_was_not_looked_at_is_open() -> None:
    unasked = replace(clean(), others=[Compared("coding", [], [])], guard=None, previous=None, asked=0)
    found = verdict(replace(unasked, incomparable={"": "no labels"}), RULES).reasons
    assert {one.check for one in found if one.open} == {
        "cohort_loss",
        "guard_loss",
        "beats_constant",
        "memorisation",
    }


NOTHING = float("nan")


@pytest.mark.parametrize(
    ("evidence", "check"),
    [
        (replace(clean(), own=Compared("legal", [1.0] * 83 + [NOTHING], [0.0] * N)), "beats_base"),
        (replace(clean(), own=Compared("legal", [NOTHING] * N, [0.0] * N)), "beats_base"),
        (replace(clean(), constant=[Compared("legal", [1.0] * N, [NOTHING] * N)]), "beats_constant"),
        (replace(clean(), others=[Compared("coding", [NOTHING] * N, [0.0] * N)]), "cohort_loss"),
        (replace(clean(), previous=Compared("legal", [1.0] * N, [NOTHING] + [0.0] * 83)), "previous_loss"),
        (replace(clean(), guard=Compared("general", [-float("inf")] * N, [-0.4] * N)), "guard_loss"),
        (replace(clean(), json_valid=[NOTHING]), "json_validity"),
    ],
)
def test_a_score_that_is_no_number_is_never_passed(evidence: Evidence, check: Check) -> None:
    assert failed(evidence) == ("fail", [check])


def test_what_is_no_number_proves_nothing() -> None:
    assert doubt([NOTHING] * 50, 0.0) == doubt([-1.0] * 50 + [NOTHING], 0.0) == 1.0


def few(n: int, share: float = 0.9) -> Evidence:
    return Evidence(own=Compared("legal", drawn(share, 1, n), drawn(0.1, 2, n)))


@pytest.mark.parametrize("n", [1, 10, 49])
def test_too_few_rows_are_never_a_pass(n: int) -> None:
    assert failed(few(n))[0] == "insufficient"
    assert failed(few(n, 0.0))[0] == "insufficient"


def test_no_rows_at_all_are_insufficient() -> None:
    assert failed(Evidence(own=Compared("legal", [], []))) == ("insufficient", ["enough_rows"])


def test_a_proven_fault_fails_however_few_rows() -> None:
    assert failed(replace(few(10), planted=["0123456789"], hidden=4))[0] == "fail"


def test_tolerances_are_the_operators() -> None:
    generous = replace(RULES, loss=0.6, guard=0.5, json_valid=0.4, rows=10, memorised=0.1)
    hurt = replace(
        worse_elsewhere(),
        guard=Compared("general", [-0.6] * N, [-0.4] * N),
        json_valid=[1.0] * 20 + [0.0] * 20,
        extracted=2,
    )
    assert failed(hurt, generous) == ("pass", [])


def test_a_loss_within_chance_does_not_block() -> None:
    """Two points down on 84 rows say nothing."""
    base = [1.0] * 42 + [0.0] * 42
    mine = [1.0] * 40 + [0.0] * 44
    assert failed(replace(clean(), others=[Compared("support", mine, base)]))[0] == "pass"


def test_reasons_are_sentences_with_figures() -> None:
    told = {reason.check: reason.says for reason in verdict(worse_elsewhere(), RULES).reasons if not reason.passed}
    assert "support" in told["cohort_loss"] and "a proven loss" in told["cohort_loss"]
    assert "points" in told["cohort_loss"]


def test_intervals_cover_and_are_repeatable() -> None:
    found = interval(drawn(0.5, 3, 400))
    assert found == interval(drawn(0.5, 3, 400))
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.25 / 400) ** 0.5, rel=0.15)


def test_the_bootstrap_errs_as_often_as_it_says() -> None:
    """Under no change at all, a loss beyond zero is "proven" in about one of twenty."""
    wrong = [doubt(list(np.random.default_rng(seed).normal(0, 1, 60)), 0.0) <= 0.05 for seed in range(200)]
    assert sum(wrong) <= 22


def test_wins_and_losses_among_ties_prove_a_gain_no_oftener() -> None:
    """Of arms that are as good, one "beats" the other in at most one of twenty."""
    differences = [np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], 84, p=[0.1, 0.8, 0.1]) for seed in range(100)]
    assert sum(doubt([-d for d in given], 0.0) <= 0.05 for given in differences) <= 9


def test_holm() -> None:
    assert proven([0.01, 0.04, 0.03]) == [True, False, False]
    assert proven([0.01, 0.02, 0.03]) == [True, True, True]
    assert proven([]) == []
    assert proven([0.2]) == [False]


def test_one_row_proves_nothing() -> None:
    lost = replace(clean(), others=[Compared("finance", [0.0], [1.0])])
    assert failed(lost)[0] == "pass"
    assert failed(Evidence(own=Compared("legal", [1.0], [0.0])), replace(RULES, rows=1)) == ("fail", ["beats_base"])
