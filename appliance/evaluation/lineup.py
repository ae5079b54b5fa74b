"""What was live in each cohort, and before that, when a comparison began: an operator may change it meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.serving import Serving
from appliance.store.releases import Release
from router.table import RouteTable


@dataclass(frozen=True, slots=True)
class Lineup:
    """`before` is None for the reason `without`."""

    live: Release | None = None
    before: Release | None = None
    without: str = "there was none"

    @property
    def went_back(self) -> bool:
        """What is live is older than what was live before."""
        return self.live is not None and self.before is not None and self.before.version > self.live.version


def lineups(serving: Serving) -> dict[str, Lineup]:
    table = serving.releases.table
    return {name: _lineup(serving, table, name) for name in serving.config.cohorts}


def _lineup(serving: Serving, table: RouteTable, cohort: str) -> Lineup:
    target, previous = table.live.get(cohort), table.named.get(f"{cohort}@previous")
    live = serving.releases.get(cohort, target.version) if target else None
    if previous is None:
        return Lineup(live)
    if previous == target:
        return Lineup(live, without=f"{previous.name} answers in place of a newer one that cannot be served")
    if fault := serving.releases.fault(previous):
        return Lineup(live, without=f"{previous.name} cannot be served: {fault}")
    return Lineup(live, serving.releases.get(cohort, previous.version))
