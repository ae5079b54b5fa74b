"""Which releases are resident: the live ones always, and a few others that were asked for by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import psutil

from adapters.registry import ADAPTER
from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.scheduler import Share
from appliance.errors import Unavailable
from router.table import Target

HEADROOM = 256 << 20  # bytes of memory that stay free for everything else
_CGROUPS = Path("/sys/fs/cgroup")
Vet: TypeAlias = Callable[[str], Awaitable[None]]


class Lanes:
    """Attaches releases to the engine on demand; the least recently used spare one makes room."""

    def __init__(self, engine: Engine, releases: Path, spare: int, lane_bytes: int, vet: Vet) -> None:
        """`vet` raises for a digest whose file is not what was registered."""
        self._engine, self._folder, self._spare, self._lane_bytes = engine, releases, spare, lane_bytes
        self._vet = vet
        self._lock = asyncio.Lock()
        self._resident: dict[str, None] = {}  # digests, least recently used first; one being detached is out
        self.live: frozenset[str] = frozenset()  # digests that never make room

    @asynccontextmanager
    async def hold(self, target: Target | None, weight: float) -> AsyncIterator[str]:
        """The lane's key for the release (None: the base), which cannot go while it is held.

        Raises EngineFault when llama.cpp refuses the adapter, Unavailable when there is no room for it, Conflict when
        its file is not what was registered.
        """
        if target is not None:
            await self.attach(target, weight, spare=target.digest not in self.live)
        key = BASE_LANE if target is None else target.digest
        # Nothing is awaited between being resident and being held, so no eviction comes between.
        with self._engine.hold(key):
            yield key

    @asynccontextmanager
    async def trial(self, key: str, adapter: Path | None) -> AsyncIterator[None]:
        """Hold the lane `key`, loading `adapter` into it meanwhile if it is not resident: it may be no release yet.

        Raises as `hold`.
        """
        made = adapter is not None and not self._touch(key)
        try:
            if made and adapter is not None:
                await self._attach(Target(key[:12], 0, key), adapter, Share(key), spare=True)
            with self._engine.hold(key):
                yield
        finally:
            if made:
                await _to_its_end(self._leave(key))

    async def _leave(self, key: str) -> None:
        async with self._lock:
            if key not in self._resident:
                await self._engine.detach(key)

    async def attach(self, target: Target, weight: float, *, spare: bool) -> None:
        """Make the release resident; a `spare` one within the bound on spare lanes. Raises as `hold`."""
        if not self._touch(target.digest):
            share = Share(target.cohort, weight)
            await self._attach(target, self._folder / target.digest / ADAPTER, share, spare=spare, stays=True)

    async def _attach(self, target: Target, adapter: Path, share: Share, *, spare: bool, stays: bool = False) -> None:
        """One at a time. Who is cancelled while waiting for the turn is gone; later, what was begun is done first."""

        async def load() -> None:
            await self._vet(target.digest)
            await self._make_room(target, self._lane_bytes + _size(adapter), spare=spare)
            await self._engine.attach(target.digest, adapter, share)
            if stays:
                self._resident[target.digest] = None

        async with self._lock:
            if not self._touch(target.digest):
                await _to_its_end(load())

    def _touch(self, digest: str) -> bool:
        """Whether it is resident; then it is the most recently used."""
        if digest not in self._resident:
            return False
        self._resident.pop(digest)
        self._resident[digest] = None
        return True

    async def _make_room(self, target: Target, wanted: int, *, spare: bool) -> None:
        """For a lane that takes `wanted` bytes. Raises Unavailable."""
        spares = [digest for digest in self._resident if digest not in self.live]
        for digest in tuple(spares):
            if len(spares) < self._spare and _free() >= wanted:
                break
            if self._engine.holds(digest) or digest in self.live:  # as it is now: the last one took time to go
                continue
            self._resident.pop(digest)
            spares.remove(digest)
            await self._engine.detach(digest)
        if spare and len(spares) >= self._spare:
            raise Unavailable(
                f"{target.name} cannot be loaded: all {self._spare} spare lanes are in use (spare_lanes in [base])",
                code="no_spare_lane",
                retry_after=5,
            )
        free = _free()
        if free < wanted:
            raise Unavailable(
                f"{target.name} needs {wanted >> 20} MB of memory, {max(free, 0) >> 20} MB can be had; "
                "lower context, sequences or spare_lanes in [base]",
                code="out_of_memory",
                retry_after=30,
            )


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """A cancellation meanwhile waits: of a lane half made, or half gone, nobody would know."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        task.exception()  # nobody waits to hear it
        raise


def _size(adapter: Path) -> int:
    """Bytes; if it is not there llama.cpp says so."""
    return adapter.stat().st_size if adapter.exists() else 0


def _free() -> int:
    return free_memory() - HEADROOM


def free_memory() -> int:
    """Bytes this process may still take: the machine's, or its control group's if that is less."""
    free = int(psutil.virtual_memory().available)
    try:
        own = _CGROUPS / Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
        limit, used = ((own / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit == "max":
            return free
        stat = dict(line.split() for line in (own / "memory.stat").read_text().splitlines())
        cached = int(stat.get("inactive_file", 0)) + int(stat.get("slab_reclaimable", 0))  # given back on demand
        return min(free, int(limit) - int(used) + cached)
    except (OSError, ValueError):
        return free
