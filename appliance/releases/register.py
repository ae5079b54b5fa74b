"""Registering, promoting and rolling back releases: the effects around what `adapters.lifecycle` decides.

A new release is loaded beside the old one before one transaction moves the pointer; requests under way keep the
release they began with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from adapters import lifecycle, registry
from adapters.lifecycle import IllegalMove, Move, ReleaseState
from appliance.base import PreparedBase
from appliance.config import Config
from appliance.errors import ApplianceError, Conflict, NotFound
from appliance.releases import doubts, snapshot
from appliance.releases.admission import Admission, Made
from appliance.releases.lanes import Lanes
from appliance.releases.load_guard import WHY, LoadGuard
from appliance.releases.snapshot import Snapshot
from appliance.store import audit, reviews
from appliance.store import releases as rows
from appliance.store.database import Connection, Database
from appliance.store.releases import Release
from router.cohort import BASE
from router.table import RouteTable, Target

T = TypeVar("T")
Decide: TypeAlias = Callable[[Sequence[ReleaseState]], list[Move]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Switch:
    """The releases of a cohort after a change, as `legal@3`; None is the base."""

    cohort: str
    live: str | None
    previous: str | None


class Releases:
    """The register of one home. `table` is what routing uses; `alarms` says what cannot be served and why."""

    def __init__(
        self, config: Config, folder: Path, database: Database, base: PreparedBase, template_digest: str
    ) -> None:
        self._config, self.folder, self._database = config, folder, database
        self._base, self._admission = base, Admission(config, folder, base, template_digest)
        self._lanes: Lanes | None = None
        self._lock = asyncio.Lock()
        self._faults: dict[str, str] = {}  # digest to why it cannot be served
        self._guard = LoadGuard(folder.parent / "loading.json")
        self._settling: set[asyncio.Task[None]] = set()
        self._snapshot = Snapshot()

    @property
    def table(self) -> RouteTable:
        return self._snapshot.table

    @property
    def alarms(self) -> Sequence[str]:
        return self._snapshot.alarms

    @property
    def names(self) -> Mapping[str, str]:
        """Of all releases, as `legal@3`, by digest."""
        return self._snapshot.names

    async def open(self) -> None:
        """Read the register, check the files that routing may choose, sweep what a crash left."""
        await asyncio.to_thread(registry.sweep, self.folder)
        self._refresh()
        for target in {*self.table.live.values(), *self.table.named.values()}:
            fault = await asyncio.to_thread(self._fault, self.get(target.cohort, target.version))
            if fault:
                self._faults[target.digest] = fault
        self._faults |= dict.fromkeys(self._guard.struck(), f"{WHY}; promote it to try it once more")
        self._refresh()

    async def serve_with(self, lanes: Lanes) -> None:
        """From now on the live releases are resident in `lanes`; one that llama.cpp refuses raises an alarm and is
        replaced by the one before it, or by the base."""
        self._lanes = lanes
        async with self._lock:
            while True:
                self._refresh()
                refused = {}
                for target in self.table.live.values():
                    try:
                        with self._guard.loading(target.digest):
                            await lanes.attach(target, self.weight(target.cohort), spare=False)
                    except ApplianceError as error:
                        refused[target.digest] = error.message
                if not refused:
                    return
                self._faults |= refused

    async def vet(self, digest: str) -> None:
        """Before its file is loaded: it may have been changed, or be gone, since it was registered. Raises Conflict;
        then the release is out of service. Of what is no release nothing is known."""
        release = next((one for one in self.all() if one.digest == digest), None)
        fault = await asyncio.to_thread(self._fault, release) if release else None
        if release and fault:
            self.strike_out(digest, fault)
            raise Conflict(f"{release.name} cannot be served: {fault}")

    def strike_out(self, digest: str, why: str) -> None:
        """Take a release out of service at once, since it fails again and again, and load what stands in for it.
        Until it is promoted again, or the appliance starts again."""
        _log.error("%s is taken out of service: %s", self.names.get(digest, digest), why)
        self._faults[digest] = f"{why}; promote it, or start again, to try it once more"
        self._refresh()
        if self._lanes is not None:
            task = asyncio.create_task(self.serve_with(self._lanes))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    def all(self) -> list[Release]:
        """By cohort, newest version first."""
        with self._database.read() as connection:
            return rows.list_all(connection)

    def get(self, cohort: str, version: int) -> Release:
        """Raises NotFound."""
        with self._database.read() as connection:
            release = rows.get(connection, cohort, version)
        if release is None:
            raise NotFound(f"there is no release {cohort}@{version}")
        return release

    def weight(self, cohort: str) -> float:
        """The cohort's share of machine time, relative to the others'."""
        section = self._config.cohorts.get(cohort)
        return section.weight if section else 1.0

    def fault(self, target: Target) -> str | None:
        """Why this release cannot be served, if it cannot."""
        return self._faults.get(target.digest)

    def out_of_service(self) -> dict[str, str]:
        """The releases that cannot be served, and why."""
        return {self.names[digest]: why for digest, why in self._faults.items() if digest in self.names}

    def system_prompt(self, target: Target) -> str:
        """The prompt the release was made with; empty for none."""
        return self._snapshot.prompts[target.digest]

    def trouble(self, release: Release) -> str | None:
        """Why it cannot be served, or what speaks against how it answers."""
        fault = self._faults.get(release.digest)
        return f"it cannot be served: {fault}" if fault else self._doubt(release)

    def warning(self, release: Release) -> str | None:
        """What a person should know who looks at it in the list."""
        return self.trouble(release) or doubts.overdue(release)

    @property
    def warnings(self) -> list[str]:
        """Of the live releases."""
        found = (self._doubt(release) or doubts.overdue(release) for release in self._snapshot.live)
        return [doubt for doubt in found if doubt]

    def _doubt(self, release: Release) -> str | None:
        section = self._config.cohorts.get(release.cohort)
        stale = doubts.stale_prompt(release, section.system_prompt or "") if section else None
        return stale or (None if release.state == "retired" else self._unjudged(release))

    def _unjudged(self, release: Release) -> str | None:
        """Why its gate's verdict says nothing of the weights served, unless it passed a review on them since. Of
        another base it is no question of the format."""
        doubt = doubts.other_weights(release, self._base.format_digest)
        if doubt is None or release.base_digest != self._base.digest:
            return None
        with self._database.read() as connection:
            passed = reviews.passed(connection, release.digest, release.cohort, self._base.format_digest)
        return None if passed else doubt

    def switch(self, cohort: str) -> Switch:
        """What answers, and what a rollback returns to by the faults that are known."""
        live = self.table.live.get(cohort)
        return Switch(cohort, live.name if live else None, self._snapshot.before.get(cohort))

    def live(self, cohort: str) -> str:
        """What promote and rollback expect: the live release by the register, whether or not another has to answer
        for it, or base."""
        return next((release.name for release in self._snapshot.live if release.cohort == cohort), BASE)

    def next_version(self, cohort: str) -> int:
        with self._database.read() as connection:
            return max((r.version for r in rows.list_all(connection, cohort)), default=0) + 1

    async def add(self, path: Path, cohort: str, key_id: str, made: Made | None = None) -> Release:
        """Register an adapter as a candidate; without `made` it comes from elsewhere and is ungated. Raises
        InvalidRequest when it is refused, and Conflict when another has become the version that it was to be."""
        self._config.cohort(cohort)
        release = await self._admission.admit(path, cohort, made)
        async with self._lock:
            return await self._commit(lambda connection: _insert(connection, release, key_id))

    async def promote(self, cohort: str, version: int | None, key_id: str, expected: str | None = None) -> Switch:
        """Make a release live (default: the candidate). Raises NotFound, EngineFault, Conflict, also when another
        release than the `expected` one (base: none) is live, or when its gate judged other weights."""
        unjudged = await asyncio.to_thread(self._unjudged_of, cohort)

        def decide(states: Sequence[ReleaseState]) -> list[Move]:
            _require_live(cohort, states, expected)
            moves = lifecycle.promote(cohort, states, version)
            for doubt in (unjudged.get(move.version) for move in moves if move.to_state == "live"):
                if doubt:
                    raise IllegalMove(doubt)
            return moves

        return await self._move(cohort, "promote", key_id, decide)

    def _unjudged_of(self, cohort: str) -> dict[int, str]:
        return {r.version: doubt for r in self.all() if r.cohort == cohort and (doubt := self._unjudged(r))}

    async def reject(self, cohort: str, version: int, key_id: str) -> Switch:
        """Retire a candidate. Raises NotFound, Conflict."""
        return await self._move(cohort, "reject", key_id, lambda s: lifecycle.reject(cohort, s, version))

    async def rollback(self, cohort: str, key_id: str, expected: str | None = None) -> Switch:
        """Return to the release that was live before and can be served, or to the base. Raises Conflict, also when
        another release than the `expected` one is live."""
        self._faults |= await asyncio.to_thread(self._damaged_before, cohort)

        def decide(states: Sequence[ReleaseState]) -> list[Move]:
            _require_live(cohort, states, expected)
            return lifecycle.rollback(cohort, self._returnable(cohort, states, self._faults))

        return await self._move(cohort, "rollback", key_id, decide)

    def _damaged_before(self, cohort: str) -> dict[str, str]:
        """Faults, by digest, of releases that a rollback would return to, none of them known yet."""
        with self._database.read() as connection:
            states = snapshot.states(connection, cohort)
        found: dict[str, str] = {}
        while before := lifecycle.previous(self._returnable(cohort, states, self._faults | found)):
            release = self.get(cohort, before.version)
            fault = self._fault(release)
            if fault is None:
                break
            found[release.digest] = fault
        return found

    def _returnable(
        self, cohort: str, states: Sequence[ReleaseState], faults: Mapping[str, str]
    ) -> list[ReleaseState]:
        return snapshot.returnable(states, self._snapshot.digests, cohort, faults)

    async def _move(self, cohort: str, action: str, key_id: str, decide: Decide) -> Switch:
        self._config.cohort(cohort)
        async with self._lock:
            with self._database.read() as connection:
                states = snapshot.states(connection, cohort)
            await self._load_beforehand(cohort, _live_after(states, _decided(decide, states)))
            await self._commit(lambda connection: _apply(connection, cohort, action, key_id, decide))
            return self.switch(cohort)

    async def _commit(self, change: Callable[[Connection], T]) -> T:
        """Write, and take the new snapshot over, even when whoever asked for it has gone."""

        async def both() -> T:
            found = await self._database.commit(change)
            self._refresh()
            return found

        return await asyncio.shield(asyncio.ensure_future(both()))

    async def _load_beforehand(self, cohort: str, version: int | None) -> None:
        """Check and load what is about to be live: if it cannot be served, nothing has changed yet."""
        if version is None:
            return
        release = self.get(cohort, version)
        fault = await asyncio.to_thread(self._fault, release)
        if fault:
            raise Conflict(f"{release.name} cannot be served: {fault}")
        if self._lanes is not None:
            target = Target(cohort, version, release.digest)
            with self._guard.loading(release.digest):
                await self._lanes.attach(target, self.weight(cohort), spare=False)
        self._faults.pop(release.digest, None)

    def _fault(self, release: Release) -> str | None:
        if release.base_digest != self._base.digest:
            return "it was made for another base: retrain it, or go back to that base"
        return registry.damage(self.folder / release.digest, release.adapter_digest)

    def _refresh(self) -> None:
        """Read the register again."""
        with self._database.read() as connection:
            self._snapshot = Snapshot.read(connection, list(self._config.cohorts), self._faults)
        if self._lanes is not None:
            self._lanes.live = frozenset(target.digest for target in self.table.live.values())


def _decided(decide: Decide, states: Sequence[ReleaseState]) -> list[Move]:
    try:
        return decide(states)
    except IllegalMove as error:
        raise Conflict(str(error)) from error


def _require_live(cohort: str, states: Sequence[ReleaseState], expected: str | None) -> None:
    """Whoever decided by what was live decides again when it is not. Raises IllegalMove."""
    now = lifecycle.live(states)
    live = f"{cohort}@{now.version}" if now else BASE
    if expected not in (None, live):
        raise IllegalMove(f"{expected} is not live any more, {live} is: look again")


def _live_after(states: Sequence[ReleaseState], moves: Sequence[Move]) -> int | None:
    """Promoting what is live moves nothing, and tries it once more if it was taken out of service."""
    now = lifecycle.live(states)
    return next((m.version for m in moves if m.to_state == "live"), now.version if now and not moves else None)


def _insert(connection: Connection, release: Release, key_id: str) -> Release:
    added = rows.insert(connection, release, key_id)
    told = release.manifest.get("passport_given", {}).get("version", str(added.version))
    if told != str(added.version):
        raise Conflict(f"it was to be {release.cohort}@{told}, which another release is by now")
    audit.record(connection, key_id, "release.add", added.name, None, added.manifest)
    return added


def _apply(connection: Connection, cohort: str, action: str, key_id: str, decide: Decide) -> None:
    """Decide again inside the transaction, move the pointer, append events and the audit row."""
    before = rows.live(connection, cohort)
    for move in _decided(decide, snapshot.states(connection, cohort)):
        rows.set_state(connection, cohort, move.version, move.to_state, move.event, key_id)
    after = rows.live(connection, cohort)
    audit.record(connection, key_id, f"release.{action}", cohort, _live(before), _live(after))


def _live(release: Release | None) -> dict[str, Any]:
    return {"live": None} if release is None else {"live": release.name, "digest": release.digest}
