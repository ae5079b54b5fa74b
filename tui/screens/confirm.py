"""Questions before something changes, and for what is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual import work
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
            yield Static(inert.line("Enter goes on, Esc leaves it."))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_leave(self) -> None:
        self.dismiss(None)


class Choose(ModalScreen[str | None]):
    """One of several, which may have to be asked for: then the dialog is there first, so that no key goes astray."""

    BINDINGS = [_LEAVE, Binding("j", "down", show=False), Binding("k", "up", show=False)]

    def __init__(self, says: str, options: Callable[[], Awaitable[list[str]]]) -> None:
        super().__init__()
        self._says, self._ask, self._options = says, options, list[str]()

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(inert.block(self._says, 2000))
            yield OptionList()
            yield Static(inert.line("j k and Enter choose, Esc leaves it."))

    @work
    async def on_mount(self) -> None:
        self._options = await self._ask()
        if self.is_attached and not self._options:
            self.query_one(Static).update("there is nothing to choose from: Esc")
        elif self.is_attached:
            options = self.query_one(OptionList)
            options.add_options(Option(inert.line(name), id=str(n)) for n, name in enumerate(self._options))
            options.action_first()

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

    def __init__(self, says: str, text: Callable[[], Awaitable[str | None]]) -> None:
        super().__init__()
        self._says, self._ask = says, text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog tall"):
            yield Static(inert.block(self._says, 2000))
            yield TextArea(read_only=True)
            yield Static(inert.line("Ctrl+S keeps it, Esc leaves it."))
            yield Static(classes="hint")

    @work
    async def on_mount(self) -> None:
        text = await self._ask()
        if text is None:
            self.dismiss(None)
        elif self.is_attached:
            self._edit(text)

    def _edit(self, text: str) -> None:
        shown, editor = inert.editable(text), self.query_one(TextArea)
        editor.text, editor.read_only = shown, False
        self._text, self._begun = text, editor.text  # as the editor has it, which may change ends of lines
        self._cut = len(shown) < len(text.replace("\r\n", "\n"))
        if self._cut or inert.REPLACEMENT in shown:
            self.query_one(".hint", Static).update(inert.line(f"! {_LOST}"))

    def action_keep(self) -> None:
        """Untouched it is the text that came, whatever could be shown of it."""
        editor = self.query_one(TextArea)
        written = editor.text
        if editor.read_only:  # its text has not come yet
            return
        if written == self._begun:
            self.dismiss(self._text)
        elif self._cut or inert.REPLACEMENT in written:
            self.app.bell()  # the hint says why since it was opened
        else:
            self.dismiss(written)

    def action_leave(self) -> None:
        self.dismiss(None)


_LOST = "parts of it cannot be shown, and an edit would lose them: cohort feedback ID --correction TEXT"
