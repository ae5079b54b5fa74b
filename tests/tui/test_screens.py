"""Every screen as a picture: busy, empty, and with an appliance that does not answer; small and large."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import pytest
from textual.pilot import Pilot

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


def showing(name: str) -> Callable[[Pilot[None]], object]:
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


@pytest.mark.parametrize(
    "keys",
    [["2", "enter"], ["4", "enter"], ["2", "p"], ["5", "j"], ["question_mark"]],
    ids=["cohort", "request", "promotion", "verdict", "help"],
)
def test_what_lies_on_top(snap_compare: Snap, keys: list[str]) -> None:
    async def press(pilot: Pilot[None]) -> None:
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)

    assert snap_compare(Console(Canned(), every_s=3600), terminal_size=(100, 30), run_before=press)
