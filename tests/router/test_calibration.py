"""Thresholds keep their promise on the rows they were chosen on, and calibration error knows liars."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.calibration import calibration_error, threshold_for_outliers, threshold_for_risk

pairs = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]) | st.floats(0, 1), st.booleans()), min_size=1)


@given(pairs, st.floats(0, 0.5))
def test_accepted_risk_is_kept_and_no_lower_threshold_would_keep_it(
    rows: list[tuple[float, bool]], risk: float
) -> None:
    confidence, right = np.array([c for c, _ in rows]), np.array([r for _, r in rows])
    threshold = threshold_for_risk(confidence, right, risk)

    def wrong_above(limit: float) -> float:
        accepted = confidence >= limit
        return float((~right)[accepted].sum() - risk * accepted.sum())

    assert wrong_above(threshold) <= 1e-9
    assert all(wrong_above(lower) > 0 for lower in confidence if lower < threshold)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_no_more_outliers_pass_than_allowed_and_no_lower_threshold_would_do(
    confidence: list[float], share: float
) -> None:
    values = np.array(confidence)
    threshold = threshold_for_outliers(values, share)
    assert (values >= threshold).mean() <= share
    assert all((values >= lower).sum() > share * len(values) for lower in confidence if lower < threshold)


def test_calibration_error() -> None:
    honest = np.repeat(np.arange(0.05, 1, 0.1), 1000)
    right = np.concatenate([np.arange(1000) < 1000 * c for c in np.arange(0.05, 1, 0.1)])
    order = np.random.default_rng(0).permutation(len(right))
    assert calibration_error(honest[order], right[order]) < 0.03
    assert calibration_error(np.ones(10_000), right) > 0.4
