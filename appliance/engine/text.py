"""From tokens back to text: bytes to UTF-8, stop strings, and the log-probabilities that belong to the text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.engine.sampling import TokenScore


@dataclass(frozen=True, slots=True)
class Delta:
    """What one step adds to an answer."""

    text: str
    scores: tuple[TokenScore, ...] = ()
    tokens: int = 0


class TextStream:
    """Turns token bytes into text that can be sent: whole UTF-8 characters only, and nothing that may turn out
    to be the beginning of a stop string. `stopped` once a stop string was met; the text ends before it."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stops = tuple(stops)
        self._held = ""
        self._scores: list[tuple[int, TokenScore]] = []
        self._tokens = 0
        self.stopped = False

    def feed(self, piece: bytes, score: TokenScore | None) -> Delta:
        """Add one token's bytes; returns what may be sent now."""
        start = len(self._held)
        self._held += self._decoder.decode(piece)
        self._tokens += 1
        if score is not None:
            self._scores.append((start, score))
        cut = min((at for at in map(self._held.find, self._stops) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            self._held = self._held[:cut]
            self._scores = [(at, s) for at, s in self._scores if at < cut]
            return self._release(len(self._held))
        return self._release(len(self._held) - self._undecided())

    def end(self) -> Delta:
        """What was held back, when no more tokens come."""
        if not self.stopped:
            self._held += self._decoder.decode(b"", final=True)
        return self._release(len(self._held))

    def _undecided(self) -> int:
        """Length of the longest tail that a stop string begins with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for n in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-n:]) for stop in self._stops):
                return n
        return 0

    def _release(self, n: int) -> Delta:
        """Send `n` characters and the scores of the tokens that begin in them (all, when nothing is held)."""
        whole = n == len(self._held)
        sent = [score for at, score in self._scores if whole or at < n]
        self._scores = [] if whole else [(at - n, score) for at, score in self._scores if at >= n]
        text, self._held = self._held[:n], self._held[n:]
        tokens, self._tokens = self._tokens, 0
        return Delta(text, tuple(sent), tokens)
