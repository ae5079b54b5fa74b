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

if TYPE_CHECKING:
    from tui.console import Console


class InteractionScreen(Screen[None]):
    BINDINGS = [
        Binding("escape,q", "app.pop_screen", "Back"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, request_id: str) -> None:
        super().__init__()
        self.request_id = request_id

    def compose(self) -> ComposeResult:
        yield Static(id="state")
        yield Static(inert.line(f"Request {self.request_id}", 60, "bold"), classes="title")
        with VerticalScroll():
            yield Static(id="request")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        cast("Console", self.app).refresh_now()

    async def fetch(self, client: Client) -> dict[str, Any]:
        found: dict[str, Any] = await client.get(f"interactions/{part(self.request_id)}")
        return found

    def show(self, data: dict[str, Any]) -> None:
        self.query_one("#request", Static).update(told(data))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


def told(one: dict[str, Any]) -> Text:
    text = Text(overflow="fold")
    sure = "" if one["confidence"] is None else f", sure {one['confidence']:.2f}"
    _line(text, "went to", f"{one['cohort']} by {one['layer']} ({one['reason']}{sure}), answered by {one['release']}")
    for layer, scores in one["scores"].items():
        shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items() if isinstance(score, int | float))
        _line(text, layer, shown)
    _line(text, "state", f"{one['status']}, {one['finish_reason'] or words.NONE}; {one['error'] or 'no error'}")
    times = (one[name] for name in ("queue_ms", "ttft_ms", "total_ms"))
    waited, first, whole = (words.milliseconds(value) for value in times)
    _line(text, "took", f"waited {waited}, first token {first}, in all {whole}")
    _line(text, "tokens", f"{one['prompt_tokens']} of the prompt, {one['completion_tokens']} of the answer")
    _line(text, "at", f"{one['created']}, key {one['key_id'] or 'none'}, tenant {one['tenant'] or 'none'}")
    _line(text, "rated", {1: "+ good", -1: "- bad", 0: "0"}.get(one["rating"], "not yet"))
    for message in one["messages"]:
        text.append(f"\n{inert.plain(message['role'], 20)}\n", "bold")
        text.append(inert.block(message["content"]))
    text.append("\n\nanswer\n", "bold")
    text.append(inert.block(one["answer"]))
    return text


def _line(text: Text, name: str, says: str) -> None:
    text.append(f"{name:<10}", "dim")
    text.append(f"{inert.plain(says, 400)}\n")
