"""A figure with its unit, and how it went of late."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Sparkline, Static

_NONE = [0.0, 0.0]


class Gauge(Vertical):
    """Title, figures, and a sparkline of the last minutes."""

    def __init__(self, title: str, id: str) -> None:
        super().__init__(id=id)
        self._title = title

    def compose(self) -> ComposeResult:
        yield Static(Text(self._title), classes="gauge-title")
        yield Static(classes="gauge-value")
        yield Sparkline(_NONE)

    def show(self, value: str, line: Sequence[float | None]) -> None:
        self.query_one(".gauge-value", Static).update(Text(value))
        self.query_one(Sparkline).data = [one or 0.0 for one in line] if len(line) > 1 else _NONE
