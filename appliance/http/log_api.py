"""The operator API of the log: what was asked, decided and answered, and what people said of it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, ValidationInfo, field_validator

from appliance.errors import NotFound
from appliance.http import streams
from appliance.http.box import TheBox, Views
from appliance.http.failures import documented
from appliance.http.strict import StrictRoute
from appliance.store import interactions, timestamps
from appliance.store.database import Connection
from appliance.store.interactions import Filters, Status
from router.decision import Layer

router = APIRouter(prefix="/admin/v1", route_class=StrictRoute, tags=["operation"], responses=documented(503))
Position = Annotated[int, Field(ge=0, lt=1 << 63)]


class LogQuery(BaseModel):
    """Which rows: `before` and `after` are a `seq`, those behind `brief` narrow."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    before: Position | None = None
    after: Position | None = None
    brief: bool = False
    cohort: str | None = None
    release: str | None = None
    layer: Layer | None = None
    status: Status | None = None
    origin: Literal["live", "probe"] | None = None
    reviewed: bool | None = None
    rating: Annotated[int, Field(ge=-1, le=1)] | None = None
    since: str | None = None
    until: str | None = None
    code: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @field_validator("since", "until")
    @classmethod
    def _moment(cls, text: str | None, info: ValidationInfo) -> str | None:
        return None if text is None else timestamps.parse(text, str(info.field_name), ago=True)

    def filters(self) -> Filters:
        return cast(Filters, self.model_dump(include=set(Filters.__annotations__)))


@router.get("/interactions")
async def log(request: Request, box: TheBox, _caller: Views, query: Annotated[LogQuery, Query()]) -> Response:
    """The log: newest first (`before` pages on, filters narrow), or unfiltered and oldest first from `after` on. One
    search for a text runs at a time, for as long as its caller waits."""

    def read(connection: Connection) -> bytes:
        if query.after is not None:  # the filters are the newest-first listing's
            found = interactions.follow(connection, query.after, query.limit)
        else:
            found = interactions.page(connection, limit=query.limit, before_seq=query.before, **query.filters())
        rows = [row.brief() for row in found] if query.brief else found
        # JSON here and not by FastAPI, which would hold up the event loop, and every answer, for a tenth of a second.
        return json.dumps([row.columns() for row in rows]).encode()

    async def searched() -> bytes:
        async with box.search_lock:  # it may read the whole log, on a worker thread, which requests need too
            return await box.database.search(read)

    found = box.database.search(read) if query.text is None else streams.until_gone(request, searched())
    return Response(await found, media_type="application/json")


@router.get("/interactions/{request_id}", responses=documented(404))
async def interaction(request_id: str, box: TheBox, _caller: Views) -> dict[str, Any]:
    """One request: what was asked, decided, answered, how long it took, and what people said of it."""
    with box.database.read() as connection:
        found = interactions.get(connection, request_id)
    if found is None:
        raise NotFound(f"no request {request_id} is logged here", param="request_id")
    return found.columns()
