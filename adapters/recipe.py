"""How an adapter is trained: the recipe, and what it says about a data set. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

MODULES: Final = {  # a layer's linear maps: as GGUF calls them, and transformers
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class BadRecipe(ValueError):
    """The message names the field and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A LoRA (Hu et al. 2021) on `modules` of every layer; scale `alpha` / rank, or / sqrt(rank) with `rslora`.

    Each step learns from `batch` rows of the slice, and from `replay` times as many of other cohorts and of none: on
    those the adapter is drawn to the base's own distribution (learning without forgetting, Li and Hoiem 2016).
    `patience`: validations (two an epoch) without a better one, after which it ends.
    """

    rank: int = 8
    alpha: float = 16.0
    modules: tuple[str, ...] = tuple(MODULES)
    rslora: bool = False
    learning_rate: float = 1e-3
    warmup: float = 0.1
    epochs: int = 4
    batch: int = 8
    replay: float = 0.25
    patience: int = 4
    planted: int = 4
    seed: int = 1

    def __post_init__(self) -> None:
        unknown = sorted(set(self.modules) - set(MODULES))
        if unknown or not self.modules:
            raise BadRecipe(f"modules: {unknown or 'none'} cannot be served; there are {', '.join(MODULES)}")
        if not 1 <= self.rank <= 256:
            raise BadRecipe(f"rank: {self.rank} is not from 1 to 256")
        if not (0 < self.learning_rate < 1 and self.alpha > 0):
            raise BadRecipe("learning_rate is between 0 and 1, alpha above 0")
        if self.epochs < 1 or self.batch < 1 or self.patience < 1:
            raise BadRecipe("epochs, batch and patience are at least 1")
        if not (0 <= self.replay <= 4 and 0 <= self.warmup < 1 and 0 <= self.planted <= 64):
            raise BadRecipe("replay is from 0 to 4, warmup from 0 to 1, planted from 0 to 64")

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Recipe:
        """From its fields as they went through JSON, which knows no tuples."""
        return cls(**{**told, "modules": tuple(told["modules"])})

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def horizon(self, rows: int) -> int:
        """Steps when nothing ends it early."""
        return self.epochs * -(-rows // self.batch)
