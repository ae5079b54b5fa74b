"""Jobs at the end of the process: what came of them is remembered, as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.jobs import Jobs, Progress, shielded
from appliance.store.database import Database
from appliance.store.jobs import Job


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "appliance.db")
    yield opened
    opened.close()


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
