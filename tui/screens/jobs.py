"""Jobs: begin long work, watch it, end it, read what came of it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import ProgressBar, Sparkline, Static

from appliance.wire.jobs import JobReply
from tui import inert, words
from tui.client import Client, part
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows


class Jobs(Pane):
    BINDINGS = [
        Binding("t", "app.begin('retrain')", "Train"),
        Binding("e", "app.begin('evaluate')", "Eval"),
        Binding("a", "app.begin('attribute')", "Worth"),
        Binding("u", "app.begin('curve')", "Curve"),
        Binding("o", "app.begin('router/fit')", "Router"),
        Binding("x", "cancel", "Cancel"),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._jobs: dict[str, JobReply] = {}
        self._detail: JobReply | None = None

    def compose(self) -> ComposeResult:
        yield Rows("job", "kind", "cohort", "state", "done", "begun", "took", id="job-list", empty="none yet")
        yield Static(id="which")
        yield Static(id="doing")
        yield ProgressBar(total=1.0, show_eta=False, id="progress")
        yield Sparkline([0.0], id="losses")
        yield Static(id="job")

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    async def fetch(self, client: Client) -> Data:
        jobs = await client.get("jobs", limit=50)
        chosen = self.query_one(Rows).chosen or (jobs[0]["id"] if jobs else None)
        detail = await client.get(f"jobs/{part(chosen)}") if chosen else None
        return {"jobs": jobs, "job": detail}

    def show(self, data: Data) -> None:
        jobs = [JobReply.model_validate(one, extra="ignore") for one in data["jobs"]]
        self._jobs = {one.id: one for one in jobs}
        self.query_one(Rows).show([(one.id, row(one)) for one in jobs])
        if data["job"]:
            self._detail = JobReply.model_validate(data["job"], extra="ignore")
        self._draw()

    def _draw(self) -> None:
        """What is known of the job under the cursor: of another one nothing is left standing."""
        listed = self._jobs.get(self.query_one(Rows).chosen or "")
        job = self._detail if self._detail and listed and self._detail.id == listed.id else listed
        running = job is not None and job.state == "running"
        self.query_one("#which", Static).update(inert.line(which(job) if job else "", 200, "bold"))
        self.query_one("#doing", Static).update(inert.line(job.doing if job and running else "", 300))
        losses = [one["loss"] for one in job.losses if "loss" in one] if job else []
        curve = self.query_one("#losses", Sparkline)
        curve.display, curve.data = len(losses) > 1, losses or [0.0]
        progress = self.query_one(ProgressBar)
        progress.display = running
        progress.update(progress=job.fraction if job else 0.0)
        self.query_one("#job", Static).update(told(job) if job else "")

    def on_data_table_row_highlighted(self) -> None:
        self.console.drawn(self._draw)
        self.console.refresh_now()

    def action_cancel(self) -> None:
        job = self._jobs.get(self.query_one(Rows).chosen or "")
        if job is not None and job.state == "running":
            self.console.cancel(job.id, job.kind)
        elif job is not None:
            self.notify(f"{job.id} has ended: {job.state}", severity="warning", markup=False)


def which(job: JobReply) -> str:
    return f"{job.id}: {job.kind} of {job.cohort or 'all'}, {job.state}"


def row(one: JobReply) -> list[Cell]:
    state = {
        "running": Text("▶ running", "bold"),
        "done": Text("● done"),
        "failed": Text("! failed", "bold red"),
    }.get(one.state, Text(f"- {one.state}"))
    return [
        one.id,
        one.kind,
        one.cohort or "all",
        state,
        words.percent(one.fraction),
        f"{words.age(one.created)} ago",
        words.duration(_seconds(one)),
    ]


def _seconds(one: JobReply) -> float | None:
    if one.ended is None:
        return None
    return (datetime.fromisoformat(one.ended) - datetime.fromisoformat(one.created)).total_seconds()


def told(job: JobReply) -> Text:
    """At the end its verdict with the reasons, or the error."""
    text = Text()
    if job.error:
        text.append("! ", "bold red")
        text.append(inert.plain(job.error, 1000))
    for line, bad in verdict(job):
        text.append(inert.plain(line, 600) + "\n", "bold red" if bad else "")
    return text


def verdict(job: JobReply) -> list[tuple[str, bool]]:
    """Lines, and whether each is bad news."""
    result: dict[str, Any] = job.result or {}
    if not result:
        return []
    if job.kind == "curve":
        return [(says, False) for says in result.get("says", [])]
    if job.kind == "rebuild":
        return [(f"{result['release']}: {'the same bytes' if result['same'] else 'OTHER bytes'}", not result["same"])]
    if job.kind == "blame":
        return _blamed(result)
    if job.kind == "fit":
        return _fitted(result)
    found = result.get("cohorts", [result] if "cohort" in result else None)
    if found is None:  # of a kind that this console does not know
        return [(json.dumps(result), False)]
    return [line for one in found for line in _judged(one)]


def _blamed(result: dict[str, Any]) -> list[tuple[str, bool]]:
    told = f"{result['misroute']} misrouted, {result['adapter']} by the adapter, {result['unknown']} unknown"
    lines = [f"{result['n']} answers that people did not like: {told}"]
    for one in result["requests"]:
        lines.append(f"  {one['request_id']}: {one['verdict']}; it went to {one['sent']}, right is {one['right']}")
    return [(line, False) for line in lines]


def _fitted(result: dict[str, Any]) -> list[tuple[str, bool]]:
    rows = sum(result["rows"].values())
    lines = [(f"router@{result['version']} is {result['state']}; fitted to {rows} texts", bool(result["refusals"]))]
    return lines + [(f"  NO {why}", True) for why in result["refusals"]]


def _judged(one: dict[str, Any]) -> list[tuple[str, bool]]:
    verdict = one.get("verdict", "")
    named = f"{one['cohort']}: {verdict}, release {one.get('release') or words.NONE}"
    lines = [(named, verdict in ("fail", "parity"))]
    lines += [(f"  {one['says']}", False)] if "says" in one else []
    for reason in one.get("reasons", []):
        mark = "ok" if reason["passed"] else "NO"
        lines.append((f"  {mark} {reason['check']}: {reason['says']}", not reason["passed"]))
    return lines
