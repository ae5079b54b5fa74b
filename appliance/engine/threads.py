"""How many threads a step takes: the count that was fastest of late for a step of its size, tried again now and then.

A step is over a thousand small operations, and after each the threads wait for one another. So more threads help
large steps on idle processors, and hurt small ones and any beside a busy neighbour, which comes and goes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median_low

TRIALS = 0.02  # the share of time that looking for a better count may cost
NEWEST = 5  # measurements whose median counts: a mean lets one slow step of three settle on half the processors


@dataclass(slots=True)
class _Size:
    """Steps of about one size: the newest milliseconds a row by thread count, and what trials may still cost."""

    times: dict[int, deque[float]] = field(default_factory=dict)
    budget: float = 0.0

    def cost(self, count: int) -> float:
        return median_low(self.times[count])

    def best(self) -> int:
        return min(self.times, key=self.cost)


class ThreadChoice:
    """Chooses among 1, 2, 4 and so on up to `most` threads, for each size of step (powers of two of rows) alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts = [*(1 << n for n in range(most.bit_length()) if 1 << n < most), most]
        self._sizes: dict[int, _Size] = {}

    def pick(self, rows: int) -> int:
        """The threads for a step of `rows` tokens."""
        size = self._size(rows)
        if not size.times:
            return self._most
        best = size.best()
        for count in self._beside(best):
            if count not in size.times or (size.cost(count) - size.cost(best)) * rows < size.budget:
                return count
        return best

    def note(self, rows: int, threads: int, ms: float) -> None:
        """A step of `rows` tokens took `ms` milliseconds with `threads` threads."""
        size = self._size(rows)
        size.times.setdefault(threads, deque(maxlen=NEWEST)).append(ms / rows)
        size.budget += TRIALS * ms
        if threads != size.best():
            size.budget = min(0.0, size.budget - (ms - size.cost(size.best()) * rows))

    def _size(self, rows: int) -> _Size:
        return self._sizes.setdefault(rows.bit_length(), _Size())

    def _beside(self, count: int) -> list[int]:
        """The next smaller and the next larger count; costs have one minimum over the counts."""
        at = self._counts.index(count)
        return self._counts[max(0, at - 1) : at] + self._counts[at + 1 : at + 2]
