"""What the box tells Prometheus. Labels are bounded: cohorts come from the configuration, layers and reasons from
the router, releases from the register. Cohorts without traffic are listed from the start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from router.cohort import BASE

_TTFT = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 25, 60)
_TOTAL = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)
Gauges = Callable[[], Iterable[tuple[str, str, dict[str, float]]]]


class Vitals:
    """One registry per appliance, so that tests may have several."""

    def __init__(self, cohorts: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "cohort_requests", "Answered inference requests", ["cohort", "release", "status"], registry=self.registry
        )
        self.refused = Counter("cohort_errors", "Requests answered with an error", ["code"], registry=self.registry)
        self.decisions = Counter(
            "cohort_route_decisions", "Where requests went", ["cohort", "layer", "reason"], registry=self.registry
        )
        self.prompt_tokens = Counter(
            "cohort_prompt_tokens", "Prompt tokens of finished requests", ["cohort"], registry=self.registry
        )
        self.answer_tokens = Counter(
            "cohort_generation_tokens", "Generated tokens", ["cohort"], registry=self.registry
        )
        self.ttft = Histogram(
            "cohort_time_to_first_token_seconds", "From arrival", ["cohort"], buckets=_TTFT, registry=self.registry
        )
        self.total = Histogram(
            "cohort_request_latency_seconds", "To the last token", ["cohort"], buckets=_TOTAL, registry=self.registry
        )
        self.queue = Histogram(
            "cohort_queue_seconds", "Waiting for a lane", ["cohort"], buckets=_TTFT, registry=self.registry
        )
        self.embeddings = Counter("cohort_embeddings", "Texts embedded", registry=self.registry)
        self.embedding_tokens = Counter(
            "cohort_embedding_tokens", "Word pieces of embedded texts", registry=self.registry
        )
        self.feedback = Counter("cohort_feedback", "Feedback by rating", ["cohort", "rating"], registry=self.registry)
        self.jobs = Counter("cohort_jobs", "Long work that ended", ["kind", "state"], registry=self.registry)
        self.live = Gauge(
            "cohort_live_release", "Version of the live release, 0 for the base", ["cohort"], registry=self.registry
        )
        self.alarms = Gauge("cohort_alarms", "What a person has to look at", registry=self.registry)
        for cohort in (*cohorts, BASE):
            self._list(cohort)

    def _list(self, cohort: str) -> None:
        """Show a cohort before its first request."""
        for metric in (self.prompt_tokens, self.answer_tokens, self.ttft, self.total, self.queue):
            metric.labels(cohort)
        self.requests.labels(cohort, BASE, "ok")
        if cohort != BASE:
            self.live.labels(cohort).set(0)

    def watch(self, gauges: Gauges) -> None:
        """Read these at every scrape: (name, help, {label value: number}), the label being `lane`."""
        self.registry.register(_Live(gauges))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Live(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, description, values in self._gauges():
            family = GaugeMetricFamily(name, description, labels=["lane"])
            for lane, value in values.items():
                family.add_metric([lane], value)
            yield family
