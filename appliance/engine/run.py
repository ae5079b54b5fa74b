"""Sequences under way together, as the event loop sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from collections.abc import Sequence as Items
from copy import copy

from appliance.engine.sequence import AnswerEvent, Event, Failed, Finished, Sequence, SequenceRequest

Events = asyncio.Queue[tuple[int, Event]]  # which request, and what its sequence tells


class Run:
    """Sequences under way together: the choices of one answer. Leaving its context cancels what still runs."""

    def __init__(
        self, requests: Items[SequenceRequest], emit: Callable[[Events, int, Event], None], wake: Callable[[], None]
    ) -> None:
        """`emit` takes what a sequence tells, on the engine thread; `wake` lets that thread notice a cancellation."""
        self._emit, self._wake = emit, wake
        self._events: Events = asyncio.Queue()
        now = time.monotonic()
        self.sequences = [Sequence(request, self._sink(index), now) for index, request in enumerate(requests)]

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def _sink(self, index: int) -> Callable[[Event], None]:
        return lambda event: self._emit(self._events, index, event)

    async def events(self) -> AsyncGenerator[tuple[int, AnswerEvent], None]:
        """(which request, event): deltas and prompt scores, a Finished for each. Raises what Failed carries.

        Leaving early cancels all of them within one step.
        """
        open_ends = len(self.sequences)
        try:
            while open_ends:
                index, event = await self._events.get()
                if isinstance(event, Failed):
                    raise copy(event.error)  # a fault of a lane ends many, and each notes its own headers
                open_ends -= isinstance(event, Finished)
                yield index, event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Free slots and memory of what still runs; harmless when all is done."""
        for sequence in self.sequences:
            sequence.cancelled = True
        self._wake()
