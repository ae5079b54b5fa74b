"""The console in an operator's hands: keys, searches, reviews, confirmations; the appliance comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from textual.events import MouseScrollDown
from textual.pilot import Pilot
from textual.widgets import Input, Static, TabbedContent

from tests.tui.canned import URL, Canned, Json, ago, job
from tests.tui.test_screens import settled
from tui.client import ApplianceGone, KeyWanted, Refused
from tui.console import Console
from tui.screens.cohort import CohortScreen
from tui.screens.confirm import Ask, Confirm
from tui.screens.interactions import PAGE, Interactions
from tui.widgets.rows import Rows

Use = Callable[[Pilot[None]], Awaitable[None]]


def opened(client: Canned, use: Use, size: tuple[int, int] = (120, 40)) -> None:
    async def run() -> None:
        async with Console(client, every_s=3600).run_test(size=size) as pilot:
            await settled(pilot)
            await use(pilot)

    asyncio.run(run())


async def pressed(pilot: Pilot[None], *keys: str) -> None:
    for key in keys:
        await pilot.press(key)
        await settled(pilot)


def said(pilot: Pilot[None], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).render())


def test_digits_bring_screens_and_the_list_has_the_focus() -> None:
    async def use(pilot: Pilot[None]) -> None:
        for key, name in (("2", "cohorts"), ("4", "interactions"), ("1", "live")):
            await pressed(pilot, key)
            assert pilot.app.query_one(TabbedContent).active == name
            assert isinstance(pilot.app.focused, Rows)

    opened(Canned(), use)


def test_what_waits_is_counted_once() -> None:
    """It waits in the appliance's queue, and of these in a lane."""

    async def use(pilot: Pilot[None]) -> None:
        assert str(pilot.app.query_one("#running .gauge-value", Static).render()) == "2 run, 1 wait"

    opened(Canned(), use)


def test_a_promotion_wants_the_name_typed() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "p")
        assert isinstance(pilot.app.screen, Confirm)
        pilot.app.screen.query_one(Input).value = "finance"
        await pressed(pilot, "enter")
        assert client.told == [] and "that is not legal" in said(pilot, ".hint")
        pilot.app.screen.query_one(Input).value = "legal"
        await pressed(pilot, "enter")
        assert client.told == [("promote", {"cohort": "legal", "version": 3, "live": "legal@2"})]

    opened(client, use)


def test_escape_leaves_it() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "b", "escape")
        assert not isinstance(pilot.app.screen, Confirm) and client.told == []

    opened(client, use)


def test_a_rollback_and_a_rejection_say_what_changes() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "enter")
        assert isinstance(pilot.app.screen, CohortScreen)
        await pressed(pilot, "x")
        pilot.app.screen.query_one(Input).value = "legal"
        await pressed(pilot, "enter", "b")
        pilot.app.screen.query_one(Input).value = "legal"
        await pressed(pilot, "enter")
        assert client.told == [
            ("reject", {"cohort": "legal", "version": 3}),
            ("rollback", {"cohort": "legal", "live": "legal@2"}),
        ]

    opened(client, use)


def test_reviewing_with_the_keyboard_goes_to_the_next() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "plus", "minus", "f", "a")
        assert [given for _, given in client.told] == [
            {"rating": 1},
            {"rating": -1},
            {"use": "for"},
            {"use": "against"},
        ]
        assert [name for name, _ in client.told] == [f"req_{n:028x}" for n in range(4)]
        assert pilot.app.query_one("#log", Rows).cursor_row == 4

    opened(client, use)


def test_a_correction_and_the_right_cohort() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "c", "ctrl+s", "w", "j", "enter")
        (_, corrected), (_, belongs) = client.told
        assert corrected["use"] == "for" and str(corrected["correction"]).startswith("Only with the landlord")
        assert belongs == {"cohort": "healthcare"}
        assert [name for name, _ in client.told] == [f"req_{n:028x}" for n in range(2)]
        assert pilot.app.query_one("#log", Rows).cursor_row == 2, "each goes to the next row"

    opened(client, use)


def test_a_search_narrows_at_the_appliance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tui.screens.interactions._WAIT_S", 0.0)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "slash", *"cohort:legal")
        assert "cohort legal" in said(pilot, "#found")
        rows = pilot.app.query_one(Interactions)._rows
        assert rows and {one["cohort"] for one in rows} == {"legal"}
        pilot.app.query_one("#search", Input).value = "rating:9"
        await settled(pilot)
        assert "rating: is -1, 0 or 1" in said(pilot, "#found")

    opened(Canned(), use)


