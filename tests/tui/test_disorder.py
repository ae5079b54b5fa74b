"""What comes late, twice, half or not at all changes nothing that was not meant, and never ends the console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from tests.tui.canned import ROUTER, Canned, Json, all_jobs, interaction
from tests.tui.test_keyboard import opened, pressed, said
from tests.tui.test_screens import settled
from tui.client import ApplianceGone, Forbidden, KeyWanted, together
from tui.console import Console
from tui.screens.cohort import CohortScreen
from tui.screens.confirm import Ask, Choose, Confirm
from tui.screens.interactions import PAGE, Interactions
from tui.widgets.rows import Rows


class Growing(Canned):
    """`newest` is the number of the newest request: less is newer."""

    newest = 0
    asked_log = 0

    def _interactions(self, rest: str, params: Json) -> Any:  # noqa: ANN401
        self.asked_log += not rest
        if rest or "before" in params:
            return super()._interactions(rest, params)
        found = [interaction(number) for number in range(self.newest, self.newest + 400)]
        wanted = [] if params.get("text") else found
        return wanted[: int(str(params["limit"]))]


class Slow(Canned):
    """Answers about cohorts when `let` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def get(self, path: str, /, **params: object) -> Any:  # noqa: ANN401
        if path == "cohorts":
            await self.let.wait()
        return await super().get(path, **params)


def log(pilot: Pilot[None]) -> Rows:
    return pilot.app.query_one("#log", Rows)


def toasts(pilot: Pilot[None]) -> list[str]:
    return [str(one.message) for one in pilot.app._notifications]


def test_a_new_request_does_not_come_under_the_finger() -> None:
    client = Growing()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4")
        client.newest = -3
        await pressed(pilot, "r", "f")
        assert client.told == [(interaction(0)["id"], {"use": "for"})]
        assert "3 newer: u" in said(pilot, "#found")
        await pressed(pilot, "u")
        assert log(pilot).chosen == interaction(-3)["id"] and "newer" not in said(pilot, "#found")

    opened(client, use)


def test_paging_goes_on_after_going_back_to_the_newest() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "G", "u")
        assert log(pilot).row_count == PAGE
        await pressed(pilot, "G")
        await settled(pilot)
        assert log(pilot).row_count == 2 * PAGE

    opened(Growing(), use)


def test_a_search_without_a_match_reads_the_log_once() -> None:
    client = Growing()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "slash")
        pilot.app.query_one("#search", Input).value = "nowhere"
        await asyncio.sleep(0.4)
        await settled(pilot)
        before = client.asked_log
        for _ in range(5):
            pilot.app.query_one(Interactions).console.refresh_now()
            await settled(pilot)
        assert client.asked_log == before and "0 requests; text nowhere" in said(pilot, "#found")

    opened(client, use)


def test_a_bad_search_says_so_until_it_is_mended() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "slash")
        pilot.app.query_one("#search", Input).value = "reviewed:maybe"
        await asyncio.sleep(0.4)
        await pressed(pilot, "escape", "r", "r")
        assert "reviewed: is yes or no" in said(pilot, "#found")

    opened(Growing(), use)


def test_names_that_come_late_take_no_key() -> None:
    """The dialog is there at once: what is typed meanwhile goes nowhere else."""
    client = Slow()

    async def run() -> None:
        async with Console(client, every_s=3600).run_test() as pilot:
            await pilot.press("5", "t")
            await pilot.pause()
            assert isinstance(pilot.app.screen, Choose)
            await pilot.press("p", "t", "enter")
            assert len(pilot.app.screen_stack) == 2, "no second dialog"
            client.let.set()
            await settled(pilot)
            await pilot.press("escape")
            assert client.told == []

    asyncio.run(run())


def test_a_live_release_is_not_promoted_nor_rejected() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "enter", "j", "p", "x")
        assert isinstance(pilot.app.screen, CohortScreen) and client.told == []
        assert toasts(pilot) == ["legal@2 is live already", "legal@2 is live: only a candidate is rejected"]

    opened(client, use)


