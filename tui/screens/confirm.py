"""Questions before something changes, and for what is missing."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from tui import inert

_LEAVE = Binding("escape", "leave", "Leave it")


class Confirm(ModalScreen[bool]):
    """States what will change, and wants a name typed."""

    BINDINGS = [_LEAVE]

    def __init__(self, changes: str, name: str) -> None:
        super().__init__()
        self._changes, self._wanted = changes, name

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(inert.block(self._changes, 2000))
            yield Static(inert.line(f"Type {self._wanted} and Enter to go on, Esc to leave it."))
            yield Input(placeholder=self._wanted)
            yield Static(classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._wanted:
            self.dismiss(True)
        else:
            self.query_one(".hint", Static).update(inert.line(f"! that is not {self._wanted}"))

    def action_leave(self) -> None:
        self.dismiss(False)


class Ask(ModalScreen[str | None]):
    """One line of text."""

    BINDINGS = [_LEAVE]

    def __init__(self, says: str, *, placeholder: str = "", secret: bool = False) -> None:
        super().__init__()
        self._says, self._placeholder, self._secret = says, placeholder, secret

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(inert.block(self._says, 2000))
            yield Input(placeholder=self._placeholder, password=self._secret)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss(None)


class Choose(ModalScreen[str | None]):
    """One of several."""

    BINDINGS = [_LEAVE, Binding("j", "down", show=False), Binding("k", "up", show=False)]

    def __init__(self, says: str, options: list[str]) -> None:
        super().__init__()
        self._says, self._options = says, options

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(inert.block(self._says, 2000))
            yield OptionList(*(Option(inert.line(name), id=str(n)) for n, name in enumerate(self._options)))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._options[event.option_index])

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()

    def action_leave(self) -> None:
        self.dismiss(None)


class Write(ModalScreen[str | None]):
    """A text of several lines; Ctrl+S keeps it."""

    BINDINGS = [_LEAVE, Binding("ctrl+s", "keep", "Keep it", priority=True)]

    def __init__(self, says: str, text: str) -> None:
        super().__init__()
        self._says, self._text, self._shown = says, text, inert.block(text).plain

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog tall"):
            yield Static(inert.block(self._says, 2000))
            yield TextArea(self._shown)
            yield Static(inert.line("Ctrl+S keeps it, Esc leaves it."))
            yield Static(classes="hint")

    def action_keep(self) -> None:
        """What cannot be shown as it is cannot be edited: the rest of it would be lost."""
        written = self.query_one(TextArea).text
        if written == self._shown:
            self.dismiss(self._text)
        elif self._shown != self._text:
            says = "it is too long, or has characters that are not shown: cohort feedback ID --correction TEXT"
            self.query_one(".hint", Static).update(inert.line(f"! {says}"))
        else:
            self.dismiss(written)

    def action_leave(self) -> None:
        self.dismiss(None)
