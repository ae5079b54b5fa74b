"""Interactions: the log searched, and a review queue for the keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, Static

from tui import inert, words
from tui.client import Client, part
from tui.screens.confirm import Choose, Write
from tui.screens.interaction import REVIEW, InteractionScreen
from tui.screens.routes import asked
from tui.search import FIELDS, BadSearch, filters
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Entries, Rows

PAGE = 100
_NEAR = 10  # rows before the end, where older ones are asked for
_WAIT_S = 0.3  # after a key, before the log is asked
Request = dict[str, Any]


class Interactions(Pane):
    """The rows stay as they were asked for: what is marked must not move. Newer ones are counted until `u`."""

    BINDINGS = [
        *REVIEW,
        Binding("u", "newest", "New", show=False),  # the line above the log says when
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._rows: list[Request] = []
        self._filters: dict[str, str] = {}
        self._asked: dict[str, str] | None = None  # filters whose rows these are
        self._complete = False  # the oldest row is here
        self._asked_before = 0
        self._newer, self._bad, self._last = "", "", ""

    def compose(self) -> ComposeResult:
        example = "cohort:legal rating:-1 reviewed:no since:2h"
        yield Input(placeholder=f"/ words, or {': '.join(FIELDS)}: as in {example}", id="search")
        yield Static(id="found")
        names = ("cohort", "status", "said", "asked", "answered", "took", "layer", "release")
        yield Entries(f"time, {words.zone()}", *names, id="log", empty="none")

    @property
    def table(self) -> Rows:
        return self.query_one("#log", Rows)

    def take_focus(self) -> None:
        self.table.focus()

    # -- asking ------------------------------------------------------------------------------------------------------

    async def fetch(self, client: Client) -> Data:
        """A search of words reads the whole log, so it is not repeated by itself."""
        wanted = dict(self._filters)
        if self._asked == wanted and "text" in wanted:
            return {"status": await client.get("status")}
        return {"rows": await client.get("interactions", limit=PAGE, brief="true", **wanted), "wanted": wanted}

    def show(self, data: Data) -> None:
        if "rows" not in data or data["wanted"] != self._filters:
            return
        found: list[Request] = data["rows"]
        if self._asked == self._filters and self._rows:
            newer = sum(one["seq"] > self._rows[0]["seq"] for one in found)
            self._newer = f"{newer}{'+' if newer == PAGE else ''} newer: u" if newer else ""
        else:
            self._asked, self._newer, self._asked_before = data["wanted"], "", 0
            self._rows, self._complete = found, len(found) < PAGE
            self.table.move_cursor(row=0, animate=False)  # else the end, reached once more, asks for older ones
            self.table.show([(one["id"], row(one)) for one in found])
            self.table.move_cursor(row=0, animate=False)
        self._tell()

    def _tell(self) -> None:
        if self._bad:
            self.query_one("#found", Static).update(inert.line(f"! {self._bad}", style="bold red"))
            return
        more = "" if self._complete else ", more below"
        narrowed = ", ".join(f"{name} {value}" for name, value in (self._asked or {}).items())
        told = [f"{len(self._rows)} requests{more}", narrowed, self._newer, self._last]
        waits = self._asked != self._filters
        self.query_one("#found", Static).update(inert.line("searching…" if waits else "; ".join(filter(None, told))))

    def action_newest(self) -> None:
        self._asked = None
        self.console.refresh_now()

    def on_mount(self) -> None:
        self.watch(self.table, "scroll_y", self._scrolled, init=False)

    def _scrolled(self, _: float) -> None:
        """By the wheel or the bar, which leave the cursor where it is."""
        self._reached(self.table.last_seen)

    def on_data_table_row_highlighted(self, event: Rows.RowHighlighted) -> None:
        self._reached(event.cursor_row)

    def _reached(self, row: int) -> None:
        """Older rows are asked for when the cursor, or what is seen, comes near the end."""
        if row < len(self._rows) - _NEAR or self._complete or not self._rows:
            return
        before = self._rows[-1]["seq"]
        if before != self._asked_before:
            self._asked_before = before
            self._older(before)

    @work(exclusive=True, group="older")
    async def _older(self, before: int) -> None:
        wanted = dict(self._filters)
        found = await self.console.asked(
            lambda client: client.get("interactions", limit=PAGE, brief="true", before=before, **wanted)
        )
        if found is None:
            self._asked_before = 0
        if found is None or wanted != self._asked or not self._rows or self._rows[-1]["seq"] != before:
            return
        self._complete = len(found) < PAGE
        self._rows += found
        self.console.drawn(lambda: self.table.extend([(one["id"], row(one)) for one in found]))
        self._tell()

    # -- search ------------------------------------------------------------------------------------------------------

    def search(self) -> None:
        self.query_one("#search", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look(event.value)

    def on_input_submitted(self) -> None:
        self.take_focus()

    @work(exclusive=True, group="search")
    async def _look(self, typed: str) -> None:
        """Asks when nobody types any more; what was asked before and comes later is thrown away."""
        await asyncio.sleep(_WAIT_S)
        try:
            self._filters, self._bad = filters(typed), ""
        except BadSearch as error:
            self._bad = str(error)
        self._tell()
        if not self._bad:
            self.console.refresh_now()

    # -- review ------------------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> Request | None:
        chosen = self.table.chosen
        return next((one for one in self._rows if one["id"] == chosen), None)

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if self.chosen and len(self.app.screen_stack) == 1:  # two quick Enters open it once
            self.app.push_screen(InteractionScreen(self))

    def action_say(self, what: str, value: object) -> None:
        """Of the row under the cursor."""
        if one := self.chosen:
            self._say(one, **{what: value})
            self._next(one)

    def _next(self, one: Request) -> None:
        """The next one's turn."""
        if self.chosen is one:
            self.table.action_cursor_down()

    def action_correct(self) -> None:
        self.correct(lambda: None)

    def correct(self, then: Callable[[], None]) -> None:
        """`then` is called when something was said."""
        one = self.chosen
        if one is None:
            return

        async def whole() -> str | None:
            """The list has its beginning only."""
            found = await self.console.asked(lambda client: client.get(f"interactions/{part(one['id'])}"))
            return (found["correction"] or found["answer"]) if found else None

        def written(text: str | None) -> None:
            if text is not None and text.strip():
                self._say(one, correction=text, use="for")
                self._next(one)
                then()

        self.app.push_screen(Write("The right answer; it will be trained on.", whole), written)

    def action_belongs(self) -> None:
        self.belongs(lambda: None)

    def belongs(self, then: Callable[[], None]) -> None:
        """As `correct`."""
        one = self.chosen
        if one is None:
            return

        async def names() -> list[str]:
            found = await self.console.asked(lambda client: client.get("cohorts"))
            return [*(cohort["cohort"] for cohort in found), "base"] if found else []

        def named(cohort: str | None) -> None:
            if cohort is not None:
                self._say(one, cohort=cohort)
                self._next(one)
                then()

        self.app.push_screen(Choose(f"Where does it belong? It went to {one['cohort']}.", names), named)

    def _say(self, one: Request, **said: object) -> None:
        """Tell the appliance, and note it in the row."""

        async def tell(client: Client) -> str:
            await client.feedback(one["id"], **said)
            noted = {"right_cohort" if name == "cohort" else name: value for name, value in said.items()}
            one.update({**noted, **({"use": None} if said.get("use") == "none" else {})})
            told = ", ".join(f"{name} {inert.plain(value, 40)}" for name, value in said.items())
            self._last = f"{words.clock(one['created'])} {one['cohort']}: {told}"
            if one in self._rows:
                self.table.change(one["id"], row(one))
            self._tell()
            return self._last

        self.console.act(tell, quiet=True)


def said(one: Request) -> str:
    """What people said last of it, in signs: + - rating, use, corrected, commented, the cohort it belongs to."""
    rating = {1: "+", -1: "-", 0: "0"}.get(one["rating"], "")
    use = {"for": "for", "against": "never"}.get(one["use"] or "", "")
    right = f"→{one['right_cohort']}" if one["right_cohort"] else ""
    signs = ("✎" if one["correction"] else "", "…" if one.get("comment") else "")
    return " ".join(filter(None, (rating, use, *signs, right)))


def row(one: Request) -> list[Cell]:
    status = {"ok": Text("ok"), "cancelled": Text("~ cancelled", "yellow")}
    day = datetime.fromisoformat(one["created"]).astimezone()
    probe = "probe " if one["origin"] == "probe" else ""
    return [
        f"{day:%m-%d %H:%M:%S}",
        one["cohort"],
        status.get(one["status"], Text("! failed", "bold red")),
        inert.line(said(one), 30),
        inert.line(probe + asked(one), 40),
        inert.line(one["answer"] or one["error"] or "", 60),
        words.milliseconds(one["total_ms"]),
        one["layer"],
        one["release"],
    ]
