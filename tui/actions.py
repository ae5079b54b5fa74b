"""What an operator changes from the console: releases, and long work begun."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from textual import work
from textual.app import App

from tui.client import Client
from tui.screens.confirm import Ask, Choose, Confirm
from tui.widgets.pane import Work

ALL = "all cohorts"
_FOR_ALL = ("evaluate", "attribute")  # jobs that may be of all cohorts
T = TypeVar("T")


class Actions(App[None]):
    """What changes what is live asks first. How the appliance is asked is the console's."""

    def act(self, work: Work) -> None:
        """Change something and tell what came of it."""
        raise NotImplementedError

    async def asked(self, question: Callable[[Client], Awaitable[T]]) -> T | None:
        """Its answer; None when there was none, which has been told."""
        raise NotImplementedError

    def action_bring(self, pane: str) -> None:
        raise NotImplementedError

    def promote(self, cohort: str, version: int, live: str | None) -> None:
        changes = (
            f"{cohort}@{version} goes live. It answers every new request of {cohort} instead of {live or 'the base'}."
        )
        self._confirmed(changes, "promote", {"cohort": cohort, "version": version})

    def reject(self, cohort: str, version: int) -> None:
        changes = f"{cohort}@{version} is retired without having been live. Its files stay."
        self._confirmed(changes, "reject", {"cohort": cohort, "version": version})

    def roll_back(self, cohort: str, live: str | None, previous: str | None) -> None:
        if live is None:
            self.notify(f"{cohort} has no live release: the base answers already", severity="warning", markup=False)
            return
        changes = f"{live} is retired. {previous or 'The base'} answers every new request of {cohort} instead."
        self._confirmed(changes, "rollback", {"cohort": cohort, "live": live})

    def _confirmed(self, changes: str, path: str, body: dict[str, Any]) -> None:
        cohort = body["cohort"]

        async def change(client: Client) -> str:
            found = await client.post(path, **body)
            live, before = (found[name] or "the base" for name in ("live", "previous"))
            return f"{cohort}: {live} is live; a rollback returns to {before}"

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(change)

        self.push_screen(Confirm(changes, cohort), answered)

    def action_begin(self, kind: str) -> None:
        self.begin(kind)

    def begin(self, kind: str) -> None:
        """Long work: of a cohort that is asked for."""
        if kind == "router/fit":
            self.act(_fit)
        else:
            self._choose_cohort(kind)

    @work(group="look")
    async def _choose_cohort(self, kind: str) -> None:
        found = await self.asked(lambda client: client.get("cohorts"))
        if found is not None:
            names = [one["cohort"] for one in found]
            options = [ALL, *names] if kind in _FOR_ALL else names
            self.push_screen(Choose(f"{kind}: of which cohort?", options), lambda name: self.options(kind, name))

    def options(self, kind: str, cohort: str | None) -> None:
        """A training may be shorter than configured."""
        if cohort is None:
            return
        if kind != "retrain":
            self._begin(kind, cohort)
            return

        def passes(typed: str | None) -> None:
            if typed == "":
                self._begin(kind, cohort)
            elif typed is not None and re.fullmatch("[1-9][0-9]{0,2}", typed):
                self._begin(kind, cohort, epochs=int(typed))
            elif typed is not None:
                self.notify("passes are a number from 1 to 999: nothing was begun", severity="warning")

        says = (
            f"Retrain {cohort}. What passes the gate goes live at once.\nPasses over the rows (empty: as configured):"
        )
        self.push_screen(Ask(says, placeholder="as configured"), passes)

    def _begin(self, kind: str, cohort: str, **more: object) -> None:
        async def started(client: Client) -> str:
            job = await client.post(kind, cohort=None if cohort == ALL else cohort, **more)
            return f"{kind} of {cohort} is under way: {job['id']}"

        self.act(started)
        self.action_bring("jobs")


async def _fit(client: Client) -> str:
    await client.post("router/fit")
    return "a router is being fitted"
