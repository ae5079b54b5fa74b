"""How much may wait: a bound on requests and on tokens, and an honest answer to "when should I come back?"."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from appliance.errors import InvalidRequest, Unavailable

_WINDOW = 32  # answers over which the service rate is measured


class WaitingRoom:
    """Counts sequences between submission and admission. Thread-safe: entered on the caller's thread, left on
    the engine's."""

    def __init__(self, max_requests: int, max_tokens: int) -> None:
        self._max_requests, self._max_tokens = max_requests, max_tokens
        self._lock = threading.Lock()
        self._ended: deque[float] = deque(maxlen=_WINDOW)
        self.requests = 0
        self.tokens = 0

    @property
    def full(self) -> bool:
        """No request more is taken."""
        return self.requests >= self._max_requests or self.tokens >= self._max_tokens

    def check(self) -> None:
        """Raises Unavailable when it is full already: cheaper to say before a prompt becomes tokens."""
        with self._lock:
            if self.full:
                raise self._full()

    def enter(self, tokens: int, count: int = 1) -> None:
        """Take place for `count` sequences of `tokens` prompt tokens together, or raise Unavailable."""
        if count > self._max_requests:
            raise InvalidRequest(f"{count} prompts and choices in one request; at most {self._max_requests} can wait")
        with self._lock:
            full = self.requests + count > self._max_requests or self.tokens + tokens > self._max_tokens
            if full and self.requests:
                raise self._full()
            self.requests += count
            self.tokens += tokens

    def _full(self) -> Unavailable:
        return Unavailable(
            f"the box is busy: {self.requests} requests ({self.tokens} tokens) are waiting, "
            f"at most {self._max_requests} ({self._max_tokens}) may",
            code="overloaded",
            retry_after=self.retry_after(),
        )

    def leave(self, tokens: int) -> None:
        with self._lock:
            self.requests -= 1
            self.tokens -= tokens

    def ended(self) -> None:
        """One sequence finished: the measure of the service rate."""
        if not self.requests:  # idle time is not slow service
            self._ended.clear()
        self._ended.append(time.monotonic())

    def retry_after(self) -> int:
        """Seconds (1 to 120) until what waits now has been served, at the rate of the last answers."""
        ended = list(self._ended)  # the engine thread clears it at times
        if len(ended) < 2:
            return 5
        span = max(time.monotonic() - ended[0], 1e-3)
        return min(120, max(1, math.ceil(self.requests * span / len(ended))))
