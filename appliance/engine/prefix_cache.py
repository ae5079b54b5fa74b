"""Cells that are kept after a sequence has ended, so that a prompt which begins alike need not compute them again.

First where they are, as residents of their lane's memory; when that is wanted, as snapshots in RAM up to a byte cap;
never on disk. What decides whether a cell may be used again is the whole `StateKey`, the caller's partition and the
tokens. llama-server compares tokens only, vLLM the name of the adapter: there an answer can begin in the state of
another adapter.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
SHORTEST = 16  # tokens; a shorter common beginning is not worth a copy
SHORTEST_SNAPSHOT = 64  # tokens; fewer are computed again about as fast as copied


class StateKey(NamedTuple):
    """Everything but partition and tokens that the content of a cell depends on. Digests, never names."""

    base: str
    format: str
    release: str
    scale: float
    template: str
    context: str


@dataclass(slots=True, eq=False)
class Resident:
    """Cells kept in a lane's memory under the sequence id `slot`."""

    slot: int
    partition: str
    tokens: Ids
    used: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Cells copied out of a lane's memory."""

    key: StateKey
    partition: str
    tokens: Ids
    blob: bytes


class Residents:
    """What one lane keeps. The lane frees the cells; this only knows of them."""

    def __init__(self) -> None:
        self._kept: list[Resident] = []

    @property
    def cells(self) -> int:
        """Cells at most: shared ones are counted for each."""
        return sum(len(resident.tokens) for resident in self._kept)

    def keep(self, resident: Resident) -> None:
        self._kept.append(resident)

    def best(self, partition: str, prompt: Ids, limit: int) -> tuple[Resident | None, int]:
        """The resident of this partition with the longest common beginning, and that length (at most `limit`)."""
        lengths = [
            min(common(resident.tokens, prompt), limit) if resident.partition == partition else 0
            for resident in self._kept
        ]
        longest = max(lengths, default=0)
        if longest < SHORTEST:
            return None, 0
        found = self._kept[lengths.index(longest)]
        found.used = time.monotonic()
        return found, longest

    def remove(self, resident: Resident) -> None:
        self._kept.remove(resident)

    def oldest(self, spare: Resident | None = None) -> Resident | None:
        """The least recently used one, `spare` excepted."""
        return min((r for r in self._kept if r is not spare), key=lambda r: r.used, default=None)


class Snapshots:
    """The RAM tier of all lanes together: least recently used out first, `cap` bytes at most."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self._kept: OrderedDict[int, Snapshot] = OrderedDict()
        self._next = 0
        self.bytes = 0

    def wants(self, tokens: int) -> bool:
        return self.cap > 0 and tokens >= SHORTEST_SNAPSHOT

    def keep(self, snapshot: Snapshot) -> None:
        if len(snapshot.blob) > self.cap:
            return
        for number, other in list(self._kept.items()):
            if (other.key, other.partition) == (snapshot.key, snapshot.partition) and _begins(snapshot, other):
                self._forget(number)
        self._kept[self._next] = snapshot
        self._next += 1
        self.bytes += len(snapshot.blob)
        while self.bytes > self.cap:
            self._forget(next(iter(self._kept)))

    def best(self, key: StateKey, partition: str, prompt: Ids, limit: int) -> tuple[Snapshot | None, int]:
        """The snapshot of this key and partition with the longest common beginning, and that length."""
        found, longest = None, SHORTEST_SNAPSHOT - 1
        for number, snapshot in self._kept.items():
            if snapshot.key == key and snapshot.partition == partition:
                length = min(common(snapshot.tokens, prompt), limit)
                if length > longest:
                    found, longest = number, length
        if found is None:
            return None, 0
        self._kept.move_to_end(found)
        return self._kept[found], longest

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, number: int) -> None:
        self.bytes -= len(self._kept.pop(number).blob)


def _begins(longer: Snapshot, shorter: Snapshot) -> bool:
    """Whether `longer` holds all of `shorter`."""
    return common(longer.tokens, shorter.tokens) == len(shorter.tokens)


def common(a: Ids, b: Ids) -> int:
    """Length of the common beginning."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
