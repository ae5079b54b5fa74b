"""What an answer needs at hand, put together by `app`."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from appliance.base import PreparedBase
from appliance.chat import ChatTemplate
from appliance.config import Config
from appliance.engine.constraint import Constraints
from appliance.engine.engine import Engine
from appliance.errors import RateLimited, StoreUnavailable, Unavailable
from appliance.keys import Caller
from appliance.releases.lanes import Lanes
from appliance.releases.register import Releases
from appliance.routing.routers import Routers
from appliance.routing.sessions import Sessions
from appliance.store.database import Database
from appliance.vitals import Vitals
from router.cohort import Cohort


@dataclass(slots=True)
class Serving:
    """`context` is the longest prompt and answer together, in tokens."""

    config: Config
    cohorts: tuple[Cohort, ...]
    base: PreparedBase
    context: int
    template: ChatTemplate
    constraints: Constraints
    engine: Engine
    lanes: Lanes
    releases: Releases
    routers: Routers
    database: Database
    vitals: Vitals
    draining: bool = False
    sessions: Sessions = field(default_factory=Sessions)
    under_way: Counter[str] = field(default_factory=Counter)  # requests by key id
    encoder_lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one text is read at a time
    embedding_lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one to be embedded waits for that

    async def admit(self) -> None:
        """Raises Unavailable while draining, or while the log cannot be written (after trying once more)."""
        if self.draining:
            raise Unavailable("the appliance is stopping", code="draining", retry_after=5)
        if self.database.failing is not None:
            try:
                await asyncio.wrap_future(self.database.probe())
            except StoreUnavailable as error:
                error.retry_after = 10
                raise

    @contextmanager
    def quota(self, caller: Caller) -> Iterator[None]:
        """Count a key's requests under way. Raises RateLimited over its share; while the box is open all are one."""
        most = self.config.appliance.max_per_key
        if caller.key_id and self.under_way[caller.key_id] >= most:
            raise RateLimited(
                f"this key has {most} requests under way, its most; wait for one to end",
                retry_after=self.engine.room.retry_after(),
            )
        self.under_way[caller.key_id] += 1
        try:
            yield
        finally:
            self.under_way[caller.key_id] -= 1
