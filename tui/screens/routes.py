"""Routes: where requests went and why, how sure that was, and a dry run."""

from __future__ import annotations

import re
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.widgets import Input, Static

from appliance.wire.operator import RouteReply
from tui import inert, words
from tui.client import Client, together
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows

_BRIEF = 300  # so much a list has of a text

NEWEST = 100


class Routes(Pane):
    BINDINGS = [Binding("t", "try", "Try a prompt"), Binding("b", "back", "Router before")]

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._routers: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        yield Input(placeholder="try a prompt, metadata before it: tenant=acme tier=gold May we sublet?", id="prompt")
        yield Static(id="tried")
        yield Rows(
            f"time, {words.zone()}",
            "cohort",
            "sure",
            "asked",
            "layer",
            "reason",
            "release",
            id="decisions",
            empty="none yet",
            follow=True,
        )
        with Horizontal(id="router"):
            yield Static(id="histogram")
            yield Confusion(id="confusion")

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    async def fetch(self, client: Client) -> Data:
        log, traffic, routers, status = await together(
            client.get("interactions", limit=NEWEST, brief="true", origin="live"),
            client.get("traffic", minutes=60),
            client.get("routers"),
            client.get("status"),
        )
        return {"log": log, "traffic": traffic, "routers": routers, "status": status}

    def show(self, data: Data) -> None:
        self._routers = data["routers"]
        self.query_one(Rows).show([(one["id"], row(one)) for one in data["log"]])
        router = data["status"]["router"]
        self.query_one("#histogram", Static).update(
            histogram(data["traffic"]["confidence"], router, data["traffic"]["seconds"])
        )
        live = next((one for one in data["routers"] if one["state"] == "live"), None)
        self.query_one(Confusion).show(live)

    def action_back(self) -> None:
        self.console.switch_router(self._routers)

    def action_try(self) -> None:
        self.query_one("#prompt", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        metadata, text = prompt(event.value)
        self.take_focus()
        if text or metadata:
            self.console.act(lambda client: self._try(client, metadata, text), quiet=True)

    async def _try(self, client: Client, metadata: dict[str, str], text: str) -> str:
        reply = await client.post("route", text=text, metadata=metadata)
        found = RouteReply.model_validate(reply, extra="ignore")
        self.query_one("#tried", Static).update(tried(found, metadata))
        return f"it would go to {found.cohort}"


class Confusion(Static):
    """Where rows of each cohort went; drawn anew when it gets another width."""

    known = False
    router: dict[str, Any] | None = None

    def show(self, router: dict[str, Any] | None) -> None:
        self.known, self.router = True, router
        self.on_resize()

    def on_resize(self) -> None:
        if self.known:
            self.update(confusion(self.router, self.size.width))


def prompt(typed: str) -> tuple[dict[str, str], str]:
    """Metadata, and the prompt after it: words like tenant=acme at the beginning, which `--` ends."""
    metadata: dict[str, str] = {}
    rest = typed.strip()
    while found := re.match(r"([A-Za-z][\w.-]*)=(\S+)(?:\s+|$)", rest):
        metadata[found[1]] = found[2]
        rest = rest[found.end() :]
    return metadata, re.sub(r"^--(\s+|$)", "", rest)


def row(one: dict[str, Any]) -> list[Cell]:
    return [
        words.clock(one["created"]),
        one["cohort"],
        words.percent(one["confidence"]),
        inert.line(asked(one), 28),
        one["layer"],
        one["reason"],
        one["release"],
    ]


def asked(one: dict[str, Any]) -> str:
    """The last thing that was said to the model."""
    messages = one["messages"]
    content = messages[-1]["content"] if messages else ""
    return content if isinstance(content, str) else f"{len(content)}{'+' if len(content) >= _BRIEF else ''} token ids"


def tried(found: RouteReply, metadata: dict[str, str]) -> Text:
    """Where it would go, and what each layer that read it gives every cohort."""
    text = Text()
    text.append(f"{found.cohort}", "bold")
    text.append(
        f", answered by {found.release}; layer {found.layer}, {found.reason}, sure {words.percent(found.confidence)}"
    )
    if metadata:
        text.append(inert.plain(f"; with {', '.join(f'{name} {value}' for name, value in metadata.items())}", 200))
    for layer, scores in found.scores.items():
        text.append(f"\n  {layer:<10}")
        for name, score in sorted(scores.items(), key=lambda one: -one[1]):
            text.append(f" {inert.plain(name, 12)} {words.bar(score, 5)} {score:.2f} ")
    return text


def histogram(counts: list[int], router: dict[str, Any] | None, seconds: float) -> Text:
    """Confidences of decisions by text, with the threshold of the classifier below it."""
    if not sum(counts):
        return Text(f"confidence: no decision by text in the last {words.duration(seconds)}")
    lines = [
        f"confidence by text, last {words.duration(seconds)}",
        *words.columns([n for n in counts for _ in (0, 1)], 4),
    ]
    threshold = router["threshold"] if router else None
    scale = "0 %" + " " * (2 * len(counts) - 8) + "100 %"
    if threshold is not None:
        at = min(int(threshold * 2 * len(counts)), 2 * len(counts) - 1)
        lines.append("─" * at + "▲" + "─" * (2 * len(counts) - at - 1))
        scale += f"  ▲ threshold {words.percent(threshold)}"
    return Text("\n".join([*lines, scale]), no_wrap=True)


def confusion(router: dict[str, Any] | None, width: int) -> Text:
    """Of the router in force, on the rows it was judged by; its columns share the width that there is."""
    if router is None:
        return Text("no text router: cohort router fit, or o on the jobs screen")
    found = router["report"].get("confusion", {})
    names = sorted({name for row in found.values() for name in row} | set(found))
    cell = max(4, min(9, (width - 9) // max(len(names), 1)))
    short = {name: inert.plain(name, 7) for name in names}
    lines = [f"router@{router['version']}: where rows of each cohort (left) went (above)"]
    lines.append(" " * 9 + "".join(f"{inert.plain(name, cell - 2):>{cell}}" for name in names))
    for name in names:
        cells = [found.get(name, {}).get(to, 0) for to in names]
        if any(cells):
            lines.append(f"{short[name]:<9}" + "".join(f"{n or '.':>{cell}}" for n in cells))
    return Text("\n".join(lines), no_wrap=True)