def test_the_end_of_a_page_brings_the_next() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "G")
        await settled(pilot)
        table = pilot.app.query_one("#log", Rows)
        assert table.row_count == 2 * PAGE and table.cursor_row == PAGE - 1
        assert len({one["id"] for one in pilot.app.query_one(Interactions)._rows}) == 2 * PAGE

    opened(Canned(), use)


def test_the_wheel_brings_the_next_page_too() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4")
        table = pilot.app.query_one("#log", Rows)
        for _ in range(3 * PAGE):
            if table.row_count > PAGE:
                break
            table.post_message(MouseScrollDown(table, 5, 5, 0, 1, 0, False, False, False))
            await settled(pilot)
        assert table.row_count == 2 * PAGE and table.cursor_row == 0
        table.scroll_to(y=0, animate=False)
        await settled(pilot)
        assert table.row_count == 2 * PAGE, "nothing is asked for at the top"

    opened(Canned(), use)


def test_a_dry_run_shows_every_layer() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "3", "t")
        pilot.app.query_one("#prompt", Input).value = "tenant=acme may the tenant sublet?"
        await pressed(pilot, "enter")
        told = said(pilot, "#tried")
        assert "legal" in told and "semantic" in told and "classifier" in told and "0.97" in told
        assert client.told == [("route", {"text": "may the tenant sublet?", "metadata": {"tenant": "acme"}})]
        assert "with tenant acme" in told

    opened(client, use)


@pytest.mark.parametrize(
    ("kind", "keys", "wanted"),
    [
        (
            "retrain",
            ["t", "enter", "2", "enter", "enter", "j", "enter", *"legal", "enter"],
            {"cohort": "legal", "epochs": 2, "live": True},
        ),
        (
            "retrain",
            ["t", "enter", "enter", *"0.5", "enter", "enter"],
            {"cohort": "legal", "minutes": 0.5, "live": False},
        ),
        ("evaluate", ["e", "enter"], {"cohort": None}),
        ("attribute", ["a", "j", "enter", "enter"], {"cohort": "legal", "aggregate": True}),
        ("attribute", ["a", "enter", "j", "enter"], {"cohort": None, "aggregate": False}),
        ("curve", ["u", "enter", "3", "enter", "enter"], {"cohort": "legal", "seeds": 3}),
        ("router/fit", ["o", *"router", "enter"], {"interactions": True}),
    ],
)
def test_long_work_is_begun(kind: str, keys: list[str], wanted: dict[str, object]) -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "5", *keys)
        assert client.told == [(kind, wanted)]

    opened(client, use)


def test_a_retrain_goes_live_by_its_name_alone() -> None:
    """And a figure that cannot be is refused where it is typed."""
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "t", "0", "enter", "enter")
        assert "Passes over the rows: a whole number from 1 to 1000, or nothing" in said(pilot, ".hint")
        await pressed(pilot, "backspace", "enter", "enter", "j", "enter")
        assert isinstance(pilot.app.screen, Confirm)
        await pressed(pilot, "enter", *"legl", "enter", "escape")
        assert client.told == []

    opened(client, use)


def test_a_running_job_is_cancelled() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "5", "x", *"retrain", "enter", "j", "x")
        assert client.told == [("jobs/job_1/cancel", {})], "and what has ended is not ended again"

    opened(client, use)


def test_an_appliance_that_goes_shows_as_such_and_comes_back() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        client.gone = True
        await pressed(pilot, "r")
        assert "does not answer" in said(pilot, "#state") and "is OLD" in said(pilot, "#state")
        assert pilot.app.query_one("#traffic", Rows).row_count == 6, "what was seen last stays"
        client.gone = False
        await pressed(pilot, "r")
        assert URL in said(pilot, "#state") and "OLD" not in said(pilot, "#state")

    opened(client, use)


def test_a_refused_key_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Canned()
    right = Canned.get

    async def get(self: Canned, path: str, /, **params: object) -> object:
        if self.key != "right":
            raise KeyWanted("this key is not known here")
        return await right(self, path, **params)

    monkeypatch.setattr(Canned, "get", get)

    async def use(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app.screen, Ask)
        pilot.app.screen.query_one(Input).value = "right"
        await pressed(pilot, "enter")
        assert URL in said(pilot, "#state") and client.key == "right"

    opened(client, use)


