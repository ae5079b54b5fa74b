"""Jobs at the end of the process: what came of them is remembered, as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appliance.errors import Conflict, StoreUnavailable, Unavailable
from appliance.jobs import Jobs, Progress, shielded
from appliance.store.database import Connection, Database
from appliance.store.jobs import Job

T = TypeVar("T")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "appliance.db")
    yield opened
    opened.close()


def test_who_reads_that_a_job_has_ended_may_begin_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is written a moment before its task is over."""
    commit = Database.commit

    async def slowly(self: Database, change: Callable[[Connection], T]) -> T:
        found = await commit(self, change)
        await asyncio.sleep(0.2)
        return found

    async def work(_progress: Progress) -> dict[str, Any]:
        return {}

    async def life() -> list[str]:
        jobs = Jobs(database, lambda _kind, _state: None)
        first = await jobs.start("evaluate", "legal", "admin", {}, work)
        monkeypatch.setattr(Database, "commit", slowly)
        while jobs.get(first.id).state == "running":
            await asyncio.sleep(0.005)
        assert jobs.progress(first.id) is not None, "its task is not over"
        next_ones = [jobs.start("evaluate", "legal", "admin", {}, work) for _ in range(2)]
        told = await asyncio.gather(*next_ones, return_exceptions=True)
        await jobs.close()
        return [type(one).__name__ for one in told]

    assert asyncio.run(life()) == ["Job", "Conflict"], "one of them"


def stopped(database: Database, seconds: float) -> Job:
    """A job whose last step, of so many seconds, was under way when the process was told to end."""

    async def work(_progress: Progress) -> dict[str, Any]:
        await shielded(asyncio.sleep(seconds)) if seconds else await asyncio.sleep(60)
        return {"release": "legal@1"}

    async def life() -> Job:
        jobs = Jobs(database, lambda _kind, _state: None)
        await jobs.open()
        job = await jobs.start("retrain", "legal", "admin", {}, work)
        await asyncio.sleep(0.05)
        await jobs.close()
        return jobs.get(job.id)

    return asyncio.run(life())


def test_what_finishes_while_the_process_ends_is_done(database: Database) -> None:
    job = stopped(database, 0.2)
    assert (job.state, job.result, job.error) == ("done", {"release": "legal@1"}, None)


def test_what_does_not_is_interrupted(database: Database) -> None:
    job = stopped(database, 0)
    assert (job.state, job.result) == ("interrupted", None) and "begin it again" in str(job.error)


def test_none_begins_while_the_process_ends(database: Database) -> None:
    async def work(_progress: Progress) -> dict[str, Any]:
        return {}

    async def life() -> None:
        jobs = Jobs(database, lambda _kind, _state: None)
        await jobs.close()
        with pytest.raises(Unavailable) as refused:
            await jobs.start("retrain", "legal", "admin", {}, work)
        assert refused.value.code == "draining" and jobs.all(5) == []

    asyncio.run(life())


def test_a_disk_that_is_full_hides_no_end_and_keeps_no_job_alive(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Database.commit

    async def full(*_: object) -> None:
        raise StoreUnavailable("the disk of the database is full", retry_after=5)

    async def work(_progress: Progress) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def life() -> None:
        jobs = Jobs(database, lambda _kind, _state: None)
        job = await jobs.start("retrain", "legal", "admin", {}, work)
        await asyncio.sleep(0.05)
        monkeypatch.setattr(Database, "commit", full)
        monkeypatch.setattr("appliance.jobs._RETRY_S", 0.05)
        monkeypatch.setattr("appliance.jobs._MOMENT_S", 0.1)
        assert (await jobs.cancel(job.id, "admin")).state == "running", "as far as the database knows"
        progress = jobs.progress(job.id)
        assert progress is not None and progress.doing.startswith("cancelled, but the disk does not take it down yet")
        for refused in (jobs.start("retrain", "legal", "admin", {}, work), jobs.cancel(job.id, "admin")):
            with pytest.raises(Conflict, match="has ended, and the disk does not take it down yet"):
                await refused
        monkeypatch.setattr(Database, "commit", commit)
        while jobs.get(job.id).state == "running":
            await asyncio.sleep(0.02)
        assert jobs.get(job.id).state == "cancelled"

    asyncio.run(life())


def test_what_ends_while_its_cancel_waits_for_a_full_disk_keeps_its_result(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, go_on = Database.commit, asyncio.Event()

    async def slowly_full(*_: object) -> None:
        go_on.set()
        await asyncio.sleep(0.2)
        raise StoreUnavailable("the disk of the database is full", retry_after=5)

    async def work(_progress: Progress) -> dict[str, Any]:
        await go_on.wait()
        return {"release": "legal@1"}

    async def life() -> Job:
        jobs = Jobs(database, lambda _kind, _state: None)
        job = await jobs.start("retrain", "legal", "admin", {}, work)
        monkeypatch.setattr(Database, "commit", slowly_full)
        monkeypatch.setattr("appliance.jobs._RETRY_S", 0.05)
        monkeypatch.setattr("appliance.jobs._MOMENT_S", 0.1)
        assert (await jobs.cancel(job.id, "admin")).state == "running"
        monkeypatch.setattr(Database, "commit", commit)
        while jobs.get(job.id).state == "running":
            await asyncio.sleep(0.02)
        return jobs.get(job.id)

    ended = asyncio.run(life())
    assert (ended.state, ended.result) == ("done", {"release": "legal@1"})


def test_one_that_begins_while_the_process_ends_is_interrupted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Database.commit

    async def work(_progress: Progress) -> dict[str, Any]:
        await asyncio.sleep(60)
        return {}

    async def life() -> Job:
        jobs = Jobs(database, lambda _kind, _state: None)

        async def meanwhile(self: Database, change: Callable[[Connection], T]) -> T:
            monkeypatch.setattr(Database, "commit", commit)
            found = await commit(self, change)
            await jobs.close()
            return found

        monkeypatch.setattr(Database, "commit", meanwhile)
        job = await jobs.start("retrain", "legal", "admin", {}, work)
        return jobs.get(job.id)

    assert asyncio.run(life()).state == "interrupted"
