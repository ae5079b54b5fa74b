"""Live: is all well, how much, how fast, and what needs a person."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Static

from appliance.wire.watch import CohortTraffic, Traffic
from tui import inert, words
from tui.client import Client, together
from tui.widgets.gauge import Gauge
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows

MINUTES = 15
MOST_ALARMS = 4  # the others are on the system screen


class Live(Pane):
    def compose(self) -> ComposeResult:
        yield Static(id="alarms")
        with Horizontal(id="gauges"):
            yield Gauge("requests", f"a second, {MINUTES} min", "requests")
            yield Gauge("ttft p50 p95 p99", f"p95, {MINUTES} min", "ttft")
            yield Gauge("total p50 p95 p99", f"p95, {MINUTES} min", "total")
            yield Gauge("under way now", "running, of late", "running")
        yield Rows(
            "cohort", "live", "requests", "share", "by base", "sure", "ttft p95", "failed", "liked", id="traffic"
        )
        yield Static(id="where")
        yield Static(id="memory")

    def take_focus(self) -> None:
        self.query_one("#traffic", Rows).focus()

    async def fetch(self, client: Client) -> Data:
        status, traffic, system = await together(
            client.get("status"), client.get("traffic", minutes=MINUTES), client.get("system")
        )
        return {"status": status, "traffic": traffic, "system": system}

    def show(self, data: Data) -> None:
        status, traffic, system = (
            data["status"],
            Traffic.model_validate(data["traffic"], extra="ignore"),
            data["system"],
        )
        self.query_one("#alarms", Static).update(alarms(needed(status), most=MOST_ALARMS))
        self._gauges(traffic, status)
        self.query_one("#traffic", Rows).show(
            [(one.cohort, _row(one, status["live"].get(one.cohort))) for one in traffic.cohorts]
        )
        self.query_one("#where", Static).update(Text(where(traffic)))
        self.query_one("#memory", Static).update(Text(memory(status, system)))

    def _gauges(self, traffic: Traffic, status: dict[str, Any]) -> None:
        points = traffic.points
        self.query_one("#requests", Gauge).show(words.rate(traffic.per_second), [p.per_second for p in points])
        for name, times, line in (
            ("ttft", traffic.ttft_ms, [p.ttft_ms for p in points]),
            ("total", traffic.total_ms, [p.total_ms for p in points]),
        ):
            self.query_one(f"#{name}", Gauge).show(words.times(times.p50, times.p95, times.p99), line)
        running = sum(lane["running"] for lane in status["lanes"])
        under = self.query_one("#running", Gauge)  # those that wait in the lanes are among the waiting requests
        under.show(f"{running} run, {status['waiting_requests']} wait", self._under_way(running))

    def _under_way(self, running: int) -> list[float]:
        """The appliance keeps no history of it: the console does."""
        self._seen = [*getattr(self, "_seen", []), float(running)][-60:]
        return self._seen


def _row(one: CohortTraffic, live: str | None) -> list[Cell]:
    failed = Text(f"! {one.failed}", "bold red") if one.failed else Text("0")
    return [
        inert.line(one.cohort, 20, "bold"),
        live.removeprefix(one.cohort) if live else words.NONE,
        str(one.requests),
        words.percent(one.share),
        words.percent(one.by_base / one.requests) if one.requests and one.cohort != "base" else words.NONE,
        words.percent(one.confidence),
        words.milliseconds(one.ttft_ms.p95),
        failed,
        f"+{one.liked} -{one.disliked}",
    ]


def needed(status: dict[str, Any]) -> list[str]:
    """What needs a person, the worst first."""
    return [*status["alarms"], *status.get("pending", ())]


def alarms(found: list[str], most: int = 100) -> Text:
    """What needs a person, on top; nothing when nothing does."""
    text = Text()
    for number, alarm in enumerate(found[:most]):
        text.append("\n" if number else "")
        text.append("! ", "bold red")
        text.append(inert.plain(alarm, 300))
    if len(found) > most:
        text.append(f"\n! {len(found) - most} more: 6", "bold red")
    return text


def where(traffic: Traffic) -> str:
    minutes = words.duration(traffic.seconds)
    if not traffic.requests:
        return f"no requests in the last {minutes}"
    layers = ", ".join(f"{name} {words.percent(n / traffic.requests)}" for name, n in sorted(traffic.layers.items()))
    return (
        f"last {minutes}: {traffic.requests} requests, {traffic.tokens_per_second:.1f} tokens/s; decided by {layers}"
    )


def memory(status: dict[str, Any], system: dict[str, Any]) -> str:
    lanes = len(status["lanes"])
    lane, cache, process, free = (
        words.size(system[name]) for name in ("lane_bytes", "cache_bytes", "memory_bytes", "memory_free_bytes")
    )
    return f"{lanes} {'lane' if lanes == 1 else 'lanes'} of {lane}, cache {cache}; process {process}, {free} free"
