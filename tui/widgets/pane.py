"""A part of the console that shows one kind of data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from textual.binding import Binding
from textual.containers import VerticalScroll

from tui.client import Client

if TYPE_CHECKING:
    from tui.console import Console

Data = dict[str, Any]
Work = Callable[[Client], Awaitable[str]]


class Front(Protocol):
    """What is kept fresh: `fetch` runs in a worker and touches no widget, `show` takes what it brought."""

    @property
    def is_attached(self) -> bool: ...

    async def fetch(self, client: Client) -> Data:
        """Raises as the client."""

    def show(self, data: Data) -> None: ...


class Pane(VerticalScroll, can_focus=False):
    """A tab's content, and a Front."""

    BINDINGS = [
        Binding("escape", "leave_field", "To the list", show=False),
        Binding("tab", "app.focus_next", "Next"),
    ]

    async def fetch(self, client: Client) -> Data:
        """Raises as the client."""
        raise NotImplementedError

    def show(self, data: Data) -> None:
        raise NotImplementedError

    def take_focus(self) -> None:
        """When the pane comes to the front."""

    def action_leave_field(self) -> None:
        self.take_focus()

    @property
    def console(self) -> Console:
        return cast("Console", self.app)
