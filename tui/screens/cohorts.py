"""Cohorts: what answers for each, how good it is, and what to do next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from tui import inert, words
from tui.client import Client, part, together
from tui.screens.cohort import CohortScreen, live_of
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows


class Cohorts(Pane):
    BINDINGS = [
        Binding("enter", "open", "Open"),
        Binding("t", "train", "Train"),
        Binding("p", "promote", "Promote"),
        Binding("b", "rollback", "Roll back"),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._data: Data | None = None
        self._details: dict[tuple[str, int, str], Data] = {}  # a release's manifest does not change

    def compose(self) -> ComposeResult:
        yield Rows("cohort", "live", "next", "score", "due", "age", "weight", "owner", id="cohort-list")
        yield Static(id="cohort-about")

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    async def fetch(self, client: Client) -> Data:
        cohorts, releases = await together(client.get("cohorts"), client.get("releases"))
        live = {one["cohort"]: await self._detail(client, one) for one in releases if one["state"] == "live"}
        return {"cohorts": cohorts, "releases": releases, "live": live}

    async def _detail(self, client: Client, release: Data) -> Data:
        known = (release["cohort"], release["version"], release["digest"])
        if known not in self._details:
            self._details[known] = await client.get(f"releases/{part(known[0])}/{known[1]}")
        return self._details[known]

    def show(self, data: Data) -> None:
        self._data = data
        now = datetime.now(UTC)
        self.query_one(Rows).show(
            [
                (one["cohort"], row(one, data["live"].get(one["cohort"]), of(data["releases"], one["cohort"]), now))
                for one in data["cohorts"]
            ]
        )
        self._about()

    def on_data_table_row_highlighted(self) -> None:
        self.console.drawn(self._about)

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def _about(self) -> None:
        cohort = self._cohort()
        if cohort is not None and self._data:
            self.query_one("#cohort-about", Static).update(about(cohort, self._data["live"].get(cohort["cohort"])))

    def _cohort(self) -> dict[str, Any] | None:
        chosen = self.query_one(Rows).chosen
        found: list[dict[str, Any]] = self._data["cohorts"] if self._data else []
        return next((one for one in found if one["cohort"] == chosen), None)

    def action_open(self) -> None:
        cohort = self._cohort()
        if cohort and len(self.app.screen_stack) == 1:  # two quick Enters open it once
            self.app.push_screen(CohortScreen(cohort["cohort"]))

    def action_train(self) -> None:
        if cohort := self._cohort():
            self.console.options("retrain", cohort["cohort"])

    def action_promote(self) -> None:
        cohort = self._cohort()
        if cohort is None or not self._data:
            return
        candidate = waiting(of(self._data["releases"], cohort["cohort"]))
        if candidate is None:
            says = f"{cohort['cohort']} has no candidate: train one with t"
            self.notify(says, severity="warning", markup=False)
        else:
            self._judged(candidate, live_of(of(self._data["releases"], cohort["cohort"])))

    @work(group="judged")
    async def _judged(self, candidate: Data, live: str | None) -> None:
        """With its manifest: the dialog says what speaks against it."""
        detail = await self.console.asked(lambda client: self._detail(client, candidate))
        if detail is not None and self.console.screen_stack == [self.screen]:
            self.console.promote({**detail, **candidate}, live)

    def action_rollback(self) -> None:
        cohort = self._cohort()
        if cohort and self._data:
            live = live_of(of(self._data["releases"], cohort["cohort"]))
            self.console.roll_back(cohort["cohort"], live, cohort["previous"])


def of(releases: list[dict[str, Any]], cohort: str) -> list[dict[str, Any]]:
    return [one for one in releases if one["cohort"] == cohort]


def waiting(releases: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest candidate."""
    found = [one for one in releases if one["state"] in ("candidate", "shadow", "canary")]
    return max(found, key=lambda one: one["version"], default=None)


def row(
    cohort: dict[str, Any], live: dict[str, Any] | None, releases: list[dict[str, Any]], now: datetime
) -> list[Cell]:
    manifest = live["manifest"] if live else {}
    due = manifest.get("revalidate")
    late = due is not None and datetime.fromisoformat(due) < now
    return [
        inert.line(cohort["cohort"], 20, "bold"),
        cohort["live"].removeprefix(cohort["cohort"]) if cohort["live"] else "the base",
        inert.line(advice(cohort, releases, late=late), 32),
        score(cohort["cohort"], manifest),
        Text(f"! {words.day(due)}", "bold red") if late else words.day(due),
        words.age(live["created"], now) if live else words.NONE,
        f"{cohort['weight']:g}x",
        cohort["owner"],
    ]


def score(cohort: str, manifest: dict[str, Any]) -> str:
    """The mean of its own tasks beside the base's, of 100."""
    own = [one for one in manifest.get("scores", {}).values() if one["cohort"] == cohort]
    if not own:
        return words.NONE
    rows = sum(one["n"] for one in own)
    mine, base = (sum((one[arm] or 0.0) * one["n"] for one in own) / rows for arm in ("candidate", "base"))
    return f"{words.points(mine)}, base {words.points(base)}"


def advice(cohort: dict[str, Any], releases: list[dict[str, Any]], *, late: bool) -> str:
    """What to do next."""
    candidate = waiting(releases)
    if candidate is not None:
        return f"judge @{candidate['version']}: p, or Enter"
    warned = next((one["warning"] for one in releases if one["warning"] and one["state"] == "live"), None)
    if warned:
        return str(warned)
    if cohort["live"] is None:
        return "train it: t"
    return "retrain, past its day: t" if late else words.NONE


def about(cohort: dict[str, Any], live: dict[str, Any] | None) -> Text:
    text = Text()
    text.append(inert.plain(f"{cohort['cohort']}: {cohort['description']}", 300) + "\n", "bold")
    text.append(inert.plain(f"owner {cohort['owner']}, weight {cohort['weight']:g}", 200) + "\n")
    for name, one in (live["manifest"].get("scores", {}) if live else {}).items():
        text.append(
            f"  {inert.plain(name, 40)} ({inert.plain(one['cohort'], 20)}, {one['n']} rows): {words.gain(one)}\n"
        )
    if live is None:
        text.append("  the base answers: no release is live\n")
    return text
