"""One cohort: its releases, how each was judged and what it was made of, its learning curve, and whether it is worth
its adapter."""

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
from tui.verdict import beside, scores
from tui.widgets.rows import Cell, Rows

if TYPE_CHECKING:
    from tui.console import Console


class CohortScreen(Screen[None]):
    BINDINGS = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("tab", "app.focus_next", "Next"),
        Binding("p", "promote", "Promote"),
        Binding("x", "reject", "Reject"),
        Binding("b", "rollback", "Roll back"),
    ]

    def __init__(self, cohort: str) -> None:
        super().__init__()
        self.cohort = cohort
        self._data: dict[str, Any] | None = None
        self._details: dict[tuple[int, str], dict[str, Any]] = {}  # a release's manifest does not change
        self._made: dict[int, dict[str, Any]] = {}  # nor what it was made of
        self._results: dict[str, dict[str, Any]] = {}  # nor what came of a job

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        yield Static(inert.line(f"Cohort {self.cohort}", 60, "bold"), classes="title")
        yield Rows(
            "release", "state", "gated", "score", "revalidate", "age", "digest", id="releases", empty="none yet"
        )
        with VerticalScroll():
            yield Static(id="judged")
        yield Footer(show_command_palette=False, compact=True)

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
            self._newest(client, "curve"),
            self._newest(client, "attribute"),
        )
        details = [{**await self._detail(client, one), **one} for one in releases]
        await self._lineage(client, releases)
        cohort = next((one for one in switch if one["cohort"] == self.cohort), {"live": None, "previous": None})
        return {"cohort": cohort, "releases": details, "curve": curve, "attribute": attributed}

    async def _detail(self, client: Client, release: dict[str, Any]) -> dict[str, Any]:
        known = (release["version"], release["digest"])
        if known not in self._details:
            self._details[known] = await client.get(f"releases/{part(self.cohort)}/{release['version']}")
        return self._details[known]

    async def _lineage(self, client: Client, releases: list[dict[str, Any]]) -> None:
        """Of the release under the cursor."""
        versions = [one["version"] for one in releases]
        chosen = int(self.query_one(Rows).chosen or 0)
        version = chosen if chosen in versions else max(versions, default=0)
        if version and version not in self._made:
            found = await client.get(f"releases/{part(self.cohort)}/{version}/lineage")
            self._made[version] = {name: found[name] for name in ("parents", "rows", "origins")}

    async def _newest(self, client: Client, kind: str) -> dict[str, Any] | None:
        """What came of the newest job of that kind that was done, of the cohort or of all."""
        own, others = await together(
            client.get("jobs", kind=kind, cohort=self.cohort, limit=20), client.get("jobs", kind=kind, limit=50)
        )
        known = {job["id"]: job for job in (*own, *others)}
        done = [job for job in known.values() if job["state"] == "done" and job["cohort"] in (self.cohort, "")]
        newest = max(done, key=lambda job: job["ended"], default=None)
        if newest is None:
            return None
        if newest["id"] not in self._results:
            self._results[newest["id"]] = await client.get(f"jobs/{part(newest['id'])}")
        return self._results[newest["id"]]

    def show(self, data: dict[str, Any]) -> None:
        self._data = data
        self.query_one(Rows).show([(str(one["version"]), row(one)) for one in data["releases"]])
        self._judged()

    def on_data_table_row_highlighted(self) -> None:
        self._operator.drawn(self._judged)
        release = self._chosen()
        if release and release["version"] not in self._made:
            self._operator.refresh_now()

    def _chosen(self) -> dict[str, Any] | None:
        chosen = self.query_one(Rows).chosen
        found: list[dict[str, Any]] = self._data["releases"] if self._data else []
        return next((one for one in found if str(one["version"]) == chosen), None)

    def _judged(self) -> None:
        if self._data:
            release, live = self._chosen(), live_of(self._data["releases"])
            text = judged(release)
            text.append(lineage(release, self._made.get(release["version"]) if release else None))
            text.append(attribution(self._data["attribute"], self.cohort, live))
            text.append(curve(self._data["curve"]))
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
    for line in scores(release["cohort"], manifest.get("scores", {})):
        text.append(f"{line}\n")
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


def lineage(release: dict[str, Any] | None, made: dict[str, Any] | None) -> Text:
    """What it was made of."""
    text = Text()
    if release is None or made is None:
        return text
    parents = ", before that ".join(made["parents"]) or "the base"
    text.append(f"\nMade of {inert.plain(release['manifest'].get('slice', 'elsewhere'), 12)}\n", "bold")
    text.append(inert.plain(f"  begun from {parents}", 300) + "\n")
    if made["rows"]:
        origins = ", ".join(f"{count} {name}" for name, count in sorted(made["origins"].items()))
        text.append(inert.plain(f"  {made['rows']} rows: {origins}", 300) + "\n")
    return text


def attribution(job: dict[str, Any] | None, cohort: str, live: str | None) -> Text:
    """The newest verdict, with every arm that the release stood beside."""
    text = Text()
    for one in job["result"]["cohorts"] if job else ():
        if one["cohort"] != cohort:
            continue
        about = f"{one['verdict']}, of {one['release'] or 'the base'}, {words.age(job['ended'] if job else None)} ago"
        text.append(f"\nIs it worth its adapter? {about}\n", "bold")
        if one["release"] != live:
            text.append(inert.plain(f"  ! {live or 'the base'} answers now: compare anew", 100) + "\n", "bold red")
        for says in (one["says"], *one.get("notes", ())):
            text.append(inert.plain(f"  {says}", 500) + "\n")
        for arm in one.get("against", []):
            text.append(inert.plain(f"  {beside(arm)}", 200) + "\n")
    return text
