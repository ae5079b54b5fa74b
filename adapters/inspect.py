"""Is this file a LoRA adapter that this base can carry? Checked on the file alone, before llama.cpp sees it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from adapters.gguf_header import BadGguf, Header, Tensor, read_open

MAX_RANK = 512
MAX_ALPHA = 65_536.0
MAX_HEADER = 16 << 20  # bytes: enough to see that a whole model with its vocabulary is none
MAX_PASSPORT = 64 << 10  # characters: they go into the manifest, the register and the audit trail
BASE_KEY = "cohort.base"
_SUFFIXES = (".lora_a", ".lora_b")
_FLOATS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_CHUNK = 1 << 22  # values looked at together
_CONVERT = "convert the adapter again with llama.cpp's convert_lora_to_gguf.py"
_RETRAIN = "train it on this base"


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
        with path.open("rb") as file:
            header, facts = inspect_header(file, base)
            for tensor in header.tensors.values():
                _check_finite(file, tensor)
    except OSError as error:
        raise AdapterRefused(f"it cannot be read: {error.strerror}") from error
    return facts


def inspect_header(file: BinaryIO, base: Header) -> tuple[Header, AdapterFacts]:
    """All that can be said without reading the weights. Raises AdapterRefused, OSError."""
    try:
        header = read_open(file, MAX_HEADER)
    except BadGguf as error:
        raise AdapterRefused(f"it is not a usable GGUF: {error}; {_CONVERT}") from error
    _check_kind(header, base)
    _check_alpha(header)
    pairs = _pairs(header)
    rank = max(_check_pair(module, a, b, base) for module, (a, b) in pairs.items())
    _check_end(file, header)
    return header, AdapterFacts(rank, len(pairs), _passport(header))


def check_base(facts: AdapterFacts, digest: str) -> None:
    """An adapter that says on which base it was trained says this one (`digest`, of its source): shapes alone do not
    tell two bases apart. Raises AdapterRefused."""
    told = facts.passport.get(BASE_KEY, digest)
    if told != digest:
        raise AdapterRefused(
            f"it was trained on the base {_shown(told)[:12]} (its {BASE_KEY}), this base is {digest[:12]}; {_RETRAIN}"
        )


def _check_kind(header: Header, base: Header) -> None:
    if header.text("general.type") != "adapter" or header.text("adapter.type") != "lora":
        kind = _shown(header.text("general.type")) or "unknown"
        raise AdapterRefused(f"it is not a LoRA adapter (general.type is {kind}); {_CONVERT}")
    ours, theirs = base.text("general.architecture"), header.text("general.architecture")
    if ours != theirs:
        raise AdapterRefused(
            f"it was made for a {_shown(theirs) or 'nameless'} base, this base is {ours}; {_RETRAIN}"
        )
    if "adapter.alora.invocation_tokens" in header.kinds:
        raise AdapterRefused(
            "it is an activated LoRA, which begins at its invocation tokens, and a release holds for whole "
            "conversations; train a plain LoRA"
        )


def _shown(text: str) -> str:
    """What a strange file says, fit for a message."""
    return repr(text[:40])[1:-1]


def _check_alpha(header: Header) -> None:
    alpha, kind = header.keys.get("adapter.lora.alpha"), header.kinds.get("adapter.lora.alpha", "missing")
    if kind != "f32" or not isinstance(alpha, float):
        raise AdapterRefused(f"it has no valid adapter.lora.alpha (an f32 is wanted, it is {kind}); {_CONVERT}")
    if not 0 <= alpha <= MAX_ALPHA:  # false for NaN too
        raise AdapterRefused(
            f"it has no valid adapter.lora.alpha ({alpha!r}, from 0 to {MAX_ALPHA:g} is served); {_CONVERT}"
        )


def _pairs(header: Header) -> dict[str, tuple[Tensor, Tensor]]:
    strange = [n for n in header.tensors if not n.endswith(_SUFFIXES)]
    if strange or not header.tensors:
        held = strange[0] if strange else "no tensors"
        raise AdapterRefused(f"it holds {held} where LoRA pairs are expected; train a plain LoRA on linear layers")
    pairs = {}
    for module in {name.rsplit(".", 1)[0] for name in header.tensors}:
        try:
            pairs[module] = (header.tensors[f"{module}.lora_a"], header.tensors[f"{module}.lora_b"])
        except KeyError as error:
            missing = error.args[0]
            raise AdapterRefused(f"{module} has half of its pair only: {missing} is missing; {_CONVERT}") from error
    return pairs


def _check_pair(module: str, a: Tensor, b: Tensor, base: Header) -> int:
    """The rank of a pair that fits the base: A is (rank, in), B is (out, rank)."""
    target = base.tensors.get(module)
    if target is None:
        raise AdapterRefused(f"this base has no {module}: the adapter was made for another one; {_RETRAIN}")
    if module == "token_embd.weight":
        raise AdapterRefused(
            f"{module}: a LoRA on embeddings is not served (llama.cpp applies it twice where they are tied to the "
            "output); train without embed_tokens and lm_head"
        )
    for tensor in (a, b):
        if tensor.type not in _FLOATS:
            raise AdapterRefused(f"{tensor.name} is {tensor.type}; adapters are F32, F16 or BF16: {_CONVERT}")
    if len(a.shape) != 2 or len(b.shape) != 2 or len(target.shape) != 2:
        raise AdapterRefused(
            f"{module}: a pair and what it changes have two dimensions, not {a.shape}, {b.shape} and {target.shape}; "
            "train a plain LoRA on linear layers"
        )
    (inputs, rank), (rank_b, outputs) = a.shape, b.shape
    if (inputs, outputs) != target.shape or rank != rank_b:
        raise AdapterRefused(
            f"{module}: shapes {a.shape} and {b.shape} do not fit the base's {target.shape}: made for another one; "
            f"{_RETRAIN}"
        )
    if rank > MAX_RANK:
        raise AdapterRefused(f"{module}: rank {rank}, at most {MAX_RANK} is served; train with a lower one")
    return rank


def _passport(header: Header) -> dict[str, str]:
    found = {key: str(value) for key, value in header.keys.items()}
    length = sum(len(key) + len(value) for key, value in found.items())
    if length > MAX_PASSPORT:
        raise AdapterRefused(f"its metadata has {length} characters, at most {MAX_PASSPORT} are kept; {_CONVERT}")
    return found


def _check_end(file: BinaryIO, header: Header) -> None:
    """The file holds what its header lists and nothing else, so that its size is bounded by the base's."""
    end = max(tensor.offset + tensor.size for tensor in header.tensors.values())
    padding = int(header.keys.get("general.alignment", 32))
    beyond = os.fstat(file.fileno()).st_size - end
    if beyond > padding:
        raise AdapterRefused(f"{beyond} bytes follow its last tensor, and nothing should; {_CONVERT}")


def _check_finite(file: BinaryIO, tensor: Tensor) -> None:
    dtype = np.dtype(_FLOATS[tensor.type])
    file.seek(tensor.offset)
    left = tensor.size // dtype.itemsize
    while left:
        # Read, not mapped: a file that is cut off under a map ends the process.
        values = np.fromfile(file, dtype, min(left, _CHUNK))
        if not values.size:
            raise AdapterRefused(f"{tensor.name} was cut off while it was read; try again")
        left -= values.size
        # A BF16 value with all exponent bits set is infinite or not a number.
        bad = (values & 0x7F80) == 0x7F80 if tensor.type == "BF16" else ~np.isfinite(values)
        if bool(bad.any()):
            raise AdapterRefused(
                f"{tensor.name} holds values that are not finite: the training went wrong; train it again"
            )
