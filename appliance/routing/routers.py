"""The register of text routers: which one is in force, how a new one is fitted and judged, and the way back."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance import children
from appliance.children import Cancellation
from appliance.config import Config
from appliance.errors import ApplianceError, Conflict, InvalidRequest
from appliance.jobs import run_cancellable, shielded
from appliance.progress import Report
from appliance.routing import encoder_package, router_rows
from appliance.routing.offline import Offline
from appliance.routing.router_rows import FitData, LabelledText
from appliance.store import audit
from appliance.store import routers as rows
from appliance.store.database import Connection, Database
from appliance.store.examples import Split
from appliance.store.routers import Router
from router import evaluate
from router.cohort import BASE
from router.decide import decide
from router.decision import Decision
from router.errors import RouterRefused
from router.gate import regressions
from router.layers import Query

if TYPE_CHECKING:
    from router.classifier import FittedRouter

FIT_SECONDS = 4 * 3600  # of processor time: an hour of 100,000 texts, niced, on a small machine
FIT_MEMORY = 24 << 30  # bytes of addresses, of which torch reserves many
_SCRATCH = "fit-"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FitOptions:
    """A fit on `more` rows beside those that are there; `contrastive` tunes the encoder on half of all first, `force`
    puts the router in force though a cohort lost by it."""

    more: Sequence[LabelledText] = ()
    contrastive: bool = False
    force: bool = False


class Routers:
    """Lives on the event loop. `current` is what decides, None without one; `fault` says why there is none."""

    def __init__(self, config: Config, examples: Path, folder: Path, database: Database) -> None:
        self._config, self._examples, self._folder, self._database = config, examples, folder, database
        self._cohorts = config.routing()
        self.current: FittedRouter | None = None
        self.fault: str | None = None
        self.offline = Offline()
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Load the one in force. One that cannot be loaded leaves the text layers out, with an alarm."""
        for left in self._folder.glob(f"{_SCRATCH}*"):  # by a fit that was killed; it holds people's texts
            shutil.rmtree(left, ignore_errors=True)
        with self._database.read() as connection:
            live = rows.live(connection)
        if live is None:
            return
        try:
            self.current = await self.load(live)
        except RouterRefused as error:
            self.fault = f"{live.name} cannot be used: {error}"
            _log.error(self.fault)

    async def load(self, router: Router) -> FittedRouter:
        """Raises RouterRefused."""
        return await asyncio.to_thread(self._load, router.digest, router.name)

    def _load(self, digest: str, version: str) -> FittedRouter:
        from router import artefact  # here, since commands that route nothing need no onnxruntime

        return artefact.load(self._folder / digest, version, list(self._config.cohorts))

    def all(self) -> list[Router]:
        """Newest first."""
        with self._database.read() as connection:
            return rows.list_all(connection)

    def get(self, version: int) -> Router:
        """Raises NotFound."""
        with self._database.read() as connection:
            return rows.get(connection, version)

    # -- a new one ------------------------------------------------------------------------------------------------

    async def fit(self, wanted: FitOptions, key_id: str, tell: Report) -> Router:
        """Fit on the shipped and imported examples and `wanted.more`, judge, and put it in force unless it provably
        loses. `tell` gets the share done, of 1, and what is done. Raises ApplianceError."""
        encoder = await asyncio.to_thread(encoder_package.locate)
        material = await asyncio.to_thread(self._material, wanted.more)
        job = {"encoder": str(encoder), "contrastive": wanted.contrastive}
        try:
            digest = await run_cancellable(lambda cancellation: self._child(material.train, job, tell, cancellation))
            tell(0.95, f"judging it on {len(material.judged)} rows kept apart")
            return await self._judge(digest, material.judged, key_id, force=wanted.force)
        except (RouterRefused, children.ChildFailed) as error:
            raise ApplianceError(_explained(error)) from error

    def _material(self, more: Sequence[LabelledText] = ()) -> FitData:
        """What to fit on, and what to judge by. Raises InvalidRequest."""
        own, eval_rows = [*more, *self._imported("train")], self._imported("eval")
        return router_rows.material(self._examples, [*self._config.cohorts], own, eval_rows)

    def _child(self, train: list[LabelledText], job: dict[str, Any], tell: Report, cancellation: Cancellation) -> str:
        """In a confined process. Returns the artefact's digest. Raises ChildFailed."""
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=self._folder) as scratch:
            given, described = Path(scratch) / "rows.jsonl", Path(scratch) / "job.json"
            with given.open("w", encoding="utf-8") as file:
                for text in router_rows.texts(train):
                    file.write(json.dumps(text) + "\n")
            places = {"rows": str(given), "cache": str(self._folder), "target": str(self._folder)}
            described.write_text(json.dumps({**job, **places, "classes": [*self._config.cohorts, BASE]}))
            digest = ""
            limits = {"cpu_seconds": FIT_SECONDS, "memory_bytes": FIT_MEMORY, "timeout_s": FIT_SECONDS}
            for line in children.run("router.fit", str(described), **limits, cancellation=cancellation):
                told = children.parse_line(line)
                digest = told.get("digest", digest)
                if "fraction" in told:
                    tell(0.95 * told["fraction"], told["doing"])
            return digest

    async def _judge(self, digest: str, judged: list[LabelledText], key_id: str, *, force: bool) -> Router:
        """Compare it with the one in force."""
        loaded = await asyncio.to_thread(self._load, digest, "new")
        new = await self.decisions(judged, loaded)
        found = await self._report(judged, new)
        refusals: list[str] = []
        before = self.current
        if before is not None and not force:
            old = await self.decisions(judged, before)
            refusals = await self.offline.once(lambda: regressions([row.cohort for row in judged], old, new))
        made = {"digest": digest, "key_id": key_id, "report": found, "refusals": refusals}
        return await shielded(self._enter(loaded, made, self.current if force else before))

    async def _enter(self, loaded: FittedRouter, made: dict[str, Any], compared: FittedRouter | None) -> Router:
        """In the table, and in force unless it was refused, or another is in force than the one `compared`."""
        key_id, refusals = made["key_id"], made["refusals"]

        def insert(connection: Connection) -> Router:
            before = rows.live(connection)
            router = rows.insert(connection, manifest=loaded.manifest, **made)
            _audit(connection, key_id, "router.refuse" if refusals else "router.fit", before, router)
            return router

        async with self._lock:  # or a switch in between would leave this one in force and that one in the table
            if self.current is not compared:  # an operator is not overruled
                refusals.append("another router was put in force while this one was judged: fit again")
            router = await self._database.commit(insert)
            if not refusals:
                loaded.version = router.name
                self.current, self.fault = loaded, None
        return router

    async def switch(self, version: int | None, key_id: str, expected: str | None = None) -> Router:
        """Put an earlier router in force: that version, or the newest older one that once was. Raises NotFound,
        Conflict when there is none, its files are damaged, or another than the `expected` one is in force."""
        router = self._before() if version is None else self.get(version)
        try:
            loaded = await self.load(router)
        except RouterRefused as error:
            raise Conflict(f"{router.name} cannot be used: {error}", param="version") from error

        def change(connection: Connection) -> Router:
            before = rows.live(connection)
            if expected is not None and (before is None or before.name != expected):
                raise Conflict(
                    f"{before.name if before else 'no router'} is in force by now: look again", param="live"
                )
            now = rows.switch(connection, router.version)
            _audit(connection, key_id, "router.switch", before, now)
            return now

        async with self._lock:
            switched = await self._database.commit(change)
            self.current, self.fault = loaded, None
        return switched

    def _before(self) -> Router:
        known = self.all()
        live = next((router.version for router in known if router.state == "live"), 0)
        for router in known:
            if router.state == "retired" and router.version < live:
                return router
        raise Conflict("there is no earlier router to go back to")

    def kept_apart(self) -> list[LabelledText]:
        """The rows that a fit would be judged by now."""
        return self._material().judged

    def _imported(self, split: Split) -> list[LabelledText]:
        return router_rows.imported(self._database, [*self._config.cohorts, BASE], split)

    # -- the same decisions, offline -------------------------------------------------------------------------------

    async def decisions(self, given: Sequence[LabelledText], router: FittedRouter | None) -> list[Decision]:
        """Where the rows would go, by the function that decides live traffic; some 5 ms of a processor each."""

        def work(row: LabelledText) -> Decision:
            return decide(Query(row.prompt, row.metadata), self._cohorts, router)

        return await self.offline.each(work, given)

    async def report(self, given: Sequence[LabelledText]) -> dict[str, Any]:
        """How good the router in force is on these rows. Raises InvalidRequest without rows."""
        if not given:
            raise InvalidRequest("there are no rows to evaluate", param="paths")
        router = self.current
        decided = await self.decisions(given, router)
        found = await self._report(given, decided)
        threshold = router.policy.classifier.threshold if router else None
        return {**found, "threshold": threshold, "router": router.version if router else None}

    async def _report(self, given: Sequence[LabelledText], decided: Sequence[Decision]) -> dict[str, Any]:
        """The report, empty without rows, and the cohorts of which there were none."""
        found = await self.offline.once(lambda: evaluate.report(scored(given, decided))) if given else {}
        return {**found, "unjudged": router_rows.unjudged(given, [*self._config.cohorts])}


def scored(given: Sequence[LabelledText], decisions: Sequence[Decision]) -> list[evaluate.Scored]:
    return [evaluate.scored(row.cohort, decision) for row, decision in zip(given, decisions, strict=True)]


def _explained(error: Exception) -> str:
    """With the remedy, where the child lacks a package: those for fitting are installed apart."""
    lacks = isinstance(error, children.ChildFailed) and error.lacks
    return f"{error} (make train-tools installs it)" if lacks else str(error)


def _audit(connection: Connection, key_id: str, action: str, before: Router | None, after: Router) -> None:
    told = [{"router": r.name, "digest": r.digest, "refusals": r.refusals} if r else None for r in (before, after)]
    audit.record(connection, key_id, action, after.name, *told)
