"""PEFT's tensors to GGUF: order of rows, scale, and what has no place there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

from adapters.convert import Array, CannotConvert, convert, pairs
from adapters.gguf_header import read

HEADS, KV_HEADS, WIDTH, RANK = 4, 2, 32, 3
PLAIN: dict[str, Any] = {"lora_alpha": 6, "r": RANK, "bias": "none"}


def tensors(module: str = "self_attn.q_proj", out: int = WIDTH, layer: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    name = f"base_model.model.model.layers.{layer}.{module}"
    a, b = rng.normal(size=(RANK, WIDTH)), rng.normal(size=(out, RANK))
    return {f"{name}.lora_A.weight": a.astype(np.float32), f"{name}.lora_B.weight": b.astype(np.float32)}


def written(given: dict[str, Array], target: Path, architecture: str = "llama", **config: object) -> dict[str, Array]:
    convert(
        given,
        {**PLAIN, **config},
        architecture=architecture,
        heads=HEADS,
        kv_heads=KV_HEADS,
        passport={"slice": "abc"},
        target=target,
    )
    return {tensor.name: np.array(tensor.data) for tensor in GGUFReader(target).tensors}


def halves(rows: Array, heads: int) -> Array:
    """What the loader of the base does, for the way back."""
    found = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(found.swapaxes(1, 2).reshape(rows.shape))


def test_rows_of_q_and_k_change_places_in_llama_alone(tmp_path: Path) -> None:
    given = tensors()
    a, b = given.values()
    llama = written(given, tmp_path / "llama.gguf")
    assert np.array_equal(llama["blk.0.attn_q.weight.lora_a"], a)
    assert not np.array_equal(llama["blk.0.attn_q.weight.lora_b"], b)
    assert np.array_equal(halves(llama["blk.0.attn_q.weight.lora_b"], HEADS), b)
    qwen = written(given, tmp_path / "qwen.gguf", architecture="qwen3")
    assert np.array_equal(qwen["blk.0.attn_q.weight.lora_b"], b)


def test_k_has_heads_of_its_own(tmp_path: Path) -> None:
    given = tensors("self_attn.k_proj", out=16)
    found = written(given, tmp_path / "k.gguf")["blk.0.attn_k.weight.lora_b"]
    assert np.array_equal(halves(found, KV_HEADS), list(given.values())[1])


def test_pairs_and_halves_undo_each_other() -> None:
    rows = np.arange(48, dtype=np.float32).reshape(16, 3)
    assert np.array_equal(halves(pairs(rows, 2), 2), rows)


@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({}, 1.0),
        ({"use_rslora": True}, RANK**0.5),
        ({"alpha_pattern": {"down_proj": 12}}, 2.0),
        ({"alpha_pattern": {"layers.0.mlp.down_proj": 3}, "use_rslora": True}, 0.5 * RANK**0.5),
        ({"alpha_pattern": {"layers.1.mlp.down_proj": 3}}, 1.0),
    ],
)
def test_scales_of_their_own_are_folded_in(config: dict[str, Any], factor: float, tmp_path: Path) -> None:
    given = tensors("mlp.down_proj")
    found = written(given, tmp_path / "a.gguf", **config)["blk.0.ffn_down.weight.lora_b"]
    assert np.allclose(found, factor * list(given.values())[1])
    header = read(tmp_path / "a.gguf")
    assert header.keys["adapter.lora.alpha"] == 6.0
    assert header.keys["cohort.slice"] == "abc"


@pytest.mark.parametrize(
    ("change", "config", "says"),
    [
        ({}, {"use_dora": True}, "DoRA"),
        ({}, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({}, {"bias": "all"}, "biases"),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((3, 9), np.float32)}, {}, "embed_tokens"),
        ({"base_model.model.lm_head.lora_A.weight": np.zeros((3, 9), np.float32)}, {}, "lm_head"),
        ({"model.layers.1.mlp.up_proj.lora_A.weight": np.zeros((3, 9), np.float32)}, {}, "half of its pair"),
    ],
)
def test_what_has_no_place_is_refused_by_name(
    change: dict[str, Array], config: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(CannotConvert, match=says):
        written({**tensors(), **change}, tmp_path / "a.gguf", **config)


def test_nothing_is_not_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(CannotConvert, match="nothing"):
        written({}, tmp_path / "a.gguf")
