"""A recipe says what is wrong with it."""

from __future__ import annotations

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
    changed = [Recipe(), Recipe(rank=4), Recipe(alpha=8.0), Recipe(modules=("attn_q",)), Recipe(rslora=True)]
    changed += [Recipe(learning_rate=1e-4), Recipe(epochs=2), Recipe(batch=4), Recipe(replay=0.0), Recipe(seed=2)]
    assert len({recipe.digest for recipe in changed}) == len(changed)


def test_steps() -> None:
    assert Recipe(epochs=3, batch=8).horizon(17) == 9
