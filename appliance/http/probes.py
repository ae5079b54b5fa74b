"""What monitors ask without a key: alive, ready, metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from appliance.errors import StoreUnavailable
from appliance.http.box import TheBox
from appliance.http.status import alarms, stuck

router = APIRouter(tags=["probes"])


@router.get("/health", responses={503: {"description": "Its engine hangs"}})
async def health(box: TheBox) -> JSONResponse:
    """The process lives; 503 when its engine hangs, for a supervisor to restart it."""
    if stuck(box):
        return JSONResponse({"status": "stuck"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/ready", responses={503: {"description": "No answer can be given now"}})
async def ready(box: TheBox) -> JSONResponse:
    """200 once a real answer can be given; 503 while starting or stopping, and while the log cannot be written, which
    is tried again here: behind a load balancer no request would come to find out."""
    if box.database.failing is not None:
        with suppress(StoreUnavailable):
            await asyncio.wrap_future(box.database.probe())
    told: dict[str, Any] = {"status": box.phase, "doing": box.doing, "router": _router(box)}
    told["alarms"] = alarms(box)
    able = box.phase == "ready" and box.database.failing is None
    return JSONResponse(told, 200 if able else 503, None if able else {"Retry-After": "5"})


def _router(box: TheBox) -> str:
    found = box.routers.current if box.routers else None
    return found.version if found else "none: pinned and metadata only (cohort router fit makes one)"


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(box: TheBox) -> Response:
    """Prometheus text."""
    box.show_live()
    with suppress(StoreUnavailable):  # which is an alarm of its own
        box.vitals.alarms.set(len(alarms(box)))
    return Response(box.vitals.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
