"""Jobs: begin long work, watch it, end it, read what came of it."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import ProgressBar, Sparkline, Static

from appliance.wire.jobs import JobReply
from tui import inert, words
from tui.client import Client, part
from tui.verdict import losses as went
from tui.verdict import verdict
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows

_LINES = 20  # of a job's log


class Jobs(Pane):
    BINDINGS = [
        Binding("t", "app.begin('retrain')", "Train"),
        Binding("e", "app.begin('evaluate')", "Eval"),
        Binding("a", "app.begin('attribute')", "Worth"),
        Binding("u", "app.begin('curve')", "Curve"),
        Binding("o", "app.begin('router/fit')", "Fit"),
        Binding("x", "cancel", "End"),
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
        yield Static(id="trained")
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
        trained = self.query_one("#trained", Static)
        trained.display = bool(losses)
        trained.update(inert.line(went(job.losses) if job else "", 300))
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
    took = datetime.fromisoformat(one.ended) - datetime.fromisoformat(one.created)
    return max(0.0, took.total_seconds())  # a clock may be set back


def told(job: JobReply) -> Text:
    """At the end its verdict with reasons and scores, or the error; and what was done."""
    text = Text()
    if job.error:
        text.append("! ", "bold red")
        text.append(inert.plain(job.error, 1000) + "\n")
    for line, bad in verdict(job.kind, job.result or {}):
        text.append(inert.plain(line, 600) + "\n", "bold red" if bad else "")
    if job.log:
        text.append(f"\nWhat was done, {words.zone()}\n", "bold")
    for done in job.log[-_LINES:]:
        text.append(inert.plain(f"{words.clock(done['at'])} {done['says']}", 300) + "\n")
    return text
