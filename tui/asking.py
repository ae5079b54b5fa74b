"""How the console asks: one look at a time at what is in front, and changes beside it."""

from __future__ import annotations

from asyncio import timeout
from collections.abc import Awaitable, Callable
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar

from textual import work
from textual.app import App
from textual.screen import ModalScreen, Screen
from textual.widgets import Input, Static
from textual.worker import Worker

from tui import inert
from tui.client import ApplianceGone, Client, Forbidden, KeyWanted, Refused
from tui.messages import Done, Fetched, Lost, Trouble, WantsKey
from tui.screens.confirm import Ask
from tui.widgets.pane import Front, Work

EVERY_S = 2.0
LOOK_S = 30.0  # for all questions of one look together
T = TypeVar("T")


class Asking(App[None]):
    """Workers ask and post messages; the handlers below own the state."""

    TITLE = "Cohort appliance"

    def __init__(self, client: Client, every_s: float = EVERY_S) -> None:
        super().__init__()
        self.client, self._every_s = client, every_s
        self._look: Worker[None] | None = None  # the one under way, of `_looked_at`, since `_asking_since`
        self._looked_at: Front | None = None
        self._asking_since = 0.0
        self._again = False
        self._lost_since: datetime | None = None
        self._asked_for_key: str | None = None
        self._says, self._told = ("○ asking", ""), inert.line("")
        self.changing = 0
        self.warned = False  # that a change is under way, to who wants to leave

    @property
    def front(self) -> Front | None:
        """What is seen, a dialog over it or not; nothing while the console closes."""
        raise NotImplementedError

    def on_mount(self) -> None:
        self._state()
        self.set_interval(self._every_s, self._tick)
        self.refresh_now()

    async def on_unmount(self) -> None:
        await self.client.__aexit__(None, None, None)

    def _tick(self) -> None:
        if self._look is None:
            self.refresh_now()
        elif self._lost_since is None and monotonic() - self._asking_since > 2 * self._every_s + 1:
            self._state(f"○ {self.client.url} is slow: waiting for its answer")

    def refresh_now(self) -> None:
        """Fill what is in front. One look at a time: what was left is not waited for, the same is asked once more."""
        front = self.front
        if front is None:
            return
        if self._look is not None and self._looked_at is front:
            self._again = True
            return
        if self._look is not None:
            self._look.cancel()
        self._looked_at, self._asking_since = front, monotonic()
        self._look = self._ask(front)

    @work(group="look")
    async def _ask(self, front: Front) -> None:
        own = self._look
        try:
            data = await self.asked(front.fetch)
            if data is not None and front.is_attached:
                self.post_message(Fetched(front, data))
        finally:
            if self._look is own:
                self._look, again, self._again = None, self._again, False
                if again:
                    self.call_later(self.refresh_now)

    async def asked(self, question: Callable[[Client], Awaitable[T]]) -> T | None:
        """Its answer; None when there was none, which the top line tells."""
        try:
            async with timeout(LOOK_S):
                return await question(self.client)
        except ApplianceGone as error:
            self.post_message(Lost(str(error)))
        except TimeoutError:
            self.post_message(Lost(f"{self.client.url} has not answered for {LOOK_S:.0f} s"))
        except (KeyWanted, Forbidden) as error:  # one that may not look is of no use here
            self.post_message(WantsKey(str(error)))
        except Refused as error:
            self.post_message(Trouble(str(error)))
        except Exception as error:
            self.post_message(Trouble(_unreadable(error)))
        return None

    def act(self, work: Work, *, quiet: bool = False) -> None:
        """Change something, beside the screen, and tell what came of it; `quiet` when the screen itself shows it."""
        self._act(work, quiet=quiet)

    @work(group="act")
    async def _act(self, work: Work, *, quiet: bool) -> None:
        self.changing += 1
        self._state()
        try:
            self.post_message(Done(await work(self.client), quiet=quiet))
        except ApplianceGone as error:
            self.post_message(Done(f"not confirmed, look whether it was done: {error}", refused=True))
        except KeyWanted as error:
            self.post_message(Done(f"not done: {error}", refused=True))
            self.post_message(WantsKey(str(error)))
        except Refused as error:
            self.post_message(Done(str(error), refused=True))
        except Exception as error:
            self.post_message(Done(f"look whether it was done: {_unreadable(error)}", refused=True))
        finally:
            self.changing -= 1
            self.warned = self.warned and self.changing > 0
            self._state()

    def drawn(self, draw: Callable[[], None]) -> None:
        """What came may be of another version: then the top line says so, and the console goes on."""
        try:
            draw()
        except Exception as error:
            self._state(f"! {_unreadable(error)}", "bold red")

    # -- what came of it ---------------------------------------------------------------------------------------------

    def on_fetched(self, event: Fetched) -> None:
        self._lost_since, self._asked_for_key = None, None
        status = event.data.get("status")  # of the appliance, or of a request
        status = status if isinstance(status, dict) else {}
        ready = status.get("phase", "ready") == "ready"
        self._state("● " if ready else f"○ {status['phase']}, {status.get('doing')}: ", url=True)
        if event.front.is_attached:
            self.drawn(lambda: event.front.show(event.data))

    def on_lost(self, event: Lost) -> None:
        self._lost_since = self._lost_since or datetime.now().astimezone()
        since = self._lost_since.strftime("%H:%M:%S")
        self._state(f"! no answer since {since}, what is shown is OLD; asking again. {event.why}", "bold red")

    def on_trouble(self, event: Trouble) -> None:
        self._state(f"! {event.why}", "bold red")

    def on_wants_key(self, event: WantsKey) -> None:
        """Asked once for each key that is refused, and never into what somebody types; r asks again."""
        self._state(f"! {event.why}; r gives another key", "bold red")
        typing = isinstance(self.screen, ModalScreen) or isinstance(self.focused, Input)
        if self._asked_for_key != self.client.key and not typing:
            self._asked_for_key = self.client.key
            says = f"{event.why}\n\nAn operator's key for {self.client.url}; COHORT_HOME/admin.key holds one."
            self.push_screen(Ask(says, placeholder="key", secret=True), self._take_key)

    def _take_key(self, key: str | None) -> None:
        if key:
            self.client.key = key
            self.refresh_now()

    def on_done(self, event: Done) -> None:
        if event.refused or not event.quiet:
            says = inert.plain(event.says, 500)
            self.notify(says, severity="error" if event.refused else "information", markup=False)
        self.refresh_now()

    def _state(self, says: str | None = None, style: str = "", *, url: bool = False) -> None:
        """In the top line of every screen, and kept for those to come; the last once more if nothing is said."""
        if says is not None:
            self._says = (f"{says}{self.client.url}" if url else says, style)
        said, style = self._says
        under_way = f"({self.changing} under way) " if self.changing else ""
        self._told = inert.line(f"{self.TITLE}  {under_way}{said}", 300, style)
        for screen in self.screen_stack:
            self.tell_state(screen)

    def tell_state(self, screen: Screen[Any]) -> None:
        for line in screen.query("#state").results(Static):
            line.update(self._told)


def _unreadable(error: Exception) -> str:
    return f"what came cannot be shown; is the appliance of another version? {type(error).__name__}: {error}"