def test_a_promotion_says_what_speaks_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Canned._all_releases

    def ungated(self: Canned) -> list[Json]:
        return [{**one, "gated": False, "warning": "its prompt differs"} for one in right(self)]

    monkeypatch.setattr(Canned, "_all_releases", ungated)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "p")
        assert isinstance(pilot.app.screen, Confirm)
        told = "\n".join(str(one.render()) for one in pilot.app.screen.query(Static))
        assert "no gate has passed it" in told and "its prompt differs" in told

    opened(Canned(), use)


KINDS = {
    "blame": {
        "n": 2,
        "misroute": 1,
        "adapter": 0,
        "unknown": 1,
        "routed_wrong": 1,
        "requests": [{"request_id": "req_1", "verdict": "misroute", "sent": "legal", "right": "finance"}],
    },
    "fit": {**ROUTER, "state": "refused", "refusals": ["coding lost 3.1 points of its rows"]},
    "rebuild": {"release": "legal@2", "same": False},
    "something new": {"figures": 3},
}
READ = {
    "blame": ("1 misrouted", "right is finance"),
    "fit": ("coding lost 3.1 points of its rows",),
    "rebuild": ("legal@2",),
    "something new": ("figures",),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_came_of_any_job_can_be_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {"job_9": {**all_jobs()["job_2"], "id": "job_9", "kind": kind, "result": KINDS[kind]}, **all_jobs()}
    monkeypatch.setattr("tests.tui.canned.all_jobs", lambda: jobs)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "5")
        assert f"job_9: {kind} of legal, done" in said(pilot, "#which")
        assert "cannot be shown" not in said(pilot, "#state")
        for words in READ[kind]:
            assert words in said(pilot, "#job")
        await pressed(pilot, "j", "j")
        assert "job_2" in said(pilot, "#which") and "legal: fail" in said(pilot, "#job")

    opened(Canned(), use)


def test_no_job_stands_under_the_row_of_another() -> None:
    client = Canned()
    right, let = client.get, asyncio.Event()

    async def get(path: str, /, **params: object) -> object:
        if path == "jobs/job_3":
            await let.wait()
        return await right(path, **params)

    client.get = get  # type: ignore[method-assign]

    async def run() -> None:
        async with Console(client, every_s=3600).run_test() as pilot:
            await settled(pilot)
            await pressed(pilot, "5", "j")
            assert "legal: fail" in said(pilot, "#job")
            await pilot.press("j")
            await pilot.pause()
            assert "job_3" in said(pilot, "#which") and said(pilot, "#job") == ""
            let.set()
            await settled(pilot)
            assert "within noise" in said(pilot, "#job")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("keys", "path", "wrong"),
    [
        (["3", "t", "x", "enter"], "route", {}),
        (["5", "t", "enter", "enter", "enter", "enter"], "retrain", {}),
    ],
)
def test_an_answer_of_another_version_ends_nothing(
    keys: list[str], path: str, wrong: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def post(_self: Canned, asked: str, /, **_body: object) -> object:
        assert asked == path
        return wrong

    monkeypatch.setattr(Canned, "post", post)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, *keys)
        assert any("another version" in told for told in toasts(pilot))

    opened(Canned(), use)


def test_a_release_out_of_service_is_live_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before answers meanwhile; what a promotion replaces is the register's."""
    client, right = Canned(), Canned._cohorts
    answers = {"live": "legal@1", "previous": None}
    monkeypatch.setattr(Canned, "_cohorts", lambda self, *given: [{**one, **answers} for one in right(self, *given)])

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "p")
        pilot.app.screen.query_one(Input).value = "legal"
        await pressed(pilot, "enter")
        assert client.told == [("promote", {"cohort": "legal", "version": 3, "live": "legal@2"})]

    opened(client, use)


@pytest.mark.parametrize(
    "broken", [None, {}, {"scores": {"clause_type": {"cohort": "legal", "n": 0}}}, {"scores": 3}]
)
def test_a_manifest_of_another_version_ends_nothing(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    right = Canned._all_releases
    monkeypatch.setattr(Canned, "_all_releases", lambda self: [{**one, "manifest": broken} for one in right(self)])

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "j", "k", "enter", "j", "k", "p", "escape", "escape", "1")
        assert pilot.app.query_one("#traffic", Rows).row_count == 6

    opened(Canned(), use)


