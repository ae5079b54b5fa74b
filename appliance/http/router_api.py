"""The operator API of the text router: evaluate, replay, go back. A fit is a job."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from appliance.errors import InvalidRequest
from appliance.http import streams
from appliance.http.box import Operates, TheBox, Views
from appliance.http.failures import documented
from appliance.http.strict import StrictRoute
from appliance.routing import replay, router_rows
from appliance.routing.router_rows import LabelledText
from appliance.store.routers import Router
from appliance.wire.router import (
    ReplayRequest,
    RouterEntry,
    RouterEvalRequest,
    RouterSwitchRequest,
)

router = APIRouter(prefix="/admin/v1", route_class=StrictRoute, tags=["router"], responses=documented(503))


@router.get("/routers", response_model=list[RouterEntry])
async def routers(box: TheBox, _caller: Views) -> list[RouterEntry]:
    """Every router fitted here, newest first."""
    return [entry(found) for found in box.text_routers().all()]


@router.post("/router/switch", response_model=RouterEntry, responses=documented(404, 409, 415))
async def switch(body: RouterSwitchRequest, box: TheBox, caller: Operates) -> RouterEntry:
    """Put an earlier router in force; without a version, the one before."""
    return entry(await box.text_routers().switch(body.version, caller.key_id, body.live))


@router.post("/router/eval", responses=documented(409, 415))
async def evaluation(request: Request, body: RouterEvalRequest, box: TheBox, caller: Views) -> dict[str, Any]:
    """How good the router in force is on labelled rows, by the decisions it would make. Naming files takes an
    operator. One evaluation or replay runs at a time, for as long as its caller waits."""
    if body.paths:
        caller.require("operator")
    given = await rows_of(box, body.paths) if body.paths else await asyncio.to_thread(box.text_routers().kept_apart)
    if not body.metadata:
        given = [replace(row, metadata={}) for row in given]
    return await streams.until_gone(request, box.text_routers().report(given))


@router.post("/router/replay", responses=documented(404, 409, 415))
async def replayed(request: Request, body: ReplayRequest, box: TheBox, _caller: Views) -> dict[str, Any]:
    """What the newest logged requests would be decided to be by another router, or at another threshold."""
    work = replay.replay(box.database, box.keys, box.text_routers(), box.config.routing(), body)
    return await streams.until_gone(request, work)


async def rows_of(box: TheBox, paths: list[str]) -> list[LabelledText]:
    """What stands in these files. Raises InvalidRequest."""
    if not all(Path(path).is_absolute() for path in paths):
        raise InvalidRequest("paths are absolute paths on the appliance's machine", param="paths")

    def read() -> list[LabelledText]:
        return [row for path in paths for row in _of_file(Path(path), box.config.cohorts)]

    return await asyncio.to_thread(read)


def _of_file(path: Path, cohorts: Iterable[str]) -> list[LabelledText]:
    found = list(router_rows.from_file(path, cohorts))
    if not found:
        raise InvalidRequest(f"{path} holds no rows", param="paths")
    return found


def entry(found: Router) -> RouterEntry:
    return RouterEntry(
        version=found.version,
        digest=found.digest,
        state=found.state,
        created=found.created,
        rows=found.manifest["rows"],
        held_back=found.manifest["held_back"],
        report=found.report,
        refusals=found.refusals,
    )
