"""Tiny models in the real format: GGUF bases and LoRA adapters with random weights, written in milliseconds.

The weights are scaled so that logits spread (standard deviation about 4), answers wander instead of repeating the
last token, an adapter visibly changes them, and control tokens come up only when a test forces them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter, TokenType

Weights = npt.NDArray[np.float32]

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2
END_OF_TEXT, IM_START, IM_END = range(3)
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named Tiny<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WORDS = (
    "the and of to in is was for that with are this not you from have which what when how who can will "
    "one all were there been their has more user assistant system contract loan patient function"
)
# Attention must pick positions, else all prompts average to the same; outputs must outweigh the residual stream,
# else the last token is repeated.
_GAIN = {"attn_q": 2.0, "attn_k": 2.0, "attn_output": 3.0, "ffn_down": 3.0}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model."""

    layers: int = 2
    embd: int = 64
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 128
    context: int = 512
    head: int = 0

    @property
    def head_size(self) -> int:
        """By default the heads share the width."""
        return self.head or self.embd // self.heads

    def linears(self) -> dict[str, tuple[int, int]]:
        """(out, in) of the seven matrices of a layer."""
        q, kv = self.head_size * self.heads, self.head_size * self.kv_heads
        return {
            "attn_q": (q, self.embd),
            "attn_k": (kv, self.embd),
            "attn_v": (kv, self.embd),
            "attn_output": (self.embd, q),
            "ffn_gate": (self.ffn, self.embd),
            "ffn_up": (self.ffn, self.embd),
            "ffn_down": (self.embd, self.ffn),
        }


def write_base(
    path: Path, *, seed: int = 0, f16: bool = False, architecture: str = "llama", tied: bool = True, **shape: int
) -> Path:
    """A base with a byte-level BPE vocabulary and a ChatML template. `tied`: its embeddings are the output's too."""
    size = Shape(**shape)
    tokens, merges = vocabulary()
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_file_type(int(f16))
    _write_sizes(writer, size, len(tokens))
    _write_vocabulary(writer, tokens, merges)
    rng = np.random.default_rng(seed)
    embeddings = _normal(rng, (len(tokens), size.embd), 0.5)
    embeddings[: len(CONTROL)] *= 0.05  # their logits stay near zero, far from the best
    dtype = np.float16 if f16 else np.float32
    writer.add_tensor("token_embd.weight", embeddings.astype(dtype))
    writer.add_tensor("output_norm.weight", np.ones(size.embd, np.float32))
    for layer in range(size.layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(size.embd, np.float32))
        for name, (out, into) in size.linears().items():
            weight = _normal(rng, (out, into), _GAIN.get(name, 1.5) * into**-0.5)
            writer.add_tensor(f"blk.{layer}.{name}.weight", weight.astype(dtype))
        for name, values in _own(architecture, size, rng).items():
            writer.add_tensor(f"blk.{layer}.{name}", values)
    if not tied:
        writer.add_tensor("output.weight", _normal(rng, (len(tokens), size.embd), 0.5).astype(dtype))
    return _close(writer, path)


def _own(architecture: str, size: Shape, rng: np.random.Generator) -> dict[str, Weights]:
    """What a layer has in this architecture and not in llama."""
    if architecture == "qwen2":
        wide = {name: out for name, (out, _) in size.linears().items() if name in ("attn_q", "attn_k", "attn_v")}
        return {f"{name}.bias": _normal(rng, (out,), 0.5) for name, out in wide.items()}
    if architecture == "qwen3":
        return {f"{name}.weight": 1 + _normal(rng, (size.head_size,), 0.2) for name in ("attn_q_norm", "attn_k_norm")}
    return {}


def write_adapter(
    path: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    scale: float = 1.0,
    architecture: str = "llama",
    **shape: int,
) -> Path:
    """A LoRA on the seven matrices of every layer. At `scale` 1 its change is as large as the weights; NaN gives
    a damaged adapter that llama.cpp loads all the same."""
    size = Shape(**shape)
    writer = GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    rng = np.random.default_rng([seed, 1])
    for layer in range(size.layers):
        for name, (out, into) in size.linears().items():
            weight = f"blk.{layer}.{name}.weight"
            writer.add_tensor(f"{weight}.lora_a", _normal(rng, (rank, into), into**-0.5))
            writer.add_tensor(f"{weight}.lora_b", _normal(rng, (out, rank), scale * rank**-0.5))
    return _close(writer, path)


def vocabulary() -> tuple[list[str], list[str]]:
    """Tokens in gpt2's byte alphabet (control tokens first, then single bytes, then merged) and the merges."""
    letter = _byte_letters()
    tokens = [*CONTROL, *letter.values()]
    merges: list[str] = []
    for word in _WORDS.split(" "):
        left = letter[ord(" ")]
        for character in word:
            if left + character not in tokens:
                merges.append(f"{left} {character}")
                tokens.append(left + character)
            left += character
    return tokens, merges


def _byte_letters() -> dict[int, str]:
    """gpt2's byte-to-unicode table: printable bytes stand for themselves, the others for 256 and up."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _write_sizes(writer: GGUFWriter, size: Shape, n_vocab: int) -> None:
    writer.add_type("model")
    writer.add_block_count(size.layers)
    writer.add_context_length(size.context)
    writer.add_embedding_length(size.embd)
    writer.add_feed_forward_length(size.ffn)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.kv_heads)
    writer.add_rope_dimension_count(size.head_size)
    if size.head:
        writer.add_key_length(size.head)
        writer.add_value_length(size.head)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(n_vocab)


def _write_vocabulary(writer: GGUFWriter, tokens: list[str], merges: list[str]) -> None:
    types = [TokenType.CONTROL if token in CONTROL else TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(END_OF_TEXT)
    writer.add_eos_token_id(IM_END)
    writer.add_unk_token_id(END_OF_TEXT)
    writer.add_pad_token_id(IM_END)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Weights:
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


def _close(writer: GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
