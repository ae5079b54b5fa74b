"""The one thread that writes: it owns the read-write connection and commits what waits in groups."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Generic, TypeVar

from appliance.errors import StoreUnavailable

from .connections import BUSY_S, read_only, read_write
from .faults import disk_fault

T = TypeVar("T")

GROUP = 64  # operations a commit: one fdatasync for all of them
IDLE_S = 1.0  # after this long without work the WAL is emptied into the database
RETRY_S = 5  # told to callers when the disk fails


class Task(Generic[T]):
    """An operation, and the future of its caller."""

    def __init__(self, operation: Callable[[sqlite3.Connection], T]) -> None:
        self.future: Future[T] = Future()
        self._operation = operation
        self._settle: Callable[[], None]

    def run(self, connection: sqlite3.Connection) -> bool:
        """Run in a savepoint of its own and say whether it changed a row. A failing disk is raised: it fails all."""
        before = connection.total_changes
        connection.execute("SAVEPOINT task")
        try:
            value = self._operation(connection)
        except BaseException as error:
            if disk_fault(error):
                raise
            connection.execute("ROLLBACK TO task")
            self._settle = partial(self.future.set_exception, error)
            changed = False
        else:
            self._settle = partial(self.future.set_result, value)
            changed = connection.total_changes > before
        connection.execute("RELEASE task")
        return changed

    def settle(self) -> None:
        """Give the caller the outcome of `run`, once it is on disk."""
        self._settle()


class Writer:
    """A queue of at most `capacity` tasks and the thread that empties it."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.failing: str | None = None
        self._path = path
        self._capacity = capacity
        self._tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        self._gate = Lock()  # nothing enters the queue behind the None that ends it
        self._closed = False
        self._ending = False
        self._connection: sqlite3.Connection | None = None
        self._anchor: sqlite3.Connection | None = None
        self._wal_in_use = False
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Callable[[sqlite3.Connection], T]) -> Future[T]:
        task = Task(operation)
        with self._gate:
            if self._closed:
                raise StoreUnavailable("the store is closed: the appliance is stopping", retry_after=RETRY_S)
            if self._tasks.qsize() >= self._capacity:
                raise StoreUnavailable(
                    f"{self._capacity} writes already wait for the disk: try again in a moment", retry_after=1
                )
            self._tasks.put(task)
        return task.future

    def close(self, timeout_s: float) -> None:
        with self._gate:
            self._closed = True
            self._tasks.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise StoreUnavailable(
                f"{self._path} is still being written after {timeout_s:g} s: what was not acknowledged may be lost"
            )

    def _run(self) -> None:
        while not self._ending:
            if group := self._next_group():
                self._commit(group)
            elif self._wal_in_use:
                self._checkpoint()
        self._checkpoint()
        if self._anchor is not None:
            self._anchor.close()
        self._disconnect()

    def _next_group(self) -> list[Task[Any]]:
        """Wait for work, then take what is there; empty when idle or when everyone stopped waiting."""
        group: list[Task[Any]] = []
        with suppress(Empty):
            task = self._tasks.get(timeout=IDLE_S if self._wal_in_use else None)
            while task is not None:
                if task.future.set_running_or_notify_cancel():
                    group.append(task)
                if len(group) == GROUP:
                    return group
                task = self._tasks.get_nowait()
            self._ending = True
        return group

    def _commit(self, group: list[Task[Any]]) -> None:
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            changes = [task.run(connection) for task in group]
            connection.execute("COMMIT")
        except BaseException as error:  # whatever it was, the thread goes on
            self._fail(group, error)
        else:
            self._wal_in_use = True
            if any(changes):  # an empty commit touches no disk and proves nothing
                self.failing = None
            for task in group:
                task.settle()

    def _fail(self, group: list[Task[Any]], error: BaseException) -> None:
        self._disconnect()  # also what rolls back
        reason = disk_fault(error)
        self.failing = reason or self.failing
        for task in group:
            task.future.set_exception(StoreUnavailable(reason, retry_after=RETRY_S) if reason else error)

    def _connect(self) -> sqlite3.Connection:
        """The connection, and beside it an idle reader that keeps the WAL's index while the writer reconnects.

        Without it a failed commit whose frames did reach the WAL file would come back at the next connect, and later
        commits would stand behind frames that no fsync has confirmed.
        """
        if self._connection is None:
            self._connection = read_write(self._path)
        if self._anchor is None:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # of what a crash left, too
            self._anchor = read_only(self._path)
        return self._connection

    def _disconnect(self) -> None:
        """Close, so that the next group starts afresh: after a failed fsync a connection cannot be trusted."""
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        self._wal_in_use = False

    def _checkpoint(self) -> None:
        """Empty the WAL without waiting for readers: what one of them still needs stays for the next time."""
        if self._connection is None:
            return
        self._wal_in_use = False
        try:
            self._connection.execute("PRAGMA busy_timeout=0")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_S * 1000:.0f}")
        except sqlite3.Error as error:
            self._disconnect()
            self.failing = disk_fault(error) or self.failing
