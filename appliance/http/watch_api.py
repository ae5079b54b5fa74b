"""The operator API of the console's gauges: recent traffic, and the machine."""

from __future__ import annotations

import asyncio
import platform
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from typing import Annotated

import psutil
from fastapi import APIRouter, Query

from appliance.http.box import Box, TheBox, Views
from appliance.http.failures import documented
from appliance.http.strict import StrictRoute
from appliance.http.traffic import traffic
from appliance.releases.lanes import free_memory
from appliance.store import timestamps
from appliance.store import traffic as rows
from appliance.store.database import SQLITE_VERSION
from appliance.wire.watch import System, Traffic

router = APIRouter(prefix="/admin/v1", route_class=StrictRoute, tags=["operation"], responses=documented(503))
Minutes = Annotated[int, Query(ge=1, le=24 * 60)]
PACKAGES = (
    "cohort-appliance",
    "llama-cpp-python",
    "onnxruntime",
    "onnxruntime-gpu",
    "fastapi",
    "uvicorn",
    "tokenizers",
)


@router.get("/traffic", response_model=Traffic)
async def recent(box: TheBox, _caller: Views, minutes: Minutes = 15) -> Traffic:
    """The last minutes as figures: requests, times, where they went. At most the newest 5,000 are looked at."""

    def look() -> Traffic:
        until = datetime.now(UTC)
        since = until - timedelta(minutes=minutes)
        with box.database.read() as connection:
            seen = rows.recent(connection, timestamps.of(since), timestamps.of(until))
        return traffic(seen, box.config.cohorts, since, until)

    return await asyncio.to_thread(look)


@router.get("/system", response_model=System)
async def system(box: TheBox, _caller: Views) -> System:
    """Versions, base, disk, memory, and the configuration as it was read."""
    return await asyncio.to_thread(_system, box)


def _system(box: Box) -> System:
    base, serving = box.base, box.serving
    return System(
        versions=_versions(),
        base=base and {"id": base.id, "digest": base.digest, "format": base.format},
        home=str(box.home.path),
        database_bytes=box.home.database.stat().st_size,
        disk_free_bytes=shutil.disk_usage(box.home.path).free,
        memory_bytes=psutil.Process().memory_info().rss,
        memory_free_bytes=free_memory(),
        lane_bytes=base.lane_bytes(serving.context) if base and serving else None,
        cache_bytes=serving.engine.snapshots.bytes if serving else None,
        config=box.config.model_dump(mode="json"),
    )


@cache  # each is a search of the path for files, and none changes while the process lives
def _versions() -> dict[str, str]:
    """Of what is installed: with a GPU onnxruntime-gpu stands in for onnxruntime."""
    found = {"python": platform.python_version(), "sqlite": SQLITE_VERSION}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
