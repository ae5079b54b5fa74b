"""Is this file a LoRA adapter that this base can carry? Checked on the file alone, before llama.cpp sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.gguf_header import BadGguf, Header, Tensor, read

MAX_RANK = 512
_SUFFIXES = (".lora_a", ".lora_b")
_FLOATS = ("F32", "F16", "BF16")


class AdapterRefused(Exception):
    """The message says what is wrong with the file and what to do."""


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """`rank` is the largest; `passport` holds the scalar metadata of the file."""

    rank: int
    modules: int
    passport: dict[str, str]


def inspect(path: Path, base: Header) -> AdapterFacts:
    """Check the adapter at `path` against the base's header.

    Raises AdapterRefused naming the first fault. What it does not do: run llama.cpp's own loader, which the
    probe does in a child.
    """
    try:
        header = read(path)
    except BadGguf as error:
        raise AdapterRefused(f"{path.name} is not a usable GGUF: {error}") from error
    except OSError as error:
        raise AdapterRefused(f"{path.name} cannot be read: {error.strerror}") from error
    _check_kind(path.name, header, base)
    pairs = _pairs(header)
    rank = max(_check_pair(module, a, b, base) for module, (a, b) in pairs.items())
    for tensor in header.tensors.values():
        _check_finite(path, tensor)
    return AdapterFacts(rank, len(pairs), {k: str(v) for k, v in header.keys.items()})


def _check_kind(name: str, header: Header, base: Header) -> None:
    if header.text("general.type") != "adapter" or header.text("adapter.type") != "lora":
        kind = header.text("general.type") or "unknown"
        raise AdapterRefused(f"{name} is not a LoRA adapter (general.type is {kind}); convert one with PEFT's export")
    ours, theirs = base.text("general.architecture"), header.text("general.architecture")
    if ours != theirs:
        raise AdapterRefused(f"{name} was made for a {theirs or 'nameless'} base, this base is {ours}")
    alpha = header.keys.get("adapter.lora.alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not np.isfinite(alpha) or alpha < 0:
        raise AdapterRefused(f"{name} has no valid adapter.lora.alpha ({alpha!r})")


def _pairs(header: Header) -> dict[str, tuple[Tensor, Tensor]]:
    strange = [n for n in header.tensors if not n.endswith(_SUFFIXES)]
    if strange or not header.tensors:
        raise AdapterRefused(f"it holds {strange[0] if strange else 'no tensors'} where LoRA pairs are expected")
    pairs = {}
    for module in {name.rsplit(".", 1)[0] for name in header.tensors}:
        try:
            pairs[module] = (header.tensors[f"{module}.lora_a"], header.tensors[f"{module}.lora_b"])
        except KeyError as error:
            raise AdapterRefused(f"{module} has one half of its pair only: {error.args[0]} is missing") from error
    return pairs


def _check_pair(module: str, a: Tensor, b: Tensor, base: Header) -> int:
    """The rank of a pair that fits the base: A is (rank, in), B is (out, rank)."""
    target = base.tensors.get(module)
    if target is None:
        raise AdapterRefused(f"this base has no {module}: the adapter was made for another one")
    if module in ("token_embd.weight", "output.weight") and "output.weight" not in base.tensors:
        raise AdapterRefused(
            f"{module} is tied to the output in this base, and llama.cpp would apply the pair twice; "
            "train without embed_tokens and lm_head"
        )
    if len(a.shape) != 2 or len(b.shape) != 2 or len(target.shape) != 2:
        raise AdapterRefused(f"{module}: pairs have two dimensions, not {a.shape} and {b.shape}")
    (inputs, rank), (rank_b, outputs) = a.shape, b.shape
    if (inputs, outputs) != target.shape or rank != rank_b:
        raise AdapterRefused(
            f"{module}: shapes {a.shape} and {b.shape} do not fit the base's {target.shape}: made for another one"
        )
    if rank > MAX_RANK:
        raise AdapterRefused(f"{module}: rank {rank}, at most {MAX_RANK} is served")
    return rank


def _check_finite(path: Path, tensor: Tensor) -> None:
    if tensor.type not in _FLOATS:
        raise AdapterRefused(f"{tensor.name} is {tensor.type}; adapters are F32, F16 or BF16")
    dtype = np.float32 if tensor.type == "F32" else np.float16 if tensor.type == "F16" else np.uint16
    count = tensor.size // np.dtype(dtype).itemsize
    values = np.memmap(path, dtype, "r", tensor.offset, (count,))
    # A BF16 value with all exponent bits set is infinite or not a number.
    bad = (values & 0x7F80) == 0x7F80 if tensor.type == "BF16" else ~np.isfinite(values)
    if bool(bad.any()):
        raise AdapterRefused(f"{tensor.name} holds values that are not finite: the training went wrong")