def test_a_refusal_is_told_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def post(_self: Canned, _path: str, /, **_body: object) -> object:
        raise Refused("legal@3 cannot be served: its file is damaged")

    monkeypatch.setattr(Canned, "post", post)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "p")
        pilot.app.screen.query_one(Input).value = "legal"
        await pressed(pilot, "enter")
        (told,) = pilot.app._notifications
        assert "file is damaged" in told.message and told.severity == "error"

    opened(Canned(), use)


def test_a_slow_appliance_is_asked_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = [0], asyncio.Event()

    async def get(_self: Canned, _path: str, /, **_params: object) -> object:
        asked[0] += 1
        await answer.wait()
        raise ApplianceGone("late")

    monkeypatch.setattr(Canned, "get", get)

    async def run() -> None:
        async with Console(Canned(), every_s=0.01).run_test() as pilot:
            async with asyncio.timeout(20):
                while asked[0] < 3:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # ten looks more, if they were taken
            assert asked[0] == 3, "the three questions of one look at the live screen"
            await pilot.press("2")
            await pilot.pause()
            assert asked[0] == 5, "what was left is not waited for"
            answer.set()

    asyncio.run(run())


def test_a_cohort_shows_the_newest_comparison_of_it_or_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds are there; the later one counts."""

    def compared(identity: str, whose: str, ended: str, says: str) -> Json:
        result = {
            "cohorts": [{"cohort": "legal", "release": "legal@1", "verdict": "base", "says": says, "notes": []}]
        }
        made = job(identity, "attribute", "done", result=result)
        return {**made, "cohort": whose, "ended": ended}

    jobs = {
        "job_8": compared("job_8", "", ago(hours=2), "of all cohorts"),
        "job_7": compared("job_7", "legal", ago(days=3), "of legal alone"),
    }
    monkeypatch.setattr("tests.tui.canned.all_jobs", lambda: jobs)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "enter")
        told = said(pilot, "#judged")
        assert "of all cohorts" in told and "of legal alone" not in told and "2 h" in told
        assert "legal@2 answers now: compare anew" in told

    opened(Canned(), use)


def test_a_cohort_shows_what_a_release_was_made_of() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "enter")
        told = said(pilot, "#judged")
        assert "begun from legal@1" in told and "148 rows: 131 imported, 17 interaction" in told
        assert "base: better; 79.0 % against 1.0 %, +78.0 (+70.0 to +86.0) points" in told

    opened(Canned(), use)


def test_the_cohorts_stand_beside_base_and_the_release_before() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2")
        row = [str(cell) for cell in pilot.app.query_one("#cohort-list", Rows).get_row("legal")]
        assert row[2:4] == ["judge @3: p, or Enter", "79.5 %, base 1.0 %, before 74.5 %"]
        told = said(pilot, "#cohort-about")
        assert "a rollback returns to legal@1" in told and "+76.0 (+66.0/+86.0)" in told

    opened(Canned(), use)


def test_what_came_of_a_training_is_told_with_its_scores_and_losses() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "5", "j")
        assert "loss 3.000 to 0.353 at step 30; of rows it did not see" in said(pilot, "#trained")
        told = said(pilot, "#job")
        assert "clause_type" in told and "76.0 (66.0-86.0)" in told and "general " in told
        assert "freezing the slice" in told

    opened(Canned(), use)


HOSTILE = "[bold red]x[/] \x1b]52;c;cm0=\x07 \u202e " + "y" * 1_000_000


def test_hostile_text_breaks_no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Canned.get

    async def get(self: Canned, path: str, /, **params: object) -> object:
        found = await right(self, path, **params)
        for one in found if path == "interactions" else [found] if path.startswith("interactions/") else []:
            one.update(
                answer=HOSTILE, messages=[{"role": HOSTILE, "content": HOSTILE}], error=HOSTILE, reason=HOSTILE
            )
        return found

    monkeypatch.setattr(Canned, "get", get)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "3", "4", "enter")
        told = pilot.app.screen.query_one("#request", Static).render()
        assert "[bold red]x[/]" in str(told) and "\x1b" not in str(told)

    opened(Canned(), use)
