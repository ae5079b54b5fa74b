"""Recent requests as figures: how many, how fast, where they went. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import numpy as np

from appliance.store.traffic import MOST, Seen
from appliance.wire.watch import CohortTraffic, Percentiles, Traffic, TrafficPoint
from router.cohort import BASE

POINTS = 60  # of the time line
BINS = 20  # of the histogram of confidences


def traffic(seen: Sequence[Seen], cohorts: Iterable[str], since: datetime, until: datetime) -> Traffic:
    """Of requests between the two moments, newest first. Cohorts without traffic are there, too."""
    seconds = max((until - since).total_seconds(), 1.0)
    if len(seen) == MOST:  # older ones were not looked at
        since = datetime.fromisoformat(seen[-1].created)
        seconds = max((until - since).total_seconds(), 1.0)
    return Traffic(
        since=since.isoformat(),
        seconds=seconds,
        requests=len(seen),
        per_second=len(seen) / seconds,
        tokens_per_second=sum(one.completion_tokens or 0 for one in seen) / seconds,
        ttft_ms=_percentiles(one.ttft_ms for one in seen),
        total_ms=_percentiles(one.total_ms for one in seen),
        points=_points(seen, since, seconds),
        cohorts=[_cohort(name, [one for one in seen if one.cohort == name], len(seen)) for name in (*cohorts, BASE)],
        layers=dict(Counter(one.layer for one in seen)),
        confidence=_histogram(_read(seen)),
    )


def _cohort(name: str, seen: Sequence[Seen], total: int) -> CohortTraffic:
    sure = _read(seen)
    return CohortTraffic(
        cohort=name,
        requests=len(seen),
        share=len(seen) / total if total else 0.0,
        by_base=sum(one.release == BASE for one in seen),
        failed=sum(one.status == "failed" for one in seen),
        confidence=float(np.mean(sure)) if sure else None,
        liked=sum(one.rating == 1 for one in seen),
        disliked=sum(one.rating == -1 for one in seen),
        ttft_ms=_percentiles(one.ttft_ms for one in seen),
    )


def _points(seen: Sequence[Seen], since: datetime, seconds: float) -> list[TrafficPoint]:
    width = seconds / POINTS
    parts: list[list[Seen]] = [[] for _ in range(POINTS)]
    for one in seen:
        at = (datetime.fromisoformat(one.created) - since).total_seconds() / width
        parts[min(max(int(at), 0), POINTS - 1)].append(one)
    return [
        TrafficPoint(
            per_second=len(part) / width,
            failed=sum(one.status == "failed" for one in part),
            ttft_ms=_percentiles(one.ttft_ms for one in part).p95,
            total_ms=_percentiles(one.total_ms for one in part).p95,
        )
        for part in parts
    ]


def _percentiles(values: Iterable[float | None]) -> Percentiles:
    known = [value for value in values if value is not None]
    if not known:
        return Percentiles(p50=None, p95=None, p99=None)
    p50, p95, p99 = (round(float(q), 1) for q in np.percentile(known, [50, 95, 99]))
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _read(seen: Iterable[Seen]) -> list[float]:
    """Confidences of those whose text was read: names and rules are sure of themselves."""
    return [one.confidence for one in seen if one.layer not in ("pinned", "metadata") and one.confidence]


def _histogram(values: Sequence[float]) -> list[int]:
    counts, _ = np.histogram(values, bins=BINS, range=(0.0, 1.0))
    return [int(count) for count in counts]
