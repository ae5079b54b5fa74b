"""What the child that trains is told, and the files it leaves: written by the appliance, read by `adapters.train`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.recipe import Recipe

WEIGHTS, CONFIG = PEFT = ("adapter_model.safetensors", "adapter_config.json")
REFERENCE = "reference.npz"  # the logits that serving has to give
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """`base` is the served GGUF, with its `architecture`, `heads` and `kv_heads`; `rows` a file of JSON lines (ids,
    start, part: `packing.TokenRow`), `probes` the same of what served and trained are compared on. Token ids are the
    serving code's. `out` is the folder of everything but `target`, the GGUF adapter with its `passport`. `warm`: a
    folder with an adapter to begin from. `steps`: as many and no choice of the best, to make an adapter again."""

    base: str
    architecture: str
    heads: int
    kv_heads: int
    rows: str
    probes: Sequence[Mapping[str, Any]]
    recipe: Recipe
    out: str
    target: str
    passport: Mapping[str, str]
    threads: int
    minutes: float
    warm: str | None = None
    steps: int | None = None

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> TrainingJob:
        told = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**told, "recipe": Recipe.of(told["recipe"])})
