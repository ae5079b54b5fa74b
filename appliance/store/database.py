"""The database of the appliance: many readers, one writer, and nothing acknowledged before it is on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TypeVar

from appliance.errors import SetupError, StoreUnavailable

from . import migrations
from .check import check_beside, fault_at_start
from .connections import read_only, read_write
from .faults import disk_fault
from .timestamps import now
from .writer import RETRY_S, Writer

T = TypeVar("T")

Connection = sqlite3.Connection  # for the rooms that hand operations to `write` and may not import sqlite3
SQLITE_VERSION = sqlite3.sqlite_version


class Database:
    """One SQLite file, owned by this process (see `Home.lock`)."""

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path = path
        self.damage: str | None = None  # what `check` has found
        self._writer = writer

    @classmethod
    def open(cls, path: Path, queue: int = 1000) -> Database:
        """Create or migrate the file, check it and start the writer, which holds at most `queue` waiting writes.

        Raises DatabaseTooNew, and SetupError for a file that cannot be opened or is damaged.
        """
        try:
            path.touch(mode=0o600)  # it holds what people asked; SQLite gives the WAL the same mode
            with closing(read_write(path)) as connection:
                migrations.migrate(connection, path)
                if fault := fault_at_start(connection, path):
                    raise SetupError(f"{path} is damaged ({fault}): restore the last backup")
        except (OSError, sqlite3.Error) as error:
            raise SetupError(f"{path}: {disk_fault(error) or error}") from error
        return cls(path, Writer(path, queue))

    @property
    def failing(self) -> str | None:
        """Why the last writes failed, until one succeeds; None while the store works."""
        return self._writer.failing

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run `operation` on the writer thread, in a transaction; its result comes when it is committed.

        What the operation raises is the future's exception, and only its own changes are undone. Raises
        StoreUnavailable when the queue is full or closed; the future has it when the disk fails.
        """
        return self._writer.submit(operation)

    async def commit(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Await `write`. The write itself is not cancelled with its waiter. Raises as `write` and `operation` do."""
        return await asyncio.shield(asyncio.wrap_future(self.write(operation)))

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection for a short while: an open read transaction keeps the WAL from being emptied."""
        try:
            with closing(read_only(self.path)) as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if reason := disk_fault(error):
                raise StoreUnavailable(reason, retry_after=RETRY_S) from error
            raise

    async def search(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` reads on a worker thread, which may take long: it ends when its waiter is cancelled."""
        held: list[sqlite3.Connection] = []

        def run() -> T:
            with self.read() as connection:
                held.append(connection)
                return work(connection)

        thread = asyncio.ensure_future(asyncio.to_thread(run))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            while not thread.done():  # an interrupt ends what runs, not what is about to
                for connection in held:
                    with suppress(sqlite3.ProgrammingError):  # it is closed, and the thread at its end
                        connection.interrupt()
                await asyncio.wait([thread], timeout=0.05)
            thread.exception()  # that it was interrupted: known
            raise

    def probe(self) -> Future[None]:
        """A tiny real write, to find out whether a failing disk has recovered."""
        return self.write(_probe)

    def check(self) -> Thread | None:
        """Look through what `open` had no time for, beside the work; what is wrong becomes `damage`."""

        def damaged(fault: str) -> None:
            self.damage = fault

        return check_beside(self.path, damaged)

    def close(self, timeout_s: float = 30.0) -> None:
        """Finish what is queued, empty the WAL and close; StoreUnavailable if that takes longer."""
        self._writer.close(timeout_s)


def refuse_unknown(path: Path) -> None:
    """Look, and change nothing. Raises DatabaseTooNew, and SetupError for a file that is no database."""
    try:
        with closing(read_only(path)) as connection:
            migrations.refuse_newer(connection, path)
    except sqlite3.Error as error:
        raise SetupError(f"{path}: {disk_fault(error) or error}") from error


def _probe(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE probe SET written = ?", (now(),))
