"""From confidences on held-back rows to thresholds, and how honest confidences are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_BINS = 15


def threshold_for_risk(confidence: Values, right: Flags, risk: float) -> float:
    """The least confidence at which at most the share `risk` of what is accepted is wrong (selective
    classification, Geifman and El-Yaniv 2017). Above every confidence when there is none."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    accepted = np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(confidence[order]) != 0, True)
    fits = np.flatnonzero((wrong <= risk * accepted) & last_of_ties)
    return float(confidence[order][fits[-1]]) if len(fits) else 1.01


def threshold_for_outliers(confidence: Values, share: float) -> float:
    """The confidence that at most `share` of the outliers with these confidences reach."""
    ranked = np.sort(confidence)[::-1]
    allowed = int(share * len(ranked))
    return float(np.nextafter(ranked[allowed], 2)) if allowed < len(ranked) else 0.0


def calibration_error(confidence: Values, right: Flags) -> float:
    """Expected calibration error over bins of equal count (Naeini et al. 2015; Nixon et al. 2019)."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), _BINS)
    gaps = [len(p) * abs(confidence[p].mean() - right[p].mean()) for p in parts if len(p)]
    return float(sum(gaps) / max(1, len(confidence)))
