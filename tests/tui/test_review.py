"""The review queue: what is marked, corrected and gone through, and nothing lost on the way."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot
from textual.widgets import TextArea

from tests.tui.canned import Canned, interaction
from tests.tui.test_disorder import log
from tests.tui.test_keyboard import opened, pressed, said
from tui.screens.confirm import Write
from tui.screens.interaction import InteractionScreen


@pytest.mark.parametrize(
    ("answer", "typed", "sent"),
    [
        ("if x:\n\treturn", "", "if x:\n\treturn"),
        ("one\r\ntwo", "", "one\r\ntwo"),
        ("a\u2028b", "", "a\u2028b"),
        ("if x:\n\treturn", "!", "!if x:\n\treturn"),
        ("a\u2028b", "!", None),
        ("x" * 30_000, "!", None),
    ],
)
def test_an_editor_loses_nothing_that_it_cannot_show(
    answer: str, typed: str, sent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Canned()
    monkeypatch.setattr("tests.tui.canned.interaction", lambda number: {**interaction(number), "answer": answer})

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "c")
        editor = pilot.app.screen.query_one(TextArea)
        editor.text = typed + editor.text
        await pressed(pilot, "ctrl+s")
        assert [given["correction"] for _, given in client.told] == ([sent] if sent else [])
        assert isinstance(pilot.app.screen, Write) is (sent is None)

    opened(client, use)


def test_a_request_is_shown_with_all_that_was_said_and_answered() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "enter")
        told = said(pilot, "#request")
        for wanted in ("matter lease 7", "desk-3", "temperature 0.2", "choice 2", "Yes, with consent."):
            assert wanted in told

    opened(Canned(), use)


def test_a_correction_from_the_whole_request_brings_the_next() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "enter", "c", "ctrl+s")
        assert isinstance(pilot.app.screen, InteractionScreen) and interaction(1)["id"] in said(pilot, "#which")
        await pressed(pilot, "c", "escape", "w", "enter")
        assert interaction(2)["id"] in said(pilot, "#which"), "what was left says nothing, and stays"
        assert [name for name, _ in client.told] == [interaction(n)["id"] for n in (0, 1)]

    opened(client, use)


def test_the_queue_is_reviewed_from_the_whole_request() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "enter", "plus", "n", "f", "p", "q")
        assert [name for name, _ in client.told] == [interaction(n)["id"] for n in (0, 2)]
        assert not isinstance(pilot.app.screen, InteractionScreen) and log(pilot).cursor_row == 2
        assert str(log(pilot).get_row_at(0)[3]) == "+" and str(log(pilot).get_row_at(2)[3]) == "for"

    opened(client, use)
