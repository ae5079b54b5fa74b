"""Every screen as a picture: busy, empty, and with an appliance that does not answer; small and large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
from textual.pilot import Pilot
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from tests.tui.canned import Canned
from tui import asking
from tui.console import PANES, Console

SIZES = [pytest.param((80, 24), id="small"), pytest.param((140, 45), id="large", marks=pytest.mark.slow)]
STATES = ["busy", "empty", "gone"]
SCREENS = [name for name, _ in PANES]
Snap = Callable[..., bool]


class Noon(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
        return datetime(2026, 11, 22, 12, 0, 0)


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures must not differ by when and where they were taken."""
    monkeypatch.setattr(asking, "datetime", Noon)
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_COLOR_SYSTEM"):  # whoever runs them may have chosen
        monkeypatch.delenv(name, raising=False)


async def settled(pilot: Pilot[None]) -> None:
    for _ in range(3):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


def showing(name: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    async def show(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press(str(SCREENS.index(name) + 1))
        await settled(pilot)

    return show


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", SCREENS)
def test_screen(snap_compare: Snap, name: str, state: str, size: tuple[int, int]) -> None:
    client = Canned(busy=state == "busy", gone=state == "gone")
    assert snap_compare(Console(client, every_s=3600), terminal_size=size, run_before=showing(name))


ON_TOP = {
    "cohort": ["2", "enter"],
    "request": ["4", "enter"],
    "promotion": ["2", "p"],
    "rollback": ["2", "b"],
    "retrain": ["2", "t"],
    "passing": ["2", "t", "enter", "enter"],
    "of which": ["5", "a"],
    "correction": ["4", "c"],
    "verdict": ["5", "j"],
    "help": ["question_mark"],
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("keys", ON_TOP.values(), ids=ON_TOP)
def test_what_lies_on_top(snap_compare: Snap, keys: list[str], size: tuple[int, int]) -> None:
    async def press(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    assert snap_compare(Console(Canned(), every_s=3600), terminal_size=size, run_before=press)


@pytest.mark.parametrize("name", SCREENS)
def test_the_keys_fit_into_a_small_footer(name: str) -> None:
    """Those that move about are there, and none is cut off."""

    async def run() -> None:
        async with Console(Canned(), every_s=3600).run_test(size=(80, 24)) as pilot:
            await showing(name)(pilot)
            footer = pilot.app.query_one(Footer)
            assert all(key.region.right <= 80 for key in footer.query(FooterKey))
            shown = {key.key for key in footer.query(FooterKey)}
            assert shown >= {"tab", "j", "k", "slash", "question_mark", "q"}
            assert ("enter" in shown) is (name in ("cohorts", "interactions"))

    asyncio.run(run())
