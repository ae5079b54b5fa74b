"""An adapter's GGUF as a training makes it for this base, and the passport in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.gguf_header import Header, read
from adapters.registry import ADAPTER
from adapters.training_job import CONFIG, WEIGHTS

_OWN = "cohort."


def shape(base: Header) -> dict[str, Any]:
    """What converting has to know of the base."""
    architecture = base.text("general.architecture")
    heads = int(base.keys[f"{architecture}.attention.head_count"])
    kv_heads = int(base.keys.get(f"{architecture}.attention.head_count_kv", heads))
    return {"architecture": architecture, "heads": heads, "kv_heads": kv_heads}


def passport(adapter: Path) -> dict[str, str]:
    """As it stands in the file. Raises BadGguf, OSError."""
    keys = read(adapter).keys.items()
    return {key.removeprefix(_OWN): str(value) for key, value in keys if key.startswith(_OWN)}


def stamp(folder: Path, base: Header, given: Mapping[str, str]) -> None:
    """Convert what was trained in `folder` once more, with this passport: the same weights, byte by byte."""
    from safetensors.numpy import load_file

    from adapters.convert import convert

    part = folder / f"{ADAPTER}.part"
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    convert(load_file(folder / WEIGHTS), config, **shape(base), passport=given, target=part)
    part.replace(folder / ADAPTER)
