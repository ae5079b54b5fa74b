"""The report's figures, worked out by hand on a few rows."""

from __future__ import annotations

import pytest

from router.decision import Decision, Layer
from router.evaluate import Scored, report, risk_coverage, scored
from router.gate import regressions


def row(gold: str, sent: str, confidence: float, nearest: str | None = None) -> Scored:
    layer: Layer = "fallback" if sent == "base" else "classifier"
    return Scored(gold, Decision(sent, layer, "classified", confidence), nearest or sent)


ROWS = [
    row("legal", "legal", 0.9),
    row("legal", "finance", 0.8),
    row("legal", "base", 0.4, "legal"),
    row("finance", "finance", 0.7),
    row("base", "base", 0.3, "legal"),
    row("base", "legal", 0.6),
]


def test_figures() -> None:
    found = report(ROWS)
    assert found["n"] == 6
    assert found["coverage"] == pytest.approx(3 / 4)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["ood_accepted"] == pytest.approx(1 / 2)
    assert found["misrouted"] == pytest.approx(2 / 6)
    # Of 4 x 2 pairs of a cohort's row and one of none, only (0.4, 0.6) is the wrong way round.
    assert found["auroc"] == pytest.approx(7 / 8)
    assert found["cohorts"]["legal"]["recall"] == pytest.approx(1 / 3)
    assert found["cohorts"]["legal"]["precision"] == pytest.approx(1 / 2)
    assert found["confusion"]["base"] == {"base": 1, "legal": 1}
    assert found["layers"]["fallback"]["n"] == 2
    for name in ("auroc", "coverage", "accuracy", "ood_accepted", "misrouted"):
        low, high = found["intervals"][name]
        assert 0 <= low <= found[name] <= high <= 1
    assert found["intervals"]["coverage"] == pytest.approx([0.3006, 0.9544], abs=1e-4)
    assert found["intervals"]["misrouted"] == pytest.approx([0.0968, 0.7000], abs=1e-4)


def test_the_curve_ends_at_all_rows() -> None:
    found = report(ROWS)
    assert found["curve"][-1] == (1.0, pytest.approx(3 / 6))
    assert [share for share, _ in found["curve"]] == sorted(share for share, _ in found["curve"])


def test_how_honest_the_confidence_is_for_each_cohort_and_layer() -> None:
    """So few rows are a bin each, so it is the mean distance of the confidence from 0 or 1."""
    found = report(ROWS)
    assert found["calibration_error"] == pytest.approx((0.1 + 0.8 + 0.6 + 0.3 + 0.3 + 0.6) / 6)
    assert found["cohorts"]["legal"]["calibration_error"] == pytest.approx((0.1 + 0.6 + 0.3 + 0.6) / 4)
    assert found["cohorts"]["finance"]["calibration_error"] == pytest.approx((0.8 + 0.3) / 2)
    assert found["layers"]["fallback"]["calibration_error"] == pytest.approx((0.6 + 0.3) / 2)
    assert found["layers"]["semantic"]["calibration_error"] is None, "it decided nothing"


def test_only_one_kind_of_rows() -> None:
    alone = report([row("legal", "legal", 0.9)])
    assert alone["auroc"] is None and alone["ood_accepted"] is None and alone["coverage"] == 1
    outside = report([row("base", "base", 0.1, "legal")])
    assert outside["coverage"] is None and outside["ood_accepted"] == 0
    with pytest.raises(ValueError, match="no rows"):
        report([])


def test_nearest_is_read_from_the_last_layer() -> None:
    scores = {"semantic": {"legal": 0.9, "base": 0.1}, "classifier": {"legal": 0.3, "finance": 0.4, "base": 0.5}}
    assert scored("legal", Decision("base", "fallback", "unclear", 0.4, scores)).nearest == "finance"
    assert scored("legal", Decision("base", "fallback", "no_text", 0.0)).nearest == "base"


def sent(*cohorts: str) -> list[Decision]:
    return [Decision(cohort, "classifier", "classified", 0.9) for cohort in cohorts]


def test_a_cohort_that_lost_is_named() -> None:
    golds = ["legal"] * 20 + ["finance"] * 20
    old, new = sent(*golds), sent(*["base"] * 12, *["legal"] * 8, *["finance"] * 20)
    (found,) = regressions(golds, old, new)
    assert found.startswith("legal lost 12 and won 0 of 20 rows")
    assert regressions(golds, new, old) == []


def test_noise_is_no_loss() -> None:
    golds = ["legal"] * 40
    old = sent(*["legal"] * 36, *["base"] * 4)
    new = sent(*["base"] * 4, *["legal"] * 36)
    assert regressions(golds, old, new) == []


@pytest.mark.parametrize(("lost", "refused"), [(4, 0), (5, 1)])
def test_the_fifth_loss_without_a_win_is_significant(lost: int, refused: int) -> None:
    """Of fair coins 4 of 4 show heads with p = 0.0625, 5 of 5 with p = 0.031."""
    golds = ["legal"] * 40
    assert len(regressions(golds, sent(*golds), sent(*["base"] * lost, *golds[lost:]))) == refused


def test_the_fallback_is_judged_too() -> None:
    golds = ["base"] * 20
    (found,) = regressions(golds, sent(*golds), sent(*["legal"] * 20))
    assert found.startswith("the fallback lost 20")


def test_the_curve_of_a_perfect_ranking() -> None:
    import numpy as np

    curve = risk_coverage(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False]))
    assert curve == [(0.25, 0.0), (0.5, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
