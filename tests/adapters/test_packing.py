"""Packed rows see what they would see alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adapters.packing import TokenRow, pack, within

ROWS = st.lists(
    st.lists(st.integers(0, 3), min_size=2, max_size=12).flatmap(
        lambda ids: st.integers(1, len(ids) - 1).map(lambda start: TokenRow(ids, start, "train"))
    ),
    min_size=1,
    max_size=8,
)


@given(ROWS)
def test_every_answer_token_is_predicted_from_its_own_row(rows: list[TokenRow]) -> None:
    """What the token before an answer token sees, in order of position, is the row up to there."""
    packed = pack(rows)
    found = []
    for node, target in zip(packed.before, packed.targets, strict=True):
        seen = np.flatnonzero(packed.sees[node])
        seen = seen[np.argsort(packed.positions[seen])]
        assert list(packed.positions[seen]) == list(range(len(seen)))
        found.append(([int(packed.ids[i]) for i in seen], int(target)))
    wanted = [(row.ids[:n], row.ids[n]) for row in rows for n in range(row.start, len(row.ids))]
    assert sorted(found) == sorted(wanted)


@given(ROWS)
def test_nothing_is_computed_twice(rows: list[TokenRow]) -> None:
    beginnings = {tuple(row.ids[: n + 1]) for row in rows for n in range(len(row.ids))}
    assert len(pack(rows).ids) == len(beginnings)


@given(ROWS, st.integers(1, 30))
def test_groups_keep_every_row_and_the_bound_and_are_as_few_as_may_be(rows: list[TokenRow], most: int) -> None:
    groups = list(within(rows, most))
    assert [row for group in groups for row in group] == rows
    sizes = [sum(len(row.ids) for row in group) for group in groups]
    assert all(len(group) == 1 or size <= most for group, size in zip(groups, sizes, strict=True))
    assert all(size + len(after[0].ids) > most for size, after in zip(sizes, groups[1:], strict=False))
