"""Jobs: begin long work, watch it, end it, read what came of it."""

from __future__ import annotations

import asyncio
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
        Binding("e", "app.begin('evaluate')", "Evaluate"),
        Binding("a", "app.begin('attribute')", "Attribute"),
        Binding("u", "app.begin('curve')", "Curve"),
        Binding("o", "app.begin('router/fit')", "Fit router"),
        Binding("x", "cancel", "Cancel"),
    ]

    def compose(self) -> ComposeResult:
        yield Rows("job", "kind", "cohort", "state", "done", "begun", "took", id="job-list", empty="none yet")
        yield Static(id="doing")
        yield ProgressBar(total=1.0, show_eta=False, id="progress")
        yield Sparkline([0.0], id="losses")
        yield Static(id="job")
        yield Static(id="fit")

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    async def fetch(self, client: Client) -> Data:
        jobs, fit = await asyncio.gather(client.get("jobs", limit=50), client.get("router/fit"))
        chosen = self._wanted or (jobs[0]["id"] if jobs else None)
        detail = await client.get(f"jobs/{part(chosen)}") if chosen else None
        return {"jobs": jobs, "fit": fit, "job": detail}

    @property
    def _wanted(self) -> str | None:
        return self.query_one(Rows).chosen

    def show(self, data: Data) -> None:
        jobs = [JobReply.model_validate(one, extra="ignore") for one in data["jobs"]]
        self.query_one(Rows).show([(one.id, row(one)) for one in jobs])
        self.query_one("#fit", Static).update(fitting(data["fit"]))
        job = JobReply.model_validate(data["job"], extra="ignore") if data["job"] else None
        running = job is not None and job.state == "running"
        self.query_one("#progress").display = running
        self.query_one("#doing", Static).update(inert.line(job.doing if job and running else "", 300))
        losses = [one["loss"] for one in job.losses if "loss" in one] if job else []
        curve = self.query_one("#losses", Sparkline)
        curve.display, curve.data = len(losses) > 1, losses or [0.0]
        if job is not None:
            self.query_one(ProgressBar).update(progress=job.fraction)
            self.query_one("#job", Static).update(told(job))

    def on_data_table_row_highlighted(self) -> None:
        self.console.refresh_now()

    def action_cancel(self) -> None:
        chosen = self.query_one(Rows).chosen
        if chosen is not None:
            self.act(lambda client: _cancel(client, chosen))


async def _cancel(client: Client, identity: str) -> str:
    job = await client.post(f"jobs/{part(identity)}/cancel")
    return f"{identity} is {job['state']}"


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
    if job.kind == "curve":
        return [(says, False) for says in result.get("says", [])]
    if job.kind == "rebuild" and result:
        return [(f"{result['release']}: {'the same bytes' if result['same'] else 'OTHER bytes'}", not result["same"])]
    found = result.get("cohorts", [result] if result else [])
    lines = []
    for one in found:
        verdict = one.get("verdict", "")
        lines.append(
            (f"{one['cohort']}: {verdict}, release {one.get('release') or words.NONE}", verdict in ("fail", "parity"))
        )
        if "says" in one:
            lines.append((f"  {one['says']}", False))
        for reason in one.get("reasons", []):
            mark = "ok" if reason["passed"] else "NO"
            lines.append((f"  {mark} {reason['check']}: {reason['says']}", not reason["passed"]))
    return lines


def fitting(fit: dict[str, Any]) -> Text:
    """The fit of a router, which is no job of the register."""
    if fit["done"]:
        made = fit["router"] and f"router@{fit['router']['version']} is {fit['router']['state']}"
        return inert.line(f"router fit: {fit['error'] or made or fit['doing']}", 300, "dim")
    return Text(f"router fit: {words.bar(fit['fraction'], 20)} {words.percent(fit['fraction'])} ").append(
        inert.plain(fit["doing"])
    )
