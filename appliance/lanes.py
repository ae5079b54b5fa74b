"""Which releases are resident: the live ones always, and a few others that were asked for by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from adapters.registry import ADAPTER
from appliance.engine.engine import BASE_LANE, Engine
from appliance.errors import Unavailable
from router.table import Target


class Lanes:
    """Attaches releases to the engine on demand; the least recently used spare one makes room."""

    def __init__(self, engine: Engine, releases: Path, spare: int, lane_bytes: int) -> None:
        self._engine, self._folder, self._spare, self._lane_bytes = engine, releases, spare, lane_bytes
        self._attaching = asyncio.Lock()
        self._used: dict[str, None] = {}  # digests, least recently used first
        self.live: frozenset[str] = frozenset()  # digests that never make room

    @asynccontextmanager
    async def hold(self, target: Target | None, weight: float) -> AsyncIterator[str]:
        """The lane's key for the release (None: the base), which cannot go while it is held.

        Raises EngineFault when llama.cpp refuses the adapter, Unavailable when there is no memory for it.
        """
        if target is not None:
            await self.attach(target, weight)
        key = BASE_LANE if target is None else target.digest
        with self._engine.hold(key):
            yield key

    async def attach(self, target: Target, weight: float) -> None:
        """Make the release resident."""
        self._touch(target.digest)
        if self._engine.has_lane(target.digest):
            return
        async with self._attaching:
            if self._engine.has_lane(target.digest):
                return
            await self._make_room(target)
            await self._engine.attach(target.digest, self._folder / target.digest / ADAPTER, weight)

    def _touch(self, digest: str) -> None:
        self._used.pop(digest, None)
        self._used[digest] = None

    async def _make_room(self, target: Target) -> None:
        spare = [d for d in self._used if d not in self.live and self._engine.has_lane(d)]
        for digest in spare:
            if len(spare) >= self._spare and not self._engine.holds(digest):
                await self._engine.detach(digest)
                self._used.pop(digest, None)
                spare.remove(digest)
                break
        free = psutil.virtual_memory().available
        if free < self._lane_bytes:
            raise Unavailable(
                f"{target.name} needs {self._lane_bytes >> 20} MB of memory to be loaded, {free >> 20} MB are free; "
                "lower context or sequences in [base], or spare_lanes",
                code="out_of_memory",
                retry_after=30,
            )
