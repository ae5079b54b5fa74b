"""Long work begun from the console, and what is asked before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tui.actions import Actions
from tui.client import Client
from tui.screens.confirm import Choose, Confirm
from tui.screens.form import Field, Figures, Form

JOBS = ("retrain", "evaluate", "attribute", "curve", "router/fit")
ALL = "all cohorts"
CANDIDATE = "a candidate: it waits until somebody promotes or rejects it"
LIVE = "live: it answers every new request at once"
TOGETHER = "with one adapter for all: it is trained first, on all cohorts' rows"
ALONE = "without it: nothing is trained, the evaluations are minutes"
_FOR_ALL = ("evaluate", "attribute")  # jobs that may be of all cohorts
_FIT = (
    "A router is fitted to the rows there are, and to the requests whose right cohort somebody named. Unless it is "
    "provably worse, it decides about every new request instead of the one in force."
)
_AGGREGATE = (
    "Compare with one adapter for all cohorts too? To train it takes as long as retraining all of them, for each "
    "recipe anew. Without it, whether one adapter would do for everybody is not told."
)
_RETRAIN = (
    Field("epochs", "Passes over the rows", 1, 1000),
    Field("minutes", "At most so many minutes of training", 0.1, 10_000, whole=False),
)
_CURVE = (
    Field("seeds", "Rounds, each of four trainings on other parts of the rows", 1, 10, unsaid="1"),
    Field("minutes", "Begin no round that would not end in so many minutes", 0.1, 100_000, False, "no limit"),
)


class Begin(Actions):
    """What makes something live asks for a name typed; what does not is begun at once."""

    def action_begin(self, kind: str) -> None:
        """Of a cohort that is asked for."""
        if kind == "router/fit":
            self._confirmed(_FIT, "router", kind, {"interactions": True}, lambda _: "a router is being fitted")
            return

        async def names() -> list[str]:
            found = await self.asked(lambda client: client.get("cohorts"))
            cohorts = [one["cohort"] for one in found or ()]
            return [ALL, *cohorts] if kind in _FOR_ALL and cohorts else cohorts

        self.push_screen(Choose(f"{kind}: of which cohort?", names), lambda name: self.options(kind, name))

    def options(self, kind: str, cohort: str | None) -> None:
        """How, once it is known of which cohort."""
        if cohort is None:
            return
        if kind == "retrain":
            self._retrain(cohort)
        elif kind == "attribute":
            self._attribute(cohort)
        elif kind == "curve":
            self._curve(cohort)
        else:
            self._begin(kind, cohort)

    def _retrain(self, cohort: str) -> None:
        def given(figures: Figures | None) -> None:
            if figures is not None:
                says = f"What shall {cohort}'s adapter be if it passes the gate?"
                self._choose(says, [CANDIDATE, LIVE], lambda chosen: self._passing(cohort, figures, chosen == LIVE))

        self.push_screen(Form(f"Retrain {cohort} on its own rows.", _RETRAIN), given)

    def _passing(self, cohort: str, figures: Figures, live: bool) -> None:
        if not live:
            self._begin("retrain", cohort, **figures, live=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._begin("retrain", cohort, **figures, live=True)

        says = (
            f"{cohort} is retrained. If the adapter passes the gate it goes live without a word more. It answers "
            f"every new request of {cohort} instead of what answers now."
        )
        self.push_screen(Confirm(says, cohort), answered)

    def _attribute(self, cohort: str) -> None:
        def chosen(how: str) -> None:
            self._begin("attribute", cohort, aggregate=how == TOGETHER)

        self._choose(_AGGREGATE, [TOGETHER, ALONE], chosen)

    def _curve(self, cohort: str) -> None:
        def given(figures: Figures | None) -> None:
            if figures is not None:
                self._begin("curve", cohort, **figures)

        says = f"What would more rows buy {cohort}? Adapters are trained on parts of its rows; none is released."
        self.push_screen(Form(says, _CURVE), given)

    def _choose(self, says: str, options: list[str], then: Callable[[str], None]) -> None:
        async def known() -> list[str]:
            return options

        def chosen(one: str | None) -> None:
            if one is not None:
                then(one)

        self.push_screen(Choose(says, known), chosen)

    def _begin(self, kind: str, cohort: str, **more: object) -> None:
        async def started(client: Client) -> str:
            job: dict[str, Any] = await client.post(kind, cohort=None if cohort == ALL else cohort, **more)
            return f"{kind} of {cohort} is under way: {job['id']}"

        self.act(started)
        self.action_bring("jobs")
