"""One request: what was asked, where it went and why, what was answered, how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Footer, Static

from tui import inert, words
from tui.client import Client, part
from tui.widgets.rows import MOVE

if TYPE_CHECKING:
    from tui.console import Console
    from tui.screens.interactions import Interactions


_RATE = Binding.Group("Rate", compact=True)
_USE = Binding.Group("Use", compact=True)
_STEP = Binding.Group("Next, before", compact=True)
REVIEW = (  # of the row under the cursor, in the queue and in the whole request
    Binding("+,plus", "say('rating', 1)", "Good", group=_RATE),
    Binding("-,minus", "say('rating', -1)", "Bad", group=_RATE),
    Binding("f", "say('use', 'for')", "Train on it", group=_USE),
    Binding("a", "say('use', 'against')", "Never train on it", group=_USE),
    Binding("o", "say('use', 'none')", "Neither", show=False),
    Binding("c", "correct", "Fix"),
    Binding("w", "belongs", "Where"),
)


class InteractionScreen(Screen[None]):
    """The request under the cursor of the queue, whole; what is said of it goes through the queue to the next."""

    BINDINGS = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("j,down", "scroll(1)", "Down", group=MOVE),
        Binding("k,up", "scroll(-1)", "Up", group=MOVE),
        Binding("n,right", "step('down')", "Next", group=_STEP),
        Binding("p,left", "step('up')", "Before", group=_STEP),
        *REVIEW,
    ]

    def __init__(self, queue: Interactions) -> None:
        super().__init__()
        self._queue = queue
        self._shown, self._data = "", dict[str, Any]()

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        yield Static(id="which", classes="title")
        with VerticalScroll():
            yield Static(id="request")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self._operator.tell_state(self)
        self._turn()

    @property
    def _operator(self) -> Console:
        return cast("Console", self.app)

    def _turn(self) -> None:
        """To the row under the queue's cursor."""
        chosen = self._queue.chosen
        self._shown = chosen["id"] if chosen else ""
        self.query_one("#which", Static).update(inert.line(f"Request {self._shown}", 60, "bold"))
        if self._data.get("id") != self._shown:  # or what is said would be of what is not seen
            self._data = {}
            self.query_one("#request", Static).update("asking ...")
        self.query_one(VerticalScroll).scroll_home(animate=False)
        self._operator.refresh_now()

    async def fetch(self, client: Client) -> dict[str, Any]:
        found: dict[str, Any] = await client.get(f"interactions/{part(self._shown)}")
        return found

    def show(self, data: dict[str, Any]) -> None:
        if data["id"] == self._shown and data != self._data:
            self.query_one("#request", Static).update(told(data))
            self._data = data

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)

    def action_step(self, way: str) -> None:
        table = self._queue.table
        table.action_cursor_down() if way == "down" else table.action_cursor_up()
        self._turn()

    def action_say(self, what: str, value: object) -> None:
        if self._seen():
            self._queue.action_say(what, value)
            self._turn()

    def action_correct(self) -> None:
        if self._seen():
            self._queue.correct(self._turn)

    def action_belongs(self) -> None:
        if self._seen():
            self._queue.belongs(self._turn)

    def _seen(self) -> bool:
        """Nobody judges what is not there yet."""
        if not self._data:
            self.app.bell()
        return bool(self._data)


def told(one: dict[str, Any]) -> Text:
    text = Text(overflow="fold")
    sure = "" if one["confidence"] is None else f", sure {words.percent(one['confidence'])}"
    _line(text, "went to", f"{one['cohort']} by {one['layer']} ({one['reason']}{sure}), answered by {one['release']}")
    for layer, scores in one["scores"].items():
        shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items() if isinstance(score, int | float))
        _line(text, layer, shown)
    _line(text, "state", f"{one['status']}, {one['finish_reason'] or words.NONE}; {one['error'] or 'no error'}")
    times = (one[name] for name in ("queue_ms", "ttft_ms", "total_ms"))
    waited, first, whole = (words.milliseconds(value) for value in times)
    _line(text, "took", f"waited {waited}, first token {first}, in all {whole}")
    _line(text, "tokens", f"{one['prompt_tokens']} of the prompt, {one['completion_tokens']} of the answer")
    at = f"{words.local(one['created']):%Y-%m-%d %H:%M:%S %Z}"
    _line(text, "at", f"{at}, {one['origin']}, key {one['key_id'] or 'none'}, tenant {one['tenant'] or 'none'}")
    if one.get("metadata"):
        _line(text, "metadata", ", ".join(f"{name} {value}" for name, value in one["metadata"].items()))
    if one.get("session"):
        _line(text, "session", one["session"])
    if one.get("parent_id"):
        _line(text, "part of", one["parent_id"])
    if one.get("sampling"):
        _line(text, "asked for", ", ".join(f"{name} {value}" for name, value in one["sampling"].items()))
    _line(text, "people", _people(one))
    _texts(text, one)
    return text


def _texts(text: Text, one: dict[str, Any]) -> None:
    """What was asked and answered, and what people said of it."""
    for message in one["messages"]:
        text.append(f"\n{inert.plain(message['role'], 20)}\n", "bold")
        text.append(inert.block(message["content"]))
    text.append("\n\nanswer\n", "bold")
    text.append(inert.block(one["answer"]))
    for number, other in enumerate(one.get("alternatives", ()), 2):
        text.append(f"\n\nanswer, choice {number}\n", "bold")
        text.append(inert.block(other))
    for said in ("correction", "comment"):
        if one.get(said):
            text.append(f"\n\n{said}\n", "bold")
            text.append(inert.block(one[said]))


def _people(one: dict[str, Any]) -> str:
    rating = {1: "+ good", -1: "- bad", 0: "0"}.get(one["rating"], "not rated")
    use = {"for": "to be trained on", "against": "never to be trained on"}.get(
        one["use"] or "", "no word on training"
    )
    return f"{rating}; {use}" + (f"; belongs to {one['right_cohort']}" if one["right_cohort"] else "")


def _line(text: Text, name: str, says: str) -> None:
    text.append(f"{name:<11}", "dim")
    text.append(f"{inert.plain(says, 400)}\n")
