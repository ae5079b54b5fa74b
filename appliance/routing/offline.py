"""Decisions that no request waits for: evaluations, replays, and the judging of a new router."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

YIELDS = 10  # niceness: a tenth of the time that a thread of the engine gets when all processors are busy
_Given = TypeVar("_Given")
_Found = TypeVar("_Found")


class Offline:
    """One piece of such work at a time, on a thread of its own: each thread that computes beside the engine slows it,
    and those of the event loop's pool are for requests. Niced, but not to the end: one that never got a processor
    would keep the interpreter's lock for as long. Lives on the event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "offline", _give_way)

    async def each(self, work: Callable[[_Given], _Found], given: Iterable[_Given]) -> list[_Found]:
        """What `work` finds of each, in order. Who is cancelled stops between two of them."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            return [await loop.run_in_executor(self._thread, work, one) for one in given]

    async def once(self, work: Callable[[], _Found]) -> _Found:
        """What `work` finds."""
        (found,) = await self.each(lambda _: work(), (None,))
        return found


def _give_way() -> None:
    """Where a thread has a priority of its own, as on Linux."""
    with suppress(OSError):
        niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + YIELDS)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
