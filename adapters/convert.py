"""A LoRA as PEFT writes it, to a GGUF adapter that llama.cpp loads: shapes, order of rows, and scale.

llama.cpp scales a pair by alpha / rank with one alpha for the whole file, so rsLoRA (Kalajdzievski 2023: alpha /
sqrt(rank)) and alphas of their own for modules are folded into B.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter

from adapters.recipe import MODULES

Array: TypeAlias = npt.NDArray[np.float32]

_GGUF_NAMES = {theirs: ours for ours, theirs in MODULES.items()}
PERMUTED = ("llama",)  # architectures whose GGUF has the rows of q and k in pairs
_TENSOR = re.compile(r"(?:base_model\.model\.)?model\.layers\.(\d+)\.([a-z_.]+)\.lora_([AB])(?:\.default)?\.weight")


class CannotConvert(Exception):
    """The message names what llama.cpp has no place for."""


def convert(
    tensors: Mapping[str, Array],
    config: Mapping[str, Any],
    *,
    architecture: str,
    heads: int,
    kv_heads: int,
    passport: Mapping[str, str],
    target: Path,
) -> None:
    """Write `target`. `config` is PEFT's adapter_config, `passport` goes into the metadata. Raises CannotConvert."""
    _check(config)
    alpha = float(config["lora_alpha"])
    writer = GGUFWriter(target, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for key, value in sorted(passport.items()):
        writer.add_string(f"cohort.{key}", value)
    for name, (a, b) in sorted(_pairs(tensors).items()):
        kind = name.split(".")[2]
        if architecture in PERMUTED and kind in ("attn_q", "attn_k"):
            b = pairs(b, heads if kind == "attn_q" else kv_heads)
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a, np.float32))
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(b * _fold(config, name, alpha, len(a)), np.float32))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _check(config: Mapping[str, Any]) -> None:
    if config.get("use_dora"):
        raise CannotConvert("DoRA cannot be served: llama.cpp has no magnitude vector; train with use_dora = false")
    if config.get("modules_to_save"):
        raise CannotConvert("whole modules were trained (modules_to_save), and a GGUF adapter holds low ranks only")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        raise CannotConvert("biases were trained, and a GGUF adapter holds none")


def _pairs(tensors: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
    found: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or match[2] not in _GGUF_NAMES:
            raise CannotConvert(
                f"{name} has no place in a served adapter: target the linear layers of attention and feed-forward "
                "only (embeddings and head are often one tensor, and llama.cpp would apply it twice)"
            )
        found.setdefault(f"blk.{match[1]}.{_GGUF_NAMES[match[2]]}.weight", {})[match[3]] = tensor
    if not found:
        raise CannotConvert("there is nothing in it")
    for name, pair in found.items():
        if len(pair) < 2:
            raise CannotConvert(f"{name} has half of its pair only")
    return {name: (pair["A"], pair["B"]) for name, pair in found.items()}


def _fold(config: Mapping[str, Any], name: str, alpha: float, rank: int) -> float:
    """What B is multiplied by, so that llama.cpp's alpha / rank gives PEFT's scale of this module."""
    _, layer, kind, _ = name.split(".")
    module = f"model.layers.{layer}.{MODULES[kind]}"
    patterns = (config.get("alpha_pattern") or {}).items()
    own = next((float(a) for pattern, a in patterns if re.fullmatch(rf"(.*\.)?({pattern})", module)), alpha)
    return own / alpha * (math.sqrt(rank) if config.get("use_rslora") else 1.0)


def pairs(rows: Array, heads: int) -> Array:
    """From transformers' order of a head's rows (first halves, then second) to llama.cpp's (pairs side by side)."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))
