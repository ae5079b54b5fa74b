"""What an operator watches: traffic, and the machine."""

from __future__ import annotations

from typing import Any

from appliance.wire.base import Reply


class Percentiles(Reply):
    """Milliseconds; None without requests."""

    p50: float | None
    p95: float | None
    p99: float | None


class TrafficPoint(Reply):
    """A sixtieth of the time; times are 95th percentiles in milliseconds."""

    per_second: float
    failed: int
    ttft_ms: float | None
    total_ms: float | None


class CohortTraffic(Reply):
    """`share` of 1; `by_base`: answered by the base for want of a release; `confidence` is the mean of those that had
    one."""

    cohort: str
    requests: int
    share: float
    by_base: int
    failed: int
    confidence: float | None
    liked: int
    disliked: int
    ttft_ms: Percentiles


class Traffic(Reply):
    """Since a moment; `layers` counts decisions, `confidence` is a histogram from 0 to 1."""

    since: str
    seconds: float
    requests: int
    per_second: float
    tokens_per_second: float
    ttft_ms: Percentiles
    total_ms: Percentiles
    points: list[TrafficPoint]
    cohorts: list[CohortTraffic]
    layers: dict[str, int]
    confidence: list[int]


class System(Reply):
    """Sizes in bytes; `config` as it was read, `versions` of the packages that are installed."""

    versions: dict[str, str]
    base: dict[str, Any] | None
    home: str
    database_bytes: int
    disk_free_bytes: int
    memory_bytes: int
    memory_free_bytes: int
    lane_bytes: int | None
    cache_bytes: int | None
    config: dict[str, Any]
