"""How much may wait: a bound on requests and on tokens, and an honest answer to "when should I come back?"."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from appliance.errors import InvalidRequest, Unavailable

_WINDOW = 32  # answers over which the service rate is measured


@dataclass(slots=True)
class _Places:
    """Taken, or kept for somebody."""

    requests: int = 0
    tokens: int = 0

    def within(self, other: _Places) -> bool:
        return self.requests <= other.requests and self.tokens <= other.tokens


class WaitingRoom:
    """Counts sequences between submission and admission. Thread-safe: entered on the caller's thread, left on
    the engine's.

    Half of the places are kept for the cohorts, by weight, so that one that sends more than is served leaves the
    others theirs: what fits into a cohort's own places is never refused. The rest is for whoever comes.
    """

    def __init__(self, max_requests: int, max_tokens: int, weights: Mapping[str, float] | None = None) -> None:
        self._max_requests, self._max_tokens = max_requests, max_tokens
        given = weights or {}
        parts = {cohort: weight / sum(given.values()) / 2 for cohort, weight in given.items()}
        self._kept = {c: _Places(int(part * max_requests), int(part * max_tokens)) for c, part in parts.items()}
        self._taken: dict[str, _Places] = {}
        self._lock = threading.Lock()
        self._ended: deque[float] = deque(maxlen=_WINDOW)

    @property
    def requests(self) -> int:
        return sum(taken.requests for taken in list(self._taken.values()))

    @property
    def tokens(self) -> int:
        return sum(taken.tokens for taken in list(self._taken.values()))

    def check(self, cohort: str = "") -> None:
        """Raises Unavailable when a request of the cohort, or of one that is not known yet, is one too many already:
        cheaper to say before a text is read, or a prompt becomes tokens."""
        with self._lock:
            if not self._fits(cohort, _Places(1, 1)):
                raise self._full()

    def enter(self, tokens: int, count: int = 1, cohort: str = "") -> None:
        """Take place for `count` sequences of `tokens` prompt tokens together, or raise Unavailable."""
        if count > self._max_requests:
            raise InvalidRequest(f"{count} prompts and choices in one request; at most {self._max_requests} can wait")
        with self._lock:
            if self.requests and not self._fits(cohort, _Places(count, tokens)):
                raise self._full()
            self._move(cohort, count, tokens)

    def _fits(self, cohort: str, more: _Places) -> bool:
        """Among the cohort's own places, or among those that nobody has or keeps."""
        nothing = _Places()
        taken = self._taken.get(cohort, nothing)
        wanted = _Places(taken.requests + more.requests, taken.tokens + more.tokens)
        if wanted.within(self._kept.get(cohort, nothing)):
            return True
        left = _Places(self._max_requests, self._max_tokens)
        for other in {*self._taken, *self._kept} - {cohort}:
            has, keeps = self._taken.get(other, nothing), self._kept.get(other, nothing)
            left.requests -= max(has.requests, keeps.requests)
            left.tokens -= max(has.tokens, keeps.tokens)
        return wanted.within(left)

    def _move(self, cohort: str, count: int, tokens: int) -> None:
        taken = self._taken.setdefault(cohort, _Places())
        taken.requests += count
        taken.tokens += tokens

    def _full(self) -> Unavailable:
        kept = ", half of them kept for cohorts that ask less" if self._kept else ""
        return Unavailable(
            f"the box is busy: {self.requests} requests ({self.tokens} tokens) are waiting, "
            f"at most {self._max_requests} ({self._max_tokens}) may{kept}",
            code="overloaded",
            retry_after=self.retry_after(),
        )

    def leave(self, tokens: int, cohort: str = "") -> None:
        with self._lock:
            self._move(cohort, -1, -tokens)

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
