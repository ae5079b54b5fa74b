"""The appliance as its endpoints see it: what is open, how far the start is, and who may come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, TypeVar, cast

from fastapi import Depends, Request

from appliance.base import PreparedBase
from appliance.config import Config
from appliance.errors import ApplianceError, Unauthorised, Unavailable
from appliance.evaluation.material import Material
from appliance.jobs import Jobs
from appliance.keys import ANONYMOUS, Caller, Keys, Scope
from appliance.releases.register import Releases
from appliance.routing.routers import Routers
from appliance.serving import Serving
from appliance.store import keys as key_rows
from appliance.store.database import Database
from appliance.store.home import Home
from appliance.vitals import Vitals

T = TypeVar("T")
Phase: TypeAlias = Literal["starting", "ready", "draining", "closed"]


@dataclass(slots=True)
class Box:
    """`register`, `routers` and `base` are there once the base is prepared, `serving` once the engine runs;
    `examples` is the folder of the shipped ones."""

    config: Config
    home: Home
    database: Database
    keys: Keys
    vitals: Vitals
    phase: Phase = "starting"
    doing: str = "starting"
    base: PreparedBase | None = None
    register: Releases | None = None
    serving: Serving | None = None
    routers: Routers | None = None
    examples: Path = Path("examples")
    jobs: Jobs = field(init=False)
    slice_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    search_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.database, lambda kind, state: self.vitals.jobs.labels(kind, state).inc())

    def material(self) -> Material:
        """The rows to train on and to judge by."""
        return Material(self.database, self.examples)

    def ready(self) -> Serving:
        """Raises Unavailable while starting, like the next two."""
        return self._started(self.serving)

    def releases(self) -> Releases:
        return self._started(self.register)

    def text_routers(self) -> Routers:
        return self._started(self.routers)

    def _started(self, part: T | None) -> T:
        if part is None:
            raise Unavailable(f"the appliance is starting: {self.doing}", code="starting", retry_after=5)
        return part

    def base_id(self) -> str:
        return self.base.id if self.base else "base"

    def refused(self, error: ApplianceError) -> None:
        """Count what is answered with an error before the engine; such requests are not stored."""
        self.vitals.refused.labels(error.code).inc()

    def reload_keys(self) -> None:
        """Take over the keys as stored: in force from the next request on."""
        with self.database.read() as connection:
            self.keys.replace(key_rows.list_all(connection))

    def show_live(self) -> None:
        """Tell the metrics which versions are live."""
        for cohort in self.config.cohorts:
            live = self.register.table.live.get(cohort) if self.register else None
            self.vitals.live.labels(cohort).set(live.version if live else 0)


async def of(request: Request) -> Box:
    """The box this request came to."""
    return cast(Box, request.app.state.box)


def authorised(scope: Scope) -> Callable[[Request], Coroutine[None, None, Caller]]:
    """A dependency: the caller, who must have the scope. Operator scopes always want a key."""

    async def caller(request: Request) -> Caller:
        keys = (await of(request)).keys
        found = keys.caller(request.headers.get("authorization"))
        if found is ANONYMOUS and scope in ("viewer", "operator"):
            raise Unauthorised(
                "the operator API wants a key: COHORT_HOME/admin.key holds one", code="missing_api_key"
            )
        found.require(scope)
        return found

    return caller


TheBox = Annotated[Box, Depends(of)]
Infers = Annotated[Caller, Depends(authorised("infer"))]
GivesFeedback = Annotated[Caller, Depends(authorised("feedback"))]
Views = Annotated[Caller, Depends(authorised("viewer"))]
Operates = Annotated[Caller, Depends(authorised("operator"))]
