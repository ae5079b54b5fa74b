"""What the register says at one moment: worker threads read one while the next is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adapters import lifecycle
from adapters.lifecycle import ReleaseState
from appliance.releases import route_table
from appliance.store import releases as rows
from appliance.store.database import Connection
from appliance.store.releases import Release
from router.table import RouteTable


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`names` (`legal@3`) and `prompts` of all releases, by digest; `live`: those that are, of configured cohorts;
    `before`: what a rollback returns to, by cohort; `alarms`: what cannot be served, and why."""

    digests: Mapping[tuple[str, int], str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    live: Sequence[Release] = ()
    before: Mapping[str, str | None] = field(default_factory=dict)
    table: RouteTable = field(default_factory=RouteTable)
    alarms: Sequence[str] = ()

    @classmethod
    def read(cls, connection: Connection, cohorts: Sequence[str], faults: Mapping[str, str]) -> Snapshot:
        """`faults`, by digest: why a release cannot be served."""
        releases = rows.list_all(connection)
        digests = {(r.cohort, r.version): r.digest for r in releases}
        of_cohort = {cohort: states(connection, cohort) for cohort in cohorts}
        table, alarms = route_table.build(cohorts, of_cohort, digests, faults)
        before = {c: lifecycle.previous(returnable(of_cohort[c], digests, c, faults)) for c in cohorts}
        return cls(
            digests=digests,
            names={r.digest: r.name for r in releases},
            prompts={r.digest: r.system_prompt for r in releases},
            live=[r for r in releases if r.state == "live" and r.cohort in cohorts],  # not of one dissolved
            before={cohort: f"{cohort}@{found.version}" if found else None for cohort, found in before.items()},
            table=table,
            alarms=alarms,
        )


def returnable(
    found: Sequence[ReleaseState], digests: Mapping[tuple[str, int], str], cohort: str, faults: Mapping[str, str]
) -> list[ReleaseState]:
    """What is live, and what a rollback may return to."""
    return [s for s in found if s.state == "live" or digests.get((cohort, s.version)) not in faults]


def states(connection: Connection, cohort: str) -> list[ReleaseState]:
    went_live: dict[int, int] = {}
    rolled_back: dict[int, bool] = {}
    for event in rows.events(connection, cohort):
        if event.to_state == "live":
            went_live[event.version] = event.seq
        if event.from_state == "live":
            rolled_back[event.version] = event.event == "rolled_back"
    return [
        ReleaseState(r.version, r.state, went_live.get(r.version, 0), rolled_back.get(r.version, False))
        for r in rows.list_all(connection, cohort)
    ]
