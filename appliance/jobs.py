"""Long work under way: one job at a time, watched, cancelled, and remembered."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from appliance.children import Cancellation
from appliance.errors import ApplianceError, Conflict, StoreUnavailable, Unavailable
from appliance.store import audit, timestamps
from appliance.store import jobs as rows
from appliance.store.database import Connection, Database
from appliance.store.jobs import Job, State

_log = logging.getLogger(__name__)
_RETRY_S = 5.0
_MOMENT_S = 1.0
_UNDER_WAY = "is under way, and one runs at a time: wait for it, or cancel it"
_UNENDED = "has ended, and the disk does not take it down yet: free some"
_POINTS = 500  # of the loss curve that are kept
_LINES = 50  # of the log of a job that are kept
_ENDED = 20  # jobs whose progress is kept once they have ended


@dataclass(slots=True)
class Progress:
    """Of a job: `fraction` of 1, the newest figures, the losses so far, and what it did, each thing once with its
    last word."""

    fraction: float = 0.0
    doing: str = "waiting"
    figures: dict[str, Any] = field(default_factory=dict)
    losses: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, str]] = field(default_factory=list)

    def tell(self, fraction: float, doing: str) -> None:
        self.fraction, self.doing = max(self.fraction, fraction), doing  # parts of parts begin at zero
        told = {"at": timestamps.now(), "says": doing}
        if self.log and _thing(self.log[-1]["says"]) == _thing(doing):
            self.log[-1] = told
        else:
            self.log.append(told)
            del self.log[:-_LINES]

    def train(self, told: dict[str, Any]) -> None:
        """A line of the training child's."""
        self.figures = {**self.figures, **told}  # a new one: this is a worker's thread, and others read it
        if "loss" in told or "validation" in told:
            self.losses.append({name: told[name] for name in ("step", "loss", "validation") if name in told})
            del self.losses[:-_POINTS]


def _thing(doing: str) -> str:
    """What is being done; the rest changes with every step."""
    return doing.rpartition(":")[0] or doing


T = TypeVar("T")


async def run_cancellable(work: Callable[[Cancellation], T]) -> T:
    """On a worker thread. A cancellation ends its child and waits for the thread: nothing goes on unseen."""
    cancellation = Cancellation()
    thread = asyncio.ensure_future(asyncio.to_thread(work, cancellation))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        cancellation.cancel()
        await asyncio.wait([thread])
        thread.exception()  # that it was cancelled: known
        raise


