"""System: versions, base, disk, the configuration as it was read, warnings, and what operators did."""

from __future__ import annotations

import json
from typing import Any

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from appliance.wire.watch import System as Machine
from tui import inert, words
from tui.client import Client, together
from tui.screens.live import alarms, needed
from tui.widgets.pane import Data, Pane
from tui.widgets.rows import Cell, Rows


class System(Pane):
    def compose(self) -> ComposeResult:
        yield Static(id="warnings")
        yield Static(id="machine")
        yield Static(Text("What operators did", "bold"))
        yield Rows(f"when, {words.zone()}", "key", "action", "on", "before", "after", id="audit", empty="nothing yet")
        yield Static(Text("The configuration as it was read", "bold"))
        yield Static(id="config")

    def take_focus(self) -> None:
        self.query_one(Rows).focus()

    async def fetch(self, client: Client) -> Data:
        system, status, audit = await together(
            client.get("system"), client.get("status"), client.get("audit", limit=50)
        )
        return {"system": system, "status": status, "audit": audit}

    def show(self, data: Data) -> None:
        machine = Machine.model_validate(data["system"], extra="ignore")
        found = alarms(needed(data["status"])) or Text("nothing needs a person")
        self.query_one("#warnings", Static).update(found)
        self.query_one("#machine", Static).update(told(machine, data["status"]))
        self.query_one(Rows).show([(str(one["seq"]), row(one)) for one in data["audit"]])
        self.query_one("#config", Static).update(
            inert.block(json.dumps(machine.config, indent=1, ensure_ascii=False))
        )


def told(machine: Machine, status: dict[str, Any]) -> Text:
    base, router = machine.base, status["router"]
    threshold = words.percent(router["threshold"]) if router else ""
    lines = [
        "versions   " + ", ".join(f"{name} {version}" for name, version in machine.versions.items()),
        "base       " + (f"{base['id']}, {base['format']}, sha256 {base['digest'][:16]}" if base else words.NONE),
        "router     " + (f"{router['version']}, threshold {threshold}" if router else "none"),
        f"home       {machine.home}, database {words.size(machine.database_bytes)}, "
        f"{words.size(machine.disk_free_bytes)} of disk free",
        f"memory     {words.size(machine.memory_bytes)} used, {words.size(machine.memory_free_bytes)} free",
        f"keys       {'none: open to this machine' if status['open_without_keys'] else 'demanded'}",
    ]
    return inert.block("\n".join(lines))


def row(one: dict[str, Any]) -> list[Cell]:
    return [
        f"{words.day(one['created'])} {words.clock(one['created'])}",
        one["key_id"] or words.NONE,
        one["action"],
        one["object"],
        inert.line(json.dumps(one["before"], ensure_ascii=False), 60),
        inert.line(json.dumps(one["after"], ensure_ascii=False), 100),
    ]
