"""One client's connection: how long its request may take to arrive, and how long it may leave a reply untaken."""

from __future__ import annotations

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ARRIVAL_SECONDS = 60  # from the connection, or a request's first byte, to the request's last
SEND_SECONDS = 30  # for the next 48 KiB of a reply, once as much is waiting to be sent
MAX_BEHIND = 64 * 1024  # bytes of further requests that are read while one is answered
_ARRIVAL, _TAKING = "its request did not arrive", "it did not take its reply"
_log = logging.getLogger(__name__)


class Connection(H11Protocol):
    """uvicorn's, which by itself waits for ever for the rest of a request, and for a reader that takes nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._limits: dict[str, asyncio.TimerHandle] = {}
        self._limit(_ARRIVAL, ARRIVAL_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            self._limit(_ARRIVAL, ARRIVAL_SECONDS)
        else:
            self._lift(_ARRIVAL)
            if len(self.conn.trailing_data[0]) < MAX_BEHIND:
                self.flow.resume_reading()  # else nobody would hear a client go that sent more than its request

    def pause_writing(self) -> None:
        super().pause_writing()
        self._limit(_TAKING, SEND_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._lift(_TAKING)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._lift(_ARRIVAL)
        self._lift(_TAKING)

    def _limit(self, what: str, seconds: float) -> None:
        """End the connection after so long, counted from the first call, unless it is lifted before."""
        if what not in self._limits:
            self._limits[what] = self.loop.call_later(seconds, self._end, what)

    def _lift(self, what: str) -> None:
        if what in self._limits:
            self._limits.pop(what).cancel()

    def _end(self, why: str) -> None:
        _log.info("a client was let go: %s for too long", why)
        self.transport.abort()