async def shielded(work: Coroutine[None, None, T]) -> T:
    """A step that is done or not, never half: a cancellation meanwhile comes too late."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        return task.result()


Work: TypeAlias = Callable[[Progress], Awaitable[dict[str, Any]]]


class Jobs:
    """Lives on the event loop."""

    def __init__(self, database: Database, ended: Callable[[str, State], None]) -> None:
        """`ended` is told the kind of each job, and how it ended."""
        self._database, self._ended = database, ended
        self._task: asyncio.Task[None] | None = None
        self._current: tuple[str, Progress] | None = None
        self._past: dict[str, Progress] = {}
        self._ending = self._closing = False

    async def open(self) -> None:
        """Say of those that ran when the process ended that they were interrupted."""
        await self._database.commit(rows.interrupt)

    async def start(self, kind: str, cohort: str, key_id: str, asked: dict[str, Any], work: Work) -> Job:
        """Begin it. Raises Conflict while another is under way, Unavailable while the appliance stops."""
        if self._task is not None and self._ending:  # its row may say so already, and who read that begins the next
            await asyncio.wait([self._task], timeout=_MOMENT_S)
        if self._closing:
            raise Unavailable("the appliance is stopping: begin it after its start", code="draining", retry_after=30)
        if self._current is not None:
            raise Conflict(f"job {self._current[0]} {_UNENDED if self._ending else _UNDER_WAY}")
        identity = f"job_{secrets.token_hex(6)}"
        self._current = (identity, Progress())

        def insert(connection: Connection) -> Job:
            rows.interrupt(connection)  # none runs: one that says so could not write its end
            audit.record(connection, key_id, f"job.{kind}", cohort, None, {"id": identity, **asked})
            return rows.insert(connection, identity, kind, cohort, key_id, asked)

        try:
            job = await self._database.commit(insert)
        except BaseException:
            self._current = None
            raise
        self._task = asyncio.create_task(self._run(identity, kind, self._current[1], work))
        if self._closing:  # meanwhile
            await self.close()
        return job

    async def _run(self, identity: str, kind: str, progress: Progress, work: Work) -> None:
        state: State = "failed"
        result, error = None, None
        try:
            result = await work(progress)
            state = "done"
        except asyncio.CancelledError:
            state, error = "cancelled", "cancelled by an operator"
            if self._closing:
                state, error = "interrupted", rows.INTERRUPTED
        except ApplianceError as failure:
            error = failure.message
        except OSError as failure:
            error = f"{failure.filename or 'the disk'}: {failure.strerror}; look at disk, path and rights"
        except Exception as failure:  # else the one who watches waits for ever
            _log.exception("job %s failed", identity)
            error = f"unforeseen: {failure!r}"
        self._ended(kind, state)
        self._ending = True
        try:
            await self._end(identity, progress, state, result, error)
        finally:
            self._current, self._ending = None, False
            self._past[identity] = progress
            for old in list(self._past)[:-_ENDED]:
                del self._past[old]

    async def _end(
        self, identity: str, progress: Progress, state: State, result: dict[str, Any] | None, error: str | None
    ) -> None:
        """Write it down, as soon as the disk takes it; once at the end of the process."""
        while True:
            try:
                await self._database.commit(lambda connection: rows.end(connection, identity, state, result, error))
            except StoreUnavailable:
                if self._closing:
                    return
                progress.tell(1.0, f"{state}, but the disk does not take it down yet: {error or 'free some'}")
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def progress(self, identity: str) -> Progress | None:
        """Of the job under way; None for any other."""
        return self._current[1] if self._current and self._current[0] == identity else None

    def past(self, identity: str) -> Progress | None:
        """How far a job came that has ended of late; None once it is long ago, or the process is another."""
        return self._past.get(identity)

    def get(self, identity: str) -> Job:
        """Raises NotFound."""
        with self._database.read() as connection:
            return rows.get(connection, identity)

    def all(self, limit: int, kind: str | None = None, cohort: str | None = None) -> list[Job]:
        """Newest first."""
        with self._database.read() as connection:
            return rows.listing(connection, limit, kind, cohort)

    async def cancel(self, identity: str, key_id: str) -> Job:
        """End it and its child. Raises NotFound, Conflict when it has ended already."""
        job, task = self.get(identity), self._task
        if task is None or self._ending or self.progress(identity) is None:
            raise Conflict(f"job {identity} {_UNENDED if self._ending else f'is {job.state} already'}")
        try:
            await self._database.commit(
                lambda connection: audit.record(connection, key_id, "job.cancel", identity, None, {"kind": job.kind})
            )
        except StoreUnavailable as error:  # it may be what fills the disk
            _log.error("%s is cancelled by %s, which the audit trail lacks: %s", identity, key_id, error.message)
        if not self._is_ending(task) and not task.cancelling():  # a second one would interrupt the clearing up
            task.cancel()
        while not self._is_ending(task):
            await asyncio.wait([task], timeout=0.1)
        await asyncio.wait([task], timeout=_MOMENT_S)  # a full disk takes its end down later
        return self.get(identity)

    def _is_ending(self, task: asyncio.Task[None]) -> bool:
        """Its work is over, and its end written down or about to be, whatever the disk says."""
        return task.done() or (self._ending and task is self._task)

    async def close(self) -> None:
        """At the end of the process: what runs is interrupted, and goes on when it is begun again."""
        self._closing = True
        await asyncio.sleep(0)  # a task that is cancelled before it has begun writes no end
        if self._task is not None and not self._task.done():
            if not self._task.cancelling():
                self._task.cancel()
            await asyncio.wait([self._task])
