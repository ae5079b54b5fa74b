"""Which words and pieces of words a text has: hashed counts, and a linear model over them.

Beside the encoder because the two err apart: names of fields, commands and statutes say little to a sentence encoder
and everything to counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BUCKETS = 1 << 18
_PIECES = (1, 2)  # n-grams of the encoder's word pieces
_BYTES = 4  # n-grams of bytes: endings, spellings, other scripts
_PRIME = np.uint32(2654435761)  # Knuth's multiplicative hash

Floats = npt.NDArray[np.float32]


def features(ids: Sequence[int], text: str) -> tuple[npt.NDArray[np.uint32], Floats]:
    """The buckets that occur, ascending, and 1 + log of how often."""
    pieces = np.array(ids, np.uint32)
    letters = np.frombuffer(f" {' '.join(text.casefold().split())} ".encode(errors="replace"), np.uint8)
    hashes = [_ngrams(pieces, n, n) for n in _PIECES] + [_ngrams(letters.astype(np.uint32), _BYTES, 100)]
    buckets, counts = np.unique(np.concatenate(hashes) % BUCKETS, return_counts=True)
    return buckets, (1 + np.log(counts)).astype(np.float32)


def _ngrams(symbols: npt.NDArray[np.uint32], n: int, salt: int) -> npt.NDArray[np.uint32]:
    """A hash of each run of n symbols."""
    room = len(symbols) - n + 1
    if room <= 0:
        return np.empty(0, np.uint32)
    hashed = np.full(room, salt, np.uint32)
    for shift in range(n):
        hashed = (hashed ^ symbols[shift : shift + room]) * _PRIME
        hashed ^= hashed >> np.uint32(15)
    return hashed


class Lexical:
    """Multinomial logistic regression on TF-IDF. `rarity` (BUCKETS,), `weights` (BUCKETS, classes), `bias`."""

    def __init__(self, rarity: Floats, weights: Floats, bias: Floats) -> None:
        self._rarity, self._weights, self._bias = rarity, weights, bias

    def probabilities(self, ids: Sequence[int], text: str) -> npt.NDArray[np.float64]:
        """(classes,), of the text and the ids of its word pieces."""
        buckets, counts = features(ids, text)
        values = counts * self._rarity[buckets]
        length = float(np.linalg.norm(values)) or 1.0
        scores = (values / length) @ self._weights[buckets] + self._bias
        shares = np.exp(scores - scores.max(), dtype=np.float64)
        found: npt.NDArray[np.float64] = shares / shares.sum()
        return found
