"""The console: screens over the operator API, kept fresh, and never in the appliance's way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane, Tabs

from tui.asking import EVERY_S
from tui.begin import JOBS, Begin
from tui.client import Client
from tui.screens.cohort import CohortScreen
from tui.screens.cohorts import Cohorts
from tui.screens.help import Help
from tui.screens.interaction import InteractionScreen
from tui.screens.interactions import Interactions
from tui.screens.jobs import Jobs
from tui.screens.live import Live
from tui.screens.routes import Routes
from tui.screens.system import System
from tui.widgets.pane import Front, Pane

PANES: tuple[tuple[str, type[Pane]], ...] = (
    ("live", Live),
    ("cohorts", Cohorts),
    ("routes", Routes),
    ("interactions", Interactions),
    ("jobs", Jobs),
    ("system", System),
)


class Console(Begin):
    """Six panes, the keys, and what lies on top of them."""

    CSS_PATH = "console.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]
    BINDINGS = [
        *(Binding(str(n), f"bring('{name}')", name.capitalize(), show=False) for n, (name, _) in enumerate(PANES, 1)),
        Binding("slash", "search", "Find"),
        Binding("r", "refresh", "Refresh", show=False),
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        super().__init__(client, every_s)

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        with TabbedContent(initial="live"):
            for number, (name, pane) in enumerate(PANES, 1):
                with TabPane(f"{number} {name.capitalize()}", id=name):
                    yield pane(id=f"{name}-pane")
        yield Footer(show_command_palette=False, compact=True)

    @property
    def pane(self) -> Pane | None:
        """The one in front; none while the console closes."""
        active = [tabs.active for tabs in self.query(TabbedContent)]
        found = [pane for name in active for pane in self.query(f"#{name}-pane").results(Pane)]
        return found[0] if found else None

    @property
    def front(self) -> Front | None:
        below = [screen for screen in self.screen_stack if not isinstance(screen, ModalScreen)]
        top = below[-1] if below else None
        return top if isinstance(top, CohortScreen | InteractionScreen) else self.pane

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_bring(self, pane: str) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.set_focus(None)  # else the tab bar keeps it
        self.query_one(TabbedContent).active = pane
        if self.pane is not None:
            self.pane.take_focus()

    def on_tabbed_content_tab_activated(self) -> None:
        """The list has the focus, unless a search has taken it, or somebody goes along the tabs."""
        pane = self.pane
        within = self.focused.ancestors if self.focused is not None else []
        if pane is not None and pane not in within and not isinstance(self.focused, Tabs):
            pane.take_focus()
        self.refresh_now()

    def action_search(self) -> None:
        self.action_bring("interactions")
        self.query_one(Interactions).search()

    def action_refresh(self) -> None:
        self._asked_for_key = None
        self.refresh_now()

    def action_help(self) -> None:
        self.push_screen(Help())

    async def action_quit(self) -> None:
        """Asks once more while a change is under way: whether it was done would not be seen."""
        if self.changing and not self.warned:
            self.warned = True
            self.notify("a change is under way; q once more leaves it to the appliance", severity="warning")
            return
        self.exit()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for name, _ in PANES:
            yield SystemCommand(name.capitalize(), f"Show {name}", lambda name=name: self.action_bring(name))
        yield SystemCommand("Search", "The log", self.action_search)
        for kind in JOBS:
            yield SystemCommand(f"Begin: {kind}", "As a job", lambda kind=kind: self.action_begin(kind))
