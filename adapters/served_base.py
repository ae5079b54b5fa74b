"""The served base as a torch model, from its GGUF: what training stands on is what will answer. Loads torch and
transformers; for the training child alone.

Weights are dequantised by the `gguf` package into transformers' own classes, without transformers' GGUF loader, which
maps qwen2 and qwen3 through llama's row order. Whether the result answers like llama.cpp is measured on every
training (`adapters.parity`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from adapters.convert import PERMUTED
from adapters.recipe import MODULES

Weights = npt.NDArray[np.float32]


class BaseRefused(Exception):
    """This base cannot be trained on; the message says why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an architecture is called in transformers."""

    config: Callable[..., Any]
    model: Callable[[Any], Any]


LAYOUTS: Mapping[str, Layout] = {
    "llama": Layout(LlamaConfig, LlamaForCausalLM),
    "qwen2": Layout(Qwen2Config, Qwen2ForCausalLM),
    "qwen3": Layout(Qwen3Config, Qwen3ForCausalLM),
}
_NORMS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def load(path: Path) -> Any:  # noqa: ANN401 - transformers' classes are untyped
    """The model in float32, frozen, in evaluation mode. Raises BaseRefused."""
    reader = GGUFReader(path)
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    architecture = str(keys["general.architecture"])
    layout = LAYOUTS.get(architecture)
    if layout is None:
        raise BaseRefused(f"bases of architecture {architecture} are not trained on")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = _config(layout, keys, tensors)
    with torch.device("meta"):
        model = layout.model(config)
    state = {}
    for name, tensor in tensors.items():
        weights = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        state[_name(name)] = torch.from_numpy(_in_order(name, weights, architecture, config))
    model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffer was made on no device
    missing, strange = model.load_state_dict(state, strict=False)
    if strange or set(missing) - {"lm_head.weight"} or (missing and not config.tie_word_embeddings):
        raise BaseRefused(f"its tensors do not fit its architecture: missing {missing[:3]}, unknown {strange[:3]}")
    model.tie_weights()
    return model.requires_grad_(False).eval()


def _config(layout: Layout, keys: Mapping[str, Any], tensors: Mapping[str, Any]) -> Any:  # noqa: ANN401
    architecture = keys["general.architecture"]

    def key(name: str, default: object = None) -> Any:  # noqa: ANN401
        return keys.get(f"{architecture}.{name}", default)

    if "rope_freqs.weight" in tensors or key("rope.scaling.type", "none") != "none":
        raise BaseRefused("its positions are scaled (rope scaling), which training does not reproduce yet")
    heads, embd = key("attention.head_count"), key("embedding_length")
    return layout.config(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=embd,
        intermediate_size=key("feed_forward_length"),
        num_hidden_layers=key("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=key("attention.head_count_kv", heads),
        head_dim=key("attention.key_length", embd // heads),
        max_position_embeddings=key("context_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base", 10_000.0)},
        tie_word_embeddings="output.weight" not in tensors,
        attn_implementation="sdpa",
    )


def _name(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    if parts[0] != "blk":
        return f"{_OUTER.get(parts[0], parts[0])}.{parts[1]}"
    return f"model.layers.{parts[1]}.{({**MODULES, **_NORMS}).get(parts[2], parts[2])}.{parts[3]}"


def _in_order(name: str, weights: Weights, architecture: str, config: Any) -> Weights:  # noqa: ANN401
    kind = name.split(".")[-2]
    if architecture not in PERMUTED or kind not in ("attn_q", "attn_k"):
        return weights
    return halves(weights, config.num_attention_heads if kind == "attn_q" else config.num_key_value_heads)


def halves(rows: Weights, heads: int) -> Weights:
    """From llama.cpp's order of a head's rows (pairs) to transformers' (first halves, then second ones)."""
    paired = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(paired.swapaxes(1, 2).reshape(rows.shape))
