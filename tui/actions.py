"""What an operator changes from the console: releases, routers, and long work that is ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui import inert, words
from tui.asking import Asking
from tui.client import Client, part
from tui.screens.confirm import Confirm

Release = dict[str, Any]


class Actions(Asking):
    """What changes what is live asks first."""

    def action_bring(self, pane: str) -> None:
        raise NotImplementedError

    # -- releases ----------------------------------------------------------------------------------------------------

    def promote(self, release: Release, live: str | None) -> None:
        cohort, version = release["cohort"], release["version"]
        name = f"{cohort}@{version}"
        if release["state"] == "live":
            self.notify(f"{name} is live already", severity="warning", markup=False)
            return
        changes = f"{name} goes live. It answers every new request of {cohort} instead of {live or 'the base'}."
        body = {"cohort": cohort, "version": version, "live": live or "base"}
        self._confirmed("\n".join([changes, *doubts(release)]), cohort, "promote", body, _switched)

    def reject(self, release: Release) -> None:
        cohort, version = release["cohort"], release["version"]
        name = f"{cohort}@{version}"
        if release["state"] not in words.WAITING:
            self.notify(
                f"{name} is {release['state']}: only a candidate is rejected", severity="warning", markup=False
            )
            return
        changes = f"{name} is retired without having been live. Its files stay."
        body = {"cohort": cohort, "version": version}
        self._confirmed(changes, cohort, "reject", body, lambda found: f"{name} is retired; {_answers(found)}")

    def roll_back(self, cohort: str, live: str | None, previous: str | None) -> None:
        if live is None:
            self.notify(f"{cohort} has no live release: the base answers already", severity="warning", markup=False)
            return
        changes = f"{live} is retired. {previous or 'The base'} answers every new request of {cohort} instead."
        self._confirmed(changes, cohort, "rollback", {"cohort": cohort, "live": live}, _switched)

    def _confirmed(
        self, changes: str, typed: str, path: str, body: dict[str, Any], told: Callable[[dict[str, Any]], str]
    ) -> None:
        async def change(client: Client) -> str:
            return told(await client.post(path, **body))

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(change)

        self.push_screen(Confirm(changes, typed), answered)

    # -- routers -----------------------------------------------------------------------------------------------------

    def switch_router(self, routers: list[dict[str, Any]]) -> None:
        """To the one before the one in force."""
        live = next((one["version"] for one in routers if one["state"] == "live"), None)
        earlier = [one["version"] for one in routers if one["state"] == "retired" and one["version"] < (live or 0)]
        if not earlier:
            self.notify("there is no earlier router to go back to", severity="warning")
            return
        version = max(earlier)
        says = f"router@{version} decides about every new request instead of router@{live}."
        told = f"router@{version} is in force"
        self._confirmed(
            says, "router", "router/switch", {"version": version, "live": f"router@{live}"}, lambda _: told
        )

    # -- jobs --------------------------------------------------------------------------------------------------------

    def cancel(self, identity: str, kind: str) -> None:
        says = f"{identity} ({kind}) ends. What it made so far is found by the next one."

        def told(job: dict[str, Any]) -> str:
            if job["state"] == "running":  # on a full disk
                return f"{identity}: {job['doing']}"
            late = job["state"] in ("done", "failed")  # a release that has begun is finished
            return f"{'that came too late: ' if late else ''}{identity} is {job['state']}"

        self._confirmed(says, kind, f"jobs/{part(identity)}/cancel", {}, told)


def doubts(release: Release) -> list[str]:
    """What speaks against a promotion, as far as is known."""
    failed = [reason for reason in release.get("manifest", {}).get("reasons", []) if not reason["passed"]]
    found = [] if release.get("gated") else ["! no gate has passed it"]
    found += [f"! {reason['check']}: {reason['says']}" for reason in failed]
    found += [f"! {release['warning']}"] if release.get("warning") else []
    return [inert.plain(one, 300) for one in found]


def _switched(found: dict[str, Any]) -> str:
    return f"{_answers(found)}; a rollback returns to {found['previous'] or 'the base'}"


def _answers(found: dict[str, Any]) -> str:
    return f"{found['cohort']}: {found['live']} is live" if found["live"] else f"{found['cohort']}: the base answers"
