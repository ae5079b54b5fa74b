"""A figure with its unit, and how it went of late."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Static

from tui import words


class Line(Widget):
    """A sparkline; what was not measured is a gap in it, and not zero."""

    values: reactive[tuple[float | None, ...]] = reactive(())

    def render(self) -> Text:
        return Text(words.sparkline(self.values, self.size.width), no_wrap=True)


class Gauge(Vertical):
    """Title, figures, a sparkline, and what the sparkline is of."""

    def __init__(self, title: str, line: str, id: str) -> None:
        super().__init__(id=id)
        self._title, self._of = title, line

    def compose(self) -> ComposeResult:
        yield Static(Text(self._title), classes="gauge-title")
        yield Static(classes="gauge-value")
        yield Line()
        yield Static(Text(self._of), classes="gauge-title")

    def show(self, value: str, line: Sequence[float | None]) -> None:
        self.query_one(".gauge-value", Static).update(Text(value))
        self.query_one(Line).values = tuple(line)
