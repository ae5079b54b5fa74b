"""Interactions: the log searched, and a review queue for the keyboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, Static

from tui import inert, words
from tui.client import Client
from tui.screens.confirm import Choose, Write
from tui.screens.interaction import InteractionScreen
from tui.screens.routes import asked
from tui.search import FIELDS, BadSearch, filters
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows

PAGE = 100
_WAIT_S = 0.3  # after a key, before the log is asked


class Interactions(Pane):
    BINDINGS = [
        Binding("enter", "open", "Open"),
        Binding("+,plus", "rate(1)", "Good"),
        Binding("-,minus", "rate(-1)", "Bad"),
        Binding("f", "use('for')", "Train on it"),
        Binding("a", "use('against')", "Never"),
        Binding("c", "correct", "Correct"),
        Binding("w", "belongs", "Belongs to"),
        Binding("u", "unwrap", "Newest", show=False),
    ]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._rows: list[dict[str, Any]] = []
        self._filters: dict[str, str] = {}
        self._all = False  # the oldest row is here
        self._asked_before = 0
        self._cohorts: list[str] = []

    def compose(self) -> ComposeResult:
        yield Input(
            placeholder=f"/ words, or {': '.join(FIELDS)}: as in cohort:legal rating:-1 since:2h", id="search"
        )
        yield Static(id="found")
        yield Rows(
            "time",
            "cohort",
            "state",
            "rated",
            "asked",
            "answered",
            "took",
            "layer",
            "release",
            id="log",
            follow=True,
            empty="none",
        )

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    @property
    def _paged(self) -> bool:
        """Older pages are here, or the cursor is on the way: the newest rows must not push it away."""
        return bool(self._rows) and (len(self._rows) > PAGE or self.query_one(Rows).cursor_row > 0)

    async def fetch(self, client: Client) -> Data:
        if self._paged or ("text" in self._filters and self._rows):  # which reads the whole log
            await client.get("status")
            return {"kept": True}
        wanted = dict(self._filters)
        cohorts = [one["cohort"] for one in await client.get("cohorts")]
        return {"rows": await client.get("interactions", limit=PAGE, **wanted), "wanted": wanted, "cohorts": cohorts}

    def show(self, data: Data) -> None:
        if "kept" in data or data["wanted"] != self._filters or self._paged:
            return
        self._rows, self._cohorts = data["rows"], data["cohorts"]
        self._all = len(self._rows) < PAGE
        self._draw()

    def _draw(self) -> None:
        self.query_one(Rows).show([(one["id"], row(one)) for one in self._rows])
        more = "" if self._all else ", more below"
        narrowed = ", ".join(f"{name} {value}" for name, value in self._filters.items())
        told = f"{len(self._rows)} requests{more}" + (f"; {narrowed}" if narrowed else "")
        self.query_one("#found", Static).update(inert.line(told))

    # -- search ------------------------------------------------------------------------------------------------------

    def search(self) -> None:
        self.query_one("#search", Input).focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._look(event.value)

    def on_input_submitted(self) -> None:
        self.query_one(Rows).focus()

    @work(exclusive=True, group="search")
    async def _look(self, typed: str) -> None:
        """Asks when nobody types any more; what was asked before and comes later is thrown away."""
        await asyncio.sleep(_WAIT_S)
        try:
            self._filters = filters(typed)
        except BadSearch as error:
            self.query_one("#found", Static).update(inert.line(f"! {error}", style="bold red"))
            return
        self._rows = []
        self.query_one(Rows).move_cursor(row=0, animate=False)
        self.console.refresh_now()

    def on_data_table_row_highlighted(self, event: Rows.RowHighlighted) -> None:
        if event.cursor_row < len(self._rows) - 10 or len(self._rows) < PAGE or self._all:
            return
        before = self._rows[-1]["seq"]
        if before != self._asked_before:
            self._asked_before = before
            self._older(before)

    @work(exclusive=True, group="older")
    async def _older(self, before: int) -> None:
        wanted = dict(self._filters)
        found = await self.console.asked(
            lambda client: client.get("interactions", limit=PAGE, before=before, **wanted)
        )
        if found is None:
            self._asked_before = 0
        if found is None or wanted != self._filters or not self._rows or self._rows[-1]["seq"] != before:
            return
        self._all = len(found) < PAGE
        self._rows += found
        self._draw()

    def action_unwrap(self) -> None:
        """Back to the newest."""
        del self._rows[PAGE:]
        self.query_one(Rows).move_cursor(row=0, animate=False)
        self.console.refresh_now()

    # -- review ------------------------------------------------------------------------------------------------------

    def _chosen(self) -> dict[str, Any] | None:
        chosen = self.query_one(Rows).chosen
        return next((one for one in self._rows if one["id"] == chosen), None)

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        if one := self._chosen():
            self.app.push_screen(InteractionScreen(one["id"]))

    def action_rate(self, rating: int) -> None:
        self._say(self._chosen(), lambda one: one.update(rating=rating), rating=rating)
        self.query_one(Rows).action_cursor_down()

    def action_use(self, use: str) -> None:
        self._say(self._chosen(), lambda one: one.update(marked=use), use=use)
        self.query_one(Rows).action_cursor_down()

    def action_correct(self) -> None:
        one = self._chosen()
        if one is None:
            return

        def written(text: str | None) -> None:
            if text is not None and text.strip():
                self._say(one, lambda row: row.update(marked="for"), correction=text, use="for")

        self.app.push_screen(Write("The right answer; it will be trained on.", one["answer"]), written)

    def action_belongs(self) -> None:
        one = self._chosen()
        if one is None:
            return

        def chosen(cohort: str | None) -> None:
            if cohort is not None:
                self._say(one, lambda row: row.update(marked=f"to {cohort}"), cohort=cohort)

        says = f"Where does it belong? It went to {one['cohort']}."
        self.app.push_screen(Choose(inert.plain(says), [*self._cohorts, "base"]), chosen)

    def _say(self, one: dict[str, Any] | None, noted: Callable[[dict[str, Any]], None], **said: object) -> None:
        """Tell the appliance, and note it in the row."""
        if one is None:
            return

        async def tell(client: Client) -> str:
            await client.feedback(one["id"], **said)
            noted(one)
            self._draw()
            told = ", ".join(f"{name} {inert.plain(value, 60)}" for name, value in said.items())
            return f"{one['id'][:12]}: {told}"

        self.act(tell)


def row(one: dict[str, Any]) -> list[Cell]:
    state = {"ok": Text("ok"), "cancelled": Text("~ left", "yellow")}.get(one["status"], Text("! failed", "bold red"))
    rating = {1: "+", -1: "-", 0: "0"}.get(one["rating"], "")
    return [
        f"{one['created'][5:10]} {words.clock(one['created'])}",
        one["cohort"],
        state,
        f"{rating} {one.get('marked', '')}".strip(),
        inert.line(asked(one), 60),
        inert.line(one["answer"] or one["error"] or "", 100),
        words.milliseconds(one["total_ms"]),
        one["layer"],
        one["release"],
    ]
