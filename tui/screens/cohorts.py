"""Cohorts: what answers for each, how good it is, and what to do next."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from tui import inert, words
from tui.client import Client, part, together
from tui.screens.cohort import CohortScreen, live_of
from tui.verdict import scores
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Entries, Rows

_GAINS = ("beats_base", "previous_loss")  # checks that tell the whole cohort's, with intervals


class Cohorts(Pane):
    BINDINGS = [
        Binding("t", "train", "Train"),
        Binding("p", "promote", "Promote"),
        Binding("b", "rollback", "Roll back"),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._data: Data | None = None
        self._details: dict[tuple[str, int, str], Data] = {}  # a release's manifest does not change

    def compose(self) -> ComposeResult:
        yield Entries("cohort", "live", "next", "score", "due", "age", "weight", "owner", id="cohort-list")
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
        self.query_one(Rows).show(
            [(one["cohort"], row(one, data["live"].get(one["cohort"]))) for one in data["cohorts"]]
        )
        self._about()

    def on_data_table_row_highlighted(self) -> None:
        self.console.drawn(self._about)

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def _about(self) -> None:
        cohort = self._cohort()
        if cohort is not None and self._data:
            names = {one["digest"]: f"{one['cohort']}@{one['version']}" for one in self._data["releases"]}
            told = about(cohort, self._data["live"].get(cohort["cohort"]), names)
            self.query_one("#cohort-about", Static).update(told)

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
    found = [one for one in releases if one["state"] in words.WAITING]
    return max(found, key=lambda one: one["version"], default=None)


def row(cohort: dict[str, Any], live: dict[str, Any] | None) -> list[Cell]:
    due = words.day(cohort["due"])
    return [
        inert.line(cohort["cohort"], 20, "bold"),
        cohort["live"].removeprefix(cohort["cohort"]) if cohort["live"] else "the base",
        inert.line(advice(cohort), 32),
        score(cohort["score"]),
        Text(f"! {due}", "bold red") if cohort["overdue"] else due,
        words.age(live["created"]) if live else words.NONE,
        f"{cohort['weight']:g}x",
        cohort["owner"],
    ]


def score(found: dict[str, float | None] | None) -> str:
    """The mean of its own tasks beside the base's and that of the release before."""
    if found is None:
        return words.NONE
    before = "" if found["previous"] is None else f", before {words.points(found['previous'])}"
    return f"{words.points(found['candidate'])}, base {words.points(found['base'])}{before}"


def advice(cohort: dict[str, Any]) -> str:
    """What to do next, and the key for it."""
    key = {"judge": ": p, or Enter", "train": ": t", "retrain": ": t"}.get(cohort["next"]["step"] or "", "")
    return f"{cohort['next']['says'].replace(cohort['cohort'] + '@', '@')}{key}" or words.NONE


def about(cohort: dict[str, Any], live: dict[str, Any] | None, names: dict[str, str]) -> Text:
    """`names`: of releases, by digest."""
    text = Text()
    text.append(inert.plain(f"{cohort['cohort']}: {cohort['description']}", 300) + "\n", "bold")
    text.append(inert.plain(f"owner {cohort['owner']}, weight {cohort['weight']:g}", 200) + "\n")
    if live is None:
        text.append("  the base answers: no release is live\n")
        return text
    unknown = "the base" if "slice" in live["manifest"] else "elsewhere"
    begun = names.get(live["parent"] or "", unknown)
    told = f"  {cohort['cohort']}@{live['version']} was begun from {begun}; a rollback returns to"
    text.append(inert.plain(f"{told} {cohort['previous'] or 'the base'}", 200) + "\n")
    for reason in live["manifest"].get("reasons", []):
        if reason["check"] in _GAINS:
            text.append(inert.plain(f"  {reason['says']}", 200) + "\n")
    for line in scores(cohort["cohort"], live["manifest"].get("scores", {})):
        text.append(f"  {line}\n")
    return text