def test_one_look_leaves_no_question_behind() -> None:
    async def run() -> None:
        cancelled = asyncio.Event()

        async def hangs() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async def fails() -> None:
            await asyncio.sleep(0)
            raise ApplianceGone("gone")

        with pytest.raises(ApplianceGone):
            await together(hangs(), fails())
        await asyncio.wait_for(cancelled.wait(), 1)

    asyncio.run(run())


def test_what_was_said_of_the_appliance_stands_on_a_new_screen() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2")
        client.gone = True
        await pressed(pilot, "r", "enter")
        assert isinstance(pilot.app.screen, CohortScreen) and "is OLD" in said(pilot, "#state")

    opened(client, use)


def test_it_is_seen_behind_a_dialog_too() -> None:
    client = Canned()

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "2", "p")
        client.gone = True
        pilot.app.refresh_now()  # type: ignore[attr-defined]
        await settled(pilot)
        assert "is OLD" in str(pilot.app.screen_stack[0].query_one("#state", Static).render())

    opened(client, use)


def test_feedback_refused_for_its_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def feedback(_self: Canned, _request: str, **_said: object) -> None:
        raise KeyWanted("this key is not known here")

    monkeypatch.setattr(Canned, "feedback", feedback)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "plus")
        assert toasts(pilot) == ["not done: this key is not known here"]

    opened(Canned(), use)


def test_leaving_while_a_change_is_under_way_is_asked_once_more() -> None:
    client = Canned()
    let = asyncio.Event()

    async def post(_path: str, /, **_body: object) -> object:
        await let.wait()
        return {"cohort": "legal", "live": "legal@3", "previous": "legal@2"}

    client.post = post  # type: ignore[method-assign]

    async def run() -> None:
        async with Console(client, every_s=3600).run_test() as pilot:
            await settled(pilot)
            await pressed(pilot, "2", "p")
            pilot.app.screen.query_one(Input).value = "legal"
            await pilot.press("enter")
            await pilot.pause()
            assert "1 under way" in said(pilot, "#state")
            await pilot.press("q")
            assert pilot.app.is_running and "under way" in toasts(pilot)[0]
            let.set()
            await settled(pilot)
            assert "under way" not in said(pilot, "#state") and not pilot.app.warned  # type: ignore[attr-defined]

    asyncio.run(run())


def test_nobody_judges_a_request_that_is_not_there_yet() -> None:
    """The next one's text takes its time; what was before it is gone from the screen."""
    client, let = Canned(), asyncio.Event()
    right = client.get

    async def get(path: str, /, **params: object) -> Any:  # noqa: ANN401
        if path == f"interactions/{interaction(1)['id']}":
            await let.wait()
        return await right(path, **params)

    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4", "enter")
        client.get = get  # type: ignore[method-assign]
        await pilot.press("n")
        await pilot.pause()
        assert interaction(1)["id"] in said(pilot, "#which") and said(pilot, "#request") == "asking ..."
        await pilot.press("f", "c", "w")
        assert client.told == [] and len(pilot.app.screen_stack) == 2
        let.set()
        await settled(pilot)
        await pressed(pilot, "f")
        assert client.told == [(interaction(1)["id"], {"use": "for"})]

    opened(client, use)


def test_a_key_that_may_not_look_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an application's."""

    async def refused(_self: Canned, _path: str, /, **_params: object) -> None:
        raise Forbidden('this key lacks the scope "viewer"')

    monkeypatch.setattr(Canned, "get", refused)

    async def use(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app.screen, Ask)

    opened(Canned(), use)


def test_two_quick_enters_open_one_screen() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pilot.press("2")
        await settled(pilot)
        table = pilot.app.query_one("#cohort-list", Rows)
        table.action_select_cursor()
        table.action_select_cursor()
        await settled(pilot)
        assert len(pilot.app.screen_stack) == 2

    opened(Canned(), use)


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_times_are_the_operators_own() -> None:
    async def use(pilot: Pilot[None]) -> None:
        await pressed(pilot, "4")
        assert str(log(pilot).get_row_at(0)[0]) == "11-22 09:59:59", "14:59:59 UTC"
        assert "EST" in str(log(pilot).columns["time, EST"].label)  # type: ignore[index]

    opened(Canned(), use)
