"""The console over HTTP against an appliance that serves: watch, try a prompt, correct, train, promote, roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.http.in_process import trained_here
from tests.http.learnable import SETTINGS, brief, material, text
from tests.http.routed import written
from tests.http.running import Running, chat, running
from tests.tui.test_screens import settled
from tui.client import ApplianceGone, Client, KeyWanted, Refused
from tui.console import Console
from tui.screens.confirm import Choose, Confirm
from tui.screens.form import Form
from tui.widgets.rows import Rows

PATIENCE_S = 400.0


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("console")
    for (cohort, split), lines in material().items():
        written(folder / "examples" / cohort / f"{split}.jsonl", lines)
    with running(folder, tiny_base, SETTINGS) as served, brief(), trained_here():
        yield served


async def until(pilot: Pilot[None], happened: Callable[[], object], patience_s: float = PATIENCE_S) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + patience_s
    while loop.time() < ends:
        if happened():
            return
        await pilot.pause(0.1)
    raise AssertionError(str(pilot.app.query_one("#state", Static).render()))


def cells(pilot: Pilot[None], table: str, row: str) -> list[str]:
    rows = pilot.app.screen.query_one(table, Rows)
    return [str(cell) for cell in rows.get_row(row)] if row in rows.rows else []


async def typed(pilot: Pilot[None], said: str, *keys: str) -> None:
    """Into the dialog on top."""
    pilot.app.screen.query_one(Input).value = said
    for key in ("enter", *keys):
        await pilot.press(key)
    await settled(pilot)


def test_a_day_of_an_operator(appliance: Running) -> None:
    with appliance.http() as client:
        for number in range(3):
            client.post("/v1/chat/completions", json=chat(text(number), model="support")).raise_for_status()
    asyncio.run(_day(appliance))
    assert [row["state"] for row in appliance.operated("GET", "/releases?cohort=legal")] == ["live"]
    (said,) = appliance.rows("SELECT * FROM feedback WHERE correction IS NOT NULL")
    assert (said["correction"], said["use"]) == ("not you", "for")
    actions = {row["action"] for row in appliance.operated("GET", "/audit")}
    assert actions >= {"job.retrain", "release.promote", "release.rollback"}


async def _day(appliance: Running) -> None:
    console = Console(Client(appliance.url, appliance.admin), every_s=0.2)
    async with console.run_test(size=(140, 45)) as pilot:
        await until(pilot, lambda: "3" in cells(pilot, "#traffic", "support"))

        await pilot.press("3", "t")
        await typed(pilot, "where would this go?")
        await until(pilot, lambda: "base, answered by base" in str(pilot.app.query_one("#tried", Static).render()))

        await pilot.press("4")
        await until(pilot, lambda: pilot.app.query_one("#log", Rows).row_count == 3)
        await pilot.press("c")
        await settled(pilot)
        await corrected(pilot)

        await pilot.press("5", "t")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await pilot.press("enter")
        await retrain(pilot, "6")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await typed(pilot, "legal")
        await until(pilot, partial(is_live, appliance, "legal@1"))

        await pilot.press("2")
        await until(pilot, lambda: "@1" in cells(pilot, "#cohort-list", "legal"))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await typed(pilot, "legal")
        await until(pilot, lambda: "the base" in cells(pilot, "#cohort-list", "legal"))

        await pilot.press("enter")
        await until(pilot, lambda: cells(pilot, "#releases", "1"))
        await pilot.press("p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await typed(pilot, "legal")
        await until(pilot, partial(is_live, appliance, "legal@1"))


async def retrain(pilot: Pilot[None], passes: str) -> None:
    """So many passes, and no limit to the minutes."""
    await until(pilot, lambda: isinstance(pilot.app.screen, Form))
    pilot.app.screen.query_one("#epochs", Input).value = passes
    await pilot.press("enter", "enter")
    await settled(pilot)


async def corrected(pilot: Pilot[None]) -> None:
    from textual.widgets import TextArea

    pilot.app.screen.query_one(TextArea).text = "not you"
    await pilot.press("ctrl+s")
    await settled(pilot)


def is_live(appliance: Running, release: str) -> bool:
    return _live(appliance) == release


def _live(appliance: Running) -> str | None:
    live: dict[str, str | None] = appliance.operated("GET", "/status")["live"]
    return live["legal"]


def test_errors_of_the_network_and_of_keys(appliance: Running) -> None:
    async def ask(client: Client) -> None:
        async with client:
            await client.get("status")

    with pytest.raises(KeyWanted):
        asyncio.run(ask(Client(appliance.url, "wrong")))
    with pytest.raises(ApplianceGone, match="does not answer"):
        asyncio.run(ask(Client("http://127.0.0.1:9", "x")))

    async def refused() -> None:
        async with Client(appliance.url, appliance.admin) as client:
            await client.post("promote", cohort="legl")

    with pytest.raises(Refused, match="there is no cohort"):
        asyncio.run(refused())


def test_a_viewer_looks_and_changes_nothing(appliance: Running) -> None:
    async def use() -> None:
        async with Client(appliance.url, appliance.key(scopes=["viewer"])) as client:
            for path in (
                "status",
                "traffic",
                "system",
                "cohorts",
                "releases",
                "interactions",
                "routers",
                "jobs",
                "audit",
            ):
                assert await client.get(path) is not None
            with pytest.raises(Refused, match="lacks the scope"):
                await client.post("rollback", cohort="legal")

    asyncio.run(use())
