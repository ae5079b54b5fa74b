"""Hashed counts are stable, bounded and the model on them is the softmax of a dot product."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router.lexical import BUCKETS, Lexical, features


@given(st.lists(st.integers(0, 30_521), max_size=50), st.text(max_size=300))
def test_features_of_anything(ids: list[int], text: str) -> None:
    buckets, values = features(ids, text)
    assert (np.diff(buckets.astype(np.int64)) > 0).all()
    assert ((buckets >= 0) & (buckets < BUCKETS)).all()
    assert (values >= 1).all() and np.isfinite(values).all()


def test_features_never_change() -> None:
    """A stored model's weights are for these buckets."""
    buckets, values = features([101, 7592, 102], "Hello")
    assert buckets.tolist() == [26244, 42644, 70665, 77115, 82965, 118524, 135795, 201780, 227467]
    assert (values == 1).all()


def test_space_and_case_say_nothing_counts_do() -> None:
    def letters(text: str) -> tuple[list[int], list[float]]:
        buckets, values = features([], text)
        return buckets.tolist(), values.tolist()

    assert letters("One  two\n THREE") == letters("one two three")
    assert letters("one two") != letters("one twö")


@given(st.text(max_size=100))
def test_probabilities(text: str) -> None:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(BUCKETS, 3)).astype(np.float32)
    model = Lexical(np.ones(BUCKETS, np.float32), weights, np.zeros(3, np.float32))
    found = model.probabilities([101, 102], text)
    assert abs(found.sum() - 1) < 1e-9 and (found > 0).all()
