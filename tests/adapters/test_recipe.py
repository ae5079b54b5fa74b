"""A recipe says what is wrong with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adapters.recipe import BadRecipe, Recipe


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"modules": ("embed_tokens",)}, "embed_tokens"),
        ({"modules": ()}, "modules"),
        ({"rank": 0}, "rank"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"replay": -1.0}, "replay"),
        ({"planted": 65}, "planted"),
    ],
)
def test_what_cannot_be_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRecipe, match=says):
        Recipe(**fields)


def test_every_field_is_in_the_digest() -> None:
    other: dict[str, Any] = {
        "rank": 4,
        "alpha": 8.0,
        "modules": ("attn_q",),
        "rslora": True,
        "learning_rate": 1e-4,
        "warmup": 0.2,
        "epochs": 2,
        "batch": 4,
        "replay": 0.0,
        "patience": 3,
        "planted": 0,
        "seed": 2,
    }
    assert set(other) == {field.name for field in dataclasses.fields(Recipe)}
    changed = [Recipe(**{name: value}) for name, value in other.items()]
    assert len({recipe.digest for recipe in (Recipe(), *changed)}) == len(other) + 1


def test_steps() -> None:
    assert Recipe(epochs=3, batch=8).horizon(17) == 9
