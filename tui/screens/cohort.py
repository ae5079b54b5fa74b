"""One cohort: its releases, how the live one was judged, its learning curve, and whether it is worth its adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from tui import inert, words
from tui.client import Client, part, together
from tui.widgets.rows import Cell, Rows

if TYPE_CHECKING:
    from tui.console import Console


class CohortScreen(Screen[None]):
    BINDINGS = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("p", "promote", "Promote"),
        Binding("x", "reject", "Reject"),
        Binding("b", "rollback", "Roll back"),
    ]

    def __init__(self, cohort: str) -> None:
        super().__init__()
        self.cohort = cohort
        self._data: dict[str, Any] | None = None
        self._details: dict[tuple[int, str], dict[str, Any]] = {}  # a release's manifest does not change

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        yield Static(inert.line(f"Cohort {self.cohort}", 60, "bold"), classes="title")
        yield Rows(
            "release", "state", "gated", "score", "revalidate", "age", "digest", id="releases", empty="none yet"
        )
        with VerticalScroll():
            yield Static(id="judged")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one(Rows).focus()
        self._operator.tell_state(self)
        self._operator.refresh_now()

    @property
    def _operator(self) -> Console:
        return cast("Console", self.app)

    async def fetch(self, client: Client) -> dict[str, Any]:
        switch, releases, curve, attributed = await together(
            client.get("cohorts"),
            client.get("releases", cohort=self.cohort),
            newest(client, "curve", self.cohort),
            newest(client, "attribute", self.cohort),
        )
        details = [{**await self._detail(client, one), **one} for one in releases]
        cohort = next((one for one in switch if one["cohort"] == self.cohort), {"live": None, "previous": None})
        return {"cohort": cohort, "releases": details, "curve": curve, "attribute": attributed}

    async def _detail(self, client: Client, release: dict[str, Any]) -> dict[str, Any]:
        known = (release["version"], release["digest"])
        if known not in self._details:
            self._details[known] = await client.get(f"releases/{part(self.cohort)}/{release['version']}")
        return self._details[known]

    def show(self, data: dict[str, Any]) -> None:
        self._data = data
        self.query_one(Rows).show([(str(one["version"]), row(one)) for one in data["releases"]])
        self._judged()

    def on_data_table_row_highlighted(self) -> None:
        self._operator.drawn(self._judged)

    def _chosen(self) -> dict[str, Any] | None:
        chosen = self.query_one(Rows).chosen
        found: list[dict[str, Any]] = self._data["releases"] if self._data else []
        return next((one for one in found if str(one["version"]) == chosen), None)

    def _judged(self) -> None:
        if self._data:
            text = judged(self._chosen())
            text.append(curve(self._data["curve"]))
            text.append(attribution(self._data["attribute"], self.cohort))
            self.query_one("#judged", Static).update(text)

    def action_promote(self) -> None:
        release = self._chosen()
        if release and self._data:
            self._operator.promote(release, live_of(self._data["releases"]))

    def action_reject(self) -> None:
        if release := self._chosen():
            self._operator.reject(release)

    def action_rollback(self) -> None:
        if self._data:
            live = live_of(self._data["releases"])
            self._operator.roll_back(self.cohort, live, self._data["cohort"]["previous"])


def live_of(releases: list[dict[str, Any]]) -> str | None:
    """By its state in the register: one that failed in service does not answer, and is live all the same."""
    return next((f"{one['cohort']}@{one['version']}" for one in releases if one["state"] == "live"), None)


async def newest(client: Client, kind: str, cohort: str) -> dict[str, Any] | None:
    """What came of the newest job of that kind, of the cohort or of all."""
    for whose in (cohort, ""):
        jobs = await client.get("jobs", kind=kind, cohort=whose, limit=20)
        for job in jobs:
            if job["cohort"] == whose and job["state"] == "done":
                found: dict[str, Any] = await client.get(f"jobs/{part(job['id'])}")
                return found
    return None


def row(release: dict[str, Any]) -> list[Cell]:
    manifest = release["manifest"]
    own = [one for one in manifest.get("scores", {}).values() if one["cohort"] == release["cohort"]]
    return [
        f"{release['cohort']}@{release['version']}",
        {"live": "● live", "retired": "  retired"}.get(release["state"], f"○ {release['state']}"),
        "yes" if release["gated"] else "! no",
        ", ".join(words.points(one["candidate"]) for one in own) or words.NONE,
        words.day(manifest.get("revalidate")),
        words.age(release["created"]),
        release["digest"][:12],
    ]


def judged(release: dict[str, Any] | None) -> Text:
    """The gate's reasons and every task's score."""
    text = Text()
    if release is None:
        return text
    manifest = release["manifest"]
    if "reasons" not in manifest:
        text.append("made elsewhere: no gate has seen it\n")
    for reason in manifest.get("reasons", []):
        text.append("ok " if reason["passed"] else "NO ", "" if reason["passed"] else "bold red")
        text.append(inert.plain(f"{reason['check']}: {reason['says']}", 300) + "\n")
    for name, one in manifest.get("scores", {}).items():
        text.append(inert.plain(f"   {one['cohort']}, {name}, {one['n']} rows: {words.gain(one)}", 200) + "\n")
    return text


def curve(job: dict[str, Any] | None) -> Text:
    text = Text()
    if job is None:
        return text
    text.append(f"\nLearning curve, {words.age(job['ended'])} ago\n", "bold")
    for level in job["result"]["levels"]:
        mean = level["score"]["mean"]
        text.append(f"  {level['rows']:>6} rows {words.bar(mean, 30)} {words.points(mean)}\n")
    for says in job["result"]["says"]:
        text.append(inert.plain(f"  {says}", 300) + "\n")
    return text


def attribution(job: dict[str, Any] | None, cohort: str) -> Text:
    text = Text()
    found = [one for one in (job["result"]["cohorts"] if job else []) if one["cohort"] == cohort]
    for one in found:
        text.append(f"\nIs it worth its adapter? {one['verdict']}, of {one['release']}\n", "bold")
        text.append(inert.plain(f"  {one['says']}", 1000) + "\n")
    return text
