"""Rows of token ids packed into one sequence that computes what they have in common once.

Rows of a cohort begin alike: its system prompt, a task's instruction. They are laid out as the trie of their tokens;
a token sees its ancestors only, at its own depth's position. Attention is causal, so every token gives what it would
give in its row alone, and gradients of shared tokens add up as they should: this is exact, not an approximation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST = 2048  # tokens of a sequence: the mask grows with the square

Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`ids` from `start` (at least 1) on is the answer. `part`: `train`, `validation` or `replay`."""

    ids: list[int]
    start: int
    part: str


@dataclass(frozen=True, slots=True)
class Packed:
    """`ids` and `positions` (tokens,); `sees` (tokens, tokens); the tokens at `before` are followed by `targets`,
    the answers' tokens, once for every row."""

    ids: Indexes
    positions: Indexes
    sees: npt.NDArray[np.bool_]
    before: Indexes
    targets: Indexes


def pack(rows: Sequence[TokenRow]) -> Packed:
    """One sequence of all rows."""
    nodes: list[int] = []  # token of each node
    paths: list[list[int]] = []
    path: list[int] = []
    last: list[int] = []
    for row in sorted(rows, key=lambda row: row.ids):
        shared = _common(last, row.ids)
        path = path[:shared] + list(range(len(nodes), len(nodes) + len(row.ids) - shared))
        nodes += row.ids[shared:]
        paths.append(path)
        last = row.ids
    sees = np.zeros((len(nodes), len(nodes)), np.bool_)
    positions = np.zeros(len(nodes), np.int64)
    for path in paths:
        sees[np.ix_(path, path)] = np.tri(len(path), dtype=np.bool_)
        positions[path] = np.arange(len(path))
    ordered = sorted(rows, key=lambda row: row.ids)
    before = [path[row.start - 1 : len(row.ids) - 1] for row, path in zip(ordered, paths, strict=True)]
    targets = [row.ids[row.start :] for row in ordered]
    return Packed(np.array(nodes), positions, sees, np.concatenate(before), np.concatenate(targets))


def within(rows: Sequence[TokenRow], most: int = MOST) -> Iterator[list[TokenRow]]:
    """The rows in groups of at most `most` tokens, shared ones counted twice; a longer row is a group of its own."""
    group: list[TokenRow] = []
    for row in rows:
        if group and sum(len(r.ids) for r in group) + len(row.ids) > most:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _common(one: list[int], other: list[int]) -> int:
    """How many tokens they begin with alike."""
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return n
    return min(len(one), len(other))
