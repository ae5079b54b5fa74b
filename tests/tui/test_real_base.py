"""The console on the packaged base: what `test_real` does, with answers that mean something."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from tests.http import few_rows
from tests.http.learnable import retrained
from tests.http.running import Running, chat, running
from tests.tui.test_real import cells, corrected, is_live, retrain, typed, until
from tests.tui.test_screens import settled
from tui.client import Client
from tui.console import Console
from tui.screens.confirm import Choose, Confirm

QUESTION = "What is the capital of France?"


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_day_on_the_packaged_base(tmp_path: Path, real_base: Path) -> None:
    few_rows.write(tmp_path)
    with running(tmp_path, real_base, few_rows.SETTINGS) as appliance:
        assert retrained(appliance, epochs=1, force=True, live=False)["release"] == "legal@1"
        with appliance.http() as client:
            asked = chat(QUESTION, model="legal", max_tokens=20)
            client.post("/v1/chat/completions", json=asked).raise_for_status()
        asyncio.run(_day(appliance))
        (said,) = appliance.rows("SELECT * FROM feedback WHERE correction IS NOT NULL")
        assert (said["correction"], said["use"]) == ("not you", "for")


async def _day(appliance: Running) -> None:
    console = Console(Client(appliance.url, appliance.admin), every_s=0.5)
    async with console.run_test(size=(140, 45)) as pilot:
        await until(pilot, lambda: "1" in cells(pilot, "#traffic", "legal"))

        await pilot.press("3", "t")
        await typed(pilot, "Is the tenant allowed to sublet?")
        await until(pilot, lambda: "base, answered by base" in str(pilot.app.query_one("#tried", Static).render()))

        await pilot.press("4", "c")
        await corrected(pilot)

        await pilot.press("5", "t")
        await settled(pilot)
        await pilot.press("enter")
        await retrain(pilot, "1")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("enter")
        await until(
            pilot, partial(_told, pilot, "enough_rows: 4 eval rows of its own, 50 are needed"), patience_s=600
        )

        await pilot.press("2", "p")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await typed(pilot, "legal")
        await until(pilot, partial(is_live, appliance, "legal@1"))
        await until(pilot, lambda: "@1" in cells(pilot, "#cohort-list", "legal"))
        await pilot.press("b")
        await until(pilot, lambda: isinstance(pilot.app.screen, Confirm))
        await typed(pilot, "legal")
        await until(pilot, lambda: "the base" in cells(pilot, "#cohort-list", "legal"))


def _told(pilot: Pilot[None], says: str) -> bool:
    return says in str(pilot.app.query_one("#job", Static).render())
