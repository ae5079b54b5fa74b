"""Which texts are the same, or nearly. Pure.

Nearly: the sets of their 5-character pieces overlap by at least 0.8 (Jaccard). Found by MinHash (Broder 1997), then
counted, so that nothing is left out on an estimate.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from datasketch import MinHash

NEAR: Final = 0.8
_PIECE = 5
_PERMUTATIONS = 64


def normal(text: str) -> str:
    """Without case, punctuation and repeated spaces."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def pieces(text: str) -> frozenset[str]:
    plain = normal(text)
    return frozenset(plain[i : i + _PIECE] for i in range(max(1, len(plain) - _PIECE + 1)))


class Near:
    """Texts to which others may be nearly the same."""

    def __init__(self) -> None:
        from datasketch import MinHashLSH  # here, since serving does without it

        self._index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands())
        self._known: list[frozenset[str]] = []
        self._holders: dict[str, list[int]] = {}  # of each piece, among the first `_held` texts
        self._held = 0

    def add(self, text: str) -> None:
        found, hashed = _hashed(text)
        self._index.insert(len(self._known), hashed)
        self._known.append(found)

    def like(self, text: str) -> set[int]:
        """Which of them it is nearly the same as, by their order."""
        found, hashed = _hashed(text)
        candidates = (cast(int, number) for number in self._index.query(hashed))
        return {n for n in candidates if len(found & self._known[n]) >= NEAR * len(found | self._known[n])}

    def inside(self, text: str) -> set[int]:
        """Which of them the text holds, or nearly: that share of their pieces."""
        for number in range(self._held, len(self._known)):
            for piece in self._known[number]:
                self._holders.setdefault(piece, []).append(number)
        self._held = len(self._known)
        hits = Counter(number for piece in pieces(text) for number in self._holders.get(piece, ()))
        return {number for number, n in hits.items() if n >= NEAR * len(self._known[number])}


@cache
def _bands() -> tuple[int, int]:
    """How many, of how many hashes each. By integrals that take 10 ms, and each answer has a `Near`."""
    from datasketch import MinHashLSH

    # Looked up wider than wanted, since the hash estimates; `has` counts.
    index = MinHashLSH(threshold=NEAR - 0.2, num_perm=_PERMUTATIONS)
    return index.b, index.r


@lru_cache(maxsize=16)  # of one row several are asked for, and added, one after another
def _hashed(text: str) -> tuple[frozenset[str], MinHash]:
    from datasketch import MinHash

    found, made = pieces(text), MinHash(num_perm=_PERMUTATIONS)
    made.update_batch([piece.encode() for piece in found])
    return found, made
