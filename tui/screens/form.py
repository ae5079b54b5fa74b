"""Several figures asked for at once, each of which may be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui import inert

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Field:
    """A figure from `low` to `high`; `unsaid` stands in the field while it is empty."""

    name: str
    says: str
    low: float
    high: float
    whole: bool = True
    unsaid: str = "as configured"

    def read(self, typed: str) -> float:
        """Raises ValueError with the remedy."""
        try:
            value = int(typed) if self.whole else float(typed)
        except ValueError:
            value = float("nan")
        if not self.low <= value <= self.high:
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"{self.says}: {kind} from {self.low:g} to {self.high:g}, or nothing")
        return value


class Form(ModalScreen[Figures | None]):
    """Enter goes to the next field, and from the last one on."""

    BINDINGS = [Binding("escape", "leave", "Leave it")]

    def __init__(self, says: str, fields: Sequence[Field]) -> None:
        super().__init__()
        self._says, self._fields = says, fields

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(inert.block(self._says, 2000))
            for field in self._fields:
                yield Static(inert.line(f"{field.says}:"))
                yield Input(placeholder=field.unsaid, id=field.name)
            yield Static(inert.line("Enter goes on, Esc leaves it."))
            yield Static(classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id != self._fields[-1].name:
            self.focus_next()
            return
        found: Figures = {}
        for field in self._fields:
            entry = self.query_one(f"#{field.name}", Input)
            try:
                found |= {field.name: field.read(entry.value.strip())} if entry.value.strip() else {}
            except ValueError as error:
                self.query_one(".hint", Static).update(inert.line(f"! {error}"))
                entry.focus()
                return
        self.dismiss(found)

    def action_leave(self) -> None:
        self.dismiss(None)
