"""The console: screens over the operator API, kept fresh, and never in the appliance's way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from textual import work
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static, TabbedContent, TabPane

from tui import inert
from tui.actions import Actions
from tui.client import ApplianceGone, Client, KeyWanted, Refused
from tui.messages import Done, Fetched, Lost, Trouble, WantsKey
from tui.screens.cohort import CohortScreen
from tui.screens.cohorts import Cohorts
from tui.screens.confirm import Ask
from tui.screens.help import Help
from tui.screens.interaction import InteractionScreen
from tui.screens.interactions import Interactions
from tui.screens.jobs import Jobs
from tui.screens.live import Live
from tui.screens.routes import Routes
from tui.screens.system import System
from tui.widgets.pane import Pane, Work

EVERY_S = 2.0
T = TypeVar("T")
Front: TypeAlias = Pane | CohortScreen | InteractionScreen  # what is filled
PANES: tuple[tuple[str, type[Pane]], ...] = (
    ("live", Live),
    ("cohorts", Cohorts),
    ("routes", Routes),
    ("interactions", Interactions),
    ("jobs", Jobs),
    ("system", System),
)


class Console(Actions):
    """Workers ask and post messages; the handlers below own the state."""

    TITLE = "Cohort appliance"
    CSS_PATH = "console.tcss"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]
    BINDINGS = [
        *(Binding(str(n), f"bring('{name}')", name.capitalize(), show=False) for n, (name, _) in enumerate(PANES, 1)),
        Binding("slash", "search", "Search"),
        Binding("r", "refresh", "Refresh", show=False),
        Binding("question_mark", "help", "Help"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        super().__init__()
        self.client, self._every_s = client, every_s
        self._asking_since: float | None = None
        self._lost_since: datetime | None = None
        self._asked_for_key: str | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        with TabbedContent(initial="live"):
            for number, (name, pane) in enumerate(PANES, 1):
                with TabPane(f"{number} {name.capitalize()}", id=name):
                    yield pane(id=f"{name}-pane")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._state("○ asking")
        self.set_interval(self._every_s, self.refresh_now)
        self.refresh_now()

    async def on_unmount(self) -> None:
        await self.client.__aexit__(None, None, None)

    @property
    def pane(self) -> Pane | None:
        """The one in front; none while the console closes."""
        active = [tabs.active for tabs in self.query(TabbedContent)]
        found = [pane for name in active for pane in self.query(f"#{name}-pane").results(Pane)]
        return found[0] if found else None

    # -- asking ------------------------------------------------------------------------------------------------------

    def refresh_now(self) -> None:
        """Fill what is in front; one question at a time, however slow the answer is."""
        top = self.screen if isinstance(self.screen, CohortScreen | InteractionScreen) else None
        pane = self.pane
        if self._asking_since is not None:
            if monotonic() - self._asking_since > 2 * self._every_s + 1:
                self._state(f"○ {self.client.url} is slow: waiting for its answer")
        elif top is not None:
            self._ask(top)
        elif len(self.screen_stack) == 1 and pane is not None:
            self._ask(pane)

    def _ask(self, front: Front) -> None:
        self._asking_since = monotonic()
        self._poll(front)

    @work(group="poll")
    async def _poll(self, front: Front) -> None:
        try:
            data = await self.asked(front.fetch)
            if data is not None and front.is_attached:
                self.post_message(Fetched(front, data))
        finally:
            self._asking_since = None

    async def asked(self, question: Callable[[Client], Awaitable[T]]) -> T | None:
        """Its answer; None when there was none, which the top line tells."""
        try:
            return await question(self.client)
        except ApplianceGone as error:
            self.post_message(Lost(str(error)))
        except KeyWanted as error:
            self.post_message(WantsKey(str(error)))
        except Refused as error:
            self.post_message(Trouble(str(error)))
        except (LookupError, TypeError, ValueError) as error:  # an appliance of another version
            self.post_message(Trouble(f"what came cannot be read ({error!r})"))
        return None

    def act(self, work: Work) -> None:
        """Change something, beside the screen, and tell what came of it."""
        self._act(work)

    @work(group="act")
    async def _act(self, work: Work) -> None:
        try:
            self.post_message(Done(await work(self.client)))
        except ApplianceGone as error:
            self.post_message(Done(f"not confirmed, look whether it was done: {error}", refused=True))
        except KeyWanted as error:
            self.post_message(WantsKey(str(error)))
        except Refused as error:
            self.post_message(Done(str(error), refused=True))

    # -- what came of it ---------------------------------------------------------------------------------------------

    def on_fetched(self, event: Fetched) -> None:
        self._lost_since, self._asked_for_key = None, None
        self._state(f"● {self.client.url}")
        try:
            if event.front.is_attached:
                event.front.show(event.data)
        except (LookupError, TypeError, ValueError) as error:
            self._state(f"! what came cannot be shown ({error!r}): is the appliance of another version?", "bold red")

    def on_lost(self, event: Lost) -> None:
        self._lost_since = self._lost_since or datetime.now().astimezone()
        since = self._lost_since.strftime("%H:%M:%S")
        self._state(f"! since {since}: {event.why}; asking again. What is shown is old.", style="bold red")

    def on_trouble(self, event: Trouble) -> None:
        self._state(f"! {event.why}", style="bold red")

    def on_wants_key(self, event: WantsKey) -> None:
        """Asked once for each key that is refused; r asks again."""
        self._state(f"! {event.why}; r gives another key", style="bold red")
        if self._asked_for_key != self.client.key and not isinstance(self.screen, ModalScreen):
            self._asked_for_key = self.client.key
            says = f"{event.why}\n\nAn operator's key for {self.client.url}; COHORT_HOME/admin.key holds one."
            self.push_screen(Ask(says, placeholder="key", secret=True), self._take_key)

    def _take_key(self, key: str | None) -> None:
        if key:
            self.client.key = key
            self.refresh_now()

    def on_done(self, event: Done) -> None:
        says = inert.plain(event.says, 500)
        self.notify(says, severity="error" if event.refused else "information", markup=False)
        self.refresh_now()

    def _state(self, says: str, style: str = "") -> None:
        """In the top line of every screen; there is none when the console is closing."""
        for screen in self.screen_stack:
            for line in screen.query("#state").results(Static):
                line.update(inert.line(f"{self.TITLE}  {says}", 300, style))

    # -- keys --------------------------------------------------------------------------------------------------------

    def action_bring(self, pane: str) -> None:
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self.query_one(TabbedContent).active = pane

    def on_tabbed_content_tab_activated(self) -> None:
        pane = self.pane
        if pane is not None and (self.focused is None or pane not in self.focused.ancestors):
            pane.take_focus()  # else a search has taken it already
        self.refresh_now()

    def action_search(self) -> None:
        self.action_bring("interactions")
        self.query_one(Interactions).search()

    def action_refresh(self) -> None:
        self._asked_for_key = None
        self.refresh_now()

    def action_help(self) -> None:
        self.push_screen(Help())

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for name, _ in PANES:
            yield SystemCommand(name.capitalize(), f"Show {name}", lambda name=name: self.action_bring(name))
        for kind in ("retrain", "evaluate", "attribute", "curve", "router/fit"):
            yield SystemCommand(f"Begin: {kind}", "As a job", lambda kind=kind: self.begin(kind))
