"""What is no adapter for a base, made by hand: sound files that do not fit, and things that are no files. `lies` has
the broken ones. The tests and `bench/hostile.py` feed them to the appliance."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adapters.gguf_header import Header
from tests.adapters.forge import (
    ARRAY,
    F32,
    F64,
    STRING,
    U32,
    Info,
    Raw,
    Values,
    array,
    gguf,
    key,
    lora,
    number,
    string,
    text,
    u32,
)


@dataclass(frozen=True, slots=True)
class Module:
    """A linear layer of the base for which files are made, and how many layers that base has."""

    name: str
    into: int
    out: int
    layers: int

    def pair(self, name: str = "", *, into: int = 0, out: int = 0, rank: int = 4) -> dict[str, Values | Raw]:
        """A pair that fits, but for what is given."""
        name = name or self.name
        a, b = ones(rank, into or self.into), ones(out or self.out, rank)
        return {f"{name}.lora_a": a, f"{name}.lora_b": b}

    def quantised(self, kind: int, block: int, block_bytes: int) -> bytes:
        """A pair of a block type; every row is a whole number of blocks."""
        rank = block
        wide = -(-self.into // block) * block
        a = Raw((wide, rank), kind, bytes(wide * rank // block * block_bytes))
        b = Raw((rank, self.out), kind, bytes(rank * self.out // block * block_bytes))
        return lora({f"{self.name}.lora_a": a, f"{self.name}.lora_b": b})


def module_of(base: Header) -> Module:
    """The first layer's keys: not square, so that nothing fits by accident."""
    name = "blk.0.attn_k.weight"
    into, out = base.tensors[name].shape
    return Module(name, into, out, sum(key.endswith("attn_k.weight") for key in base.tensors))


def ones(*shape: int) -> Values:
    """Small numbers that change little."""
    return np.full(shape, 1 / 64, np.float32)


def with_value(values: Values, value: float) -> Values:
    """The last one replaced."""
    changed = values.copy()
    changed.flat[-1] = value
    return changed


def alpha(kind: int, value: float) -> bytes:
    return number("adapter.lora.alpha", kind, value)


def _damaged(m: Module, value: float) -> bytes:
    return lora({**m.pair(), f"{m.name}.lora_b": with_value(ones(m.out, 4), value)})


def _control_vector(m: Module) -> bytes:
    tensors = [Info("direction.1", (m.into,))]
    keys = text("general.architecture", "controlvector"), text("controlvector.model_hint", "llama")
    return gguf(*keys, tensors=tensors, data=bytes(4 * m.into))


# Sound GGUF files that this base cannot carry: what makes them, and the reason that is given.
UNFIT: dict[str, tuple[Callable[[Module], bytes], str]] = {
    "another architecture": (
        lambda m: lora(m.pair(), architecture=text("general.architecture", "qwen2")),
        "a qwen2 base",
    ),
    "an architecture without end": (
        lambda m: lora(m.pair(), architecture=text("general.architecture", "\x1b[31m" + "x" * 10_000)),
        r"a \x1b[31mxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx base, this base is",
    ),
    "an architecture that is a number": (
        lambda m: lora(m.pair(), architecture=number("general.architecture", U32, 7)),
        "made for a nameless base",
    ),
    "no architecture": (lambda m: lora(m.pair(), architecture=b""), "made for a nameless base"),
    "a model": (lambda m: lora(m.pair(), type=text("general.type", "model"), adapter=b""), "general.type is model"),
    "no general.type": (lambda m: lora(m.pair(), type=b""), "general.type is unknown"),
    "a general.type that is a number": (
        lambda m: lora(m.pair(), type=number("general.type", U32, 1)),
        "general.type is unknown",
    ),
    "no adapter.type": (lambda m: lora(m.pair(), adapter=b""), "not a LoRA adapter"),
    "an adapter of another kind": (
        lambda m: lora(m.pair(), adapter=text("adapter.type", "ia3")),
        "not a LoRA adapter",
    ),
    "an adapter.type that is an array": (
        lambda m: lora(m.pair(), adapter=key("adapter.type", ARRAY, array(STRING, 1, string("lora")))),
        "not a LoRA adapter",
    ),
    "a control vector": (_control_vector, "general.type is unknown"),
    "an activated LoRA": (
        lambda m: lora(m.pair(), more=key("adapter.alora.invocation_tokens", ARRAY, array(U32, 2, u32(1) + u32(2)))),
        "an activated LoRA",
    ),
    "an activated LoRA of a wrong type": (
        lambda m: lora(m.pair(), more=text("adapter.alora.invocation_tokens", "1, 2")),
        "an activated LoRA",
    ),
    "no alpha": (lambda m: lora(m.pair(), alpha=b""), "it is missing"),
    "alpha NaN": (lambda m: lora(m.pair(), alpha=alpha(F32, math.nan)), "nan, from 0 to"),
    "alpha infinite": (lambda m: lora(m.pair(), alpha=alpha(F32, math.inf)), "inf, from 0 to"),
    "alpha below 0": (lambda m: lora(m.pair(), alpha=alpha(F32, -1)), "-1.0, from 0 to"),
    "alpha huge": (lambda m: lora(m.pair(), alpha=alpha(F32, 1e30)), "from 0 to"),
    "alpha a string": (lambda m: lora(m.pair(), alpha=text("adapter.lora.alpha", "8")), "it is string"),
    "alpha a double": (lambda m: lora(m.pair(), alpha=alpha(F64, 8)), "it is f64"),
    "alpha a whole number": (lambda m: lora(m.pair(), alpha=alpha(U32, 8)), "it is u32"),
    "alpha an array": (
        lambda m: lora(m.pair(), alpha=key("adapter.lora.alpha", ARRAY, array(F32, 1, bytes(4)))),
        "it is array",
    ),
    "no tensors": (lambda _: lora({}), "no tensors"),
    "a strange tensor": (lambda m: lora({**m.pair(), "classifier.weight": ones(4, 64)}), "classifier.weight"),
    "a norm beside the pairs": (
        lambda m: lora({**m.pair(), "blk.0.attn_norm.weight": ones(m.into)}),
        "blk.0.attn_norm.weight where LoRA pairs",
    ),
    "a DoRA magnitude": (lambda m: lora({**m.pair(), f"{m.name}.lora_magnitude": ones(1, m.out)}), "lora_magnitude"),
    "only A": (lambda m: lora({f"{m.name}.lora_a": ones(4, m.into)}), "lora_b is missing"),
    "only B": (lambda m: lora({f"{m.name}.lora_b": ones(m.out, 4)}), "lora_a is missing"),
    "more layers than the base": (lambda m: lora(m.pair(f"blk.{m.layers}.attn_k.weight")), "made for another one"),
    "a mixture of experts": (lambda m: lora(m.pair("blk.0.ffn_gate_exps.weight")), "no blk.0.ffn_gate_exps.weight"),
    "a module without a name": (lambda m: lora({".lora_a": ones(4, m.into), ".lora_b": ones(m.out, 4)}), "has no"),
    "a wider base": (lambda m: lora(m.pair(into=m.into + 32, out=m.out + 32)), "do not fit the base"),
    "another width in": (lambda m: lora(m.pair(into=m.into + 32)), "do not fit the base"),
    "another width out": (lambda m: lora(m.pair(out=m.into)), "do not fit the base"),
    "A and B exchanged": (
        lambda m: lora({f"{m.name}.lora_b": ones(4, m.into), f"{m.name}.lora_a": ones(m.out, 4)}),
        "do not fit the base",
    ),
    "A not transposed": (
        lambda m: lora({f"{m.name}.lora_a": ones(m.into, 4), f"{m.name}.lora_b": ones(m.out, 4)}),
        "do not fit the base",
    ),
    "two ranks": (
        lambda m: lora({f"{m.name}.lora_a": ones(4, m.into), f"{m.name}.lora_b": ones(m.out, 8)}),
        "do not fit the base",
    ),
    "rank 513": (lambda m: lora(m.pair(rank=513)), "rank 513, at most 512 is served"),
    "one dimension": (
        lambda m: lora({f"{m.name}.lora_a": ones(m.into), f"{m.name}.lora_b": ones(m.out, 4)}),
        "two dimensions",
    ),
    "three dimensions": (
        lambda m: lora({f"{m.name}.lora_a": ones(2, 4, m.into), f"{m.name}.lora_b": ones(m.out, 4)}),
        "two dimensions",
    ),
    "on a norm": (lambda m: lora(m.pair("blk.0.attn_norm.weight", out=1)), "two dimensions"),
    "on tied embeddings": (lambda m: lora(m.pair("token_embd.weight")), "tied to the output"),
    "on the output that is tied": (lambda m: lora(m.pair("output.weight")), "no output.weight"),
    "quantised to Q8_0": (lambda m: m.quantised(8, 32, 34), "is Q8_0"),
    "quantised to Q4_0": (lambda m: m.quantised(2, 32, 18), "is Q4_0"),
    "quantised to Q4_K": (lambda m: m.quantised(12, 256, 144), "is Q4_K"),
    "quantised to Q6_K": (lambda m: m.quantised(14, 256, 210), "is Q6_K"),
    "quantised to IQ4_NL": (lambda m: m.quantised(20, 32, 18), "is IQ4_NL"),
    "whole numbers of 8 bits": (lambda m: m.quantised(24, 1, 1), "has the unknown type 24"),
    "doubles": (lambda m: m.quantised(28, 1, 8), "has the unknown type 28"),
    "intermediate Q8_1": (lambda m: m.quantised(9, 32, 36), "has the unknown type 9"),
    "intermediate Q8_K": (lambda m: m.quantised(15, 256, 292), "has the unknown type 15"),
    "bytes after the last tensor": (lambda m: lora(m.pair()) + bytes(33), "33 bytes follow its last tensor"),
    "a second file in the first": (lambda m: lora(m.pair()) * 2, "bytes follow its last tensor"),
    "a novel beside the weights": (
        lambda m: lora(m.pair(), one=text("a", " " * (1 << 15)), two=text("b", " " * (1 << 15))),
        "characters, at most 65536 are kept",
    ),
    "two million words": (
        lambda m: lora(m.pair(), more=key("words", ARRAY, array(STRING, 1 << 21, bytes(8 << 21)))),
        "its header has more than 16777216 bytes",
    ),
    "a byte missing": (lambda m: lora(m.pair())[:-1], "is it truncated?"),
    "half of it": (lambda m: lora(m.pair())[: len(lora(m.pair())) // 2], "is it truncated?"),
    "a weight NaN": (lambda m: _damaged(m, math.nan), "lora_b holds values that are not finite"),
    "a weight infinite": (lambda m: _damaged(m, math.inf), "lora_b holds values that are not finite"),
}

# Sound on paper; what they do shows in the child that tries them.
OVERFLOWING: dict[str, tuple[Callable[[Module], bytes], str]] = {
    "weights that overflow": (
        lambda m: lora({name: values * np.float32(1e36) for name, values in m.pair().items()}),  # type: ignore[operator]
        "values that are not finite",
    ),
}


def places(folder: Path) -> dict[str, tuple[Path, str]]:
    """Paths at which no adapter lies, made in `folder`, and the reason that is given."""
    pipe, sparse, locked = folder / "pipe.gguf", folder / "sparse.gguf", folder / "socket.gguf"
    os.mkfifo(pipe)
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(locked))
    links = {"zeros": Path("/dev/zero"), "loop": folder / "loop.gguf", "nowhere": folder / "gone"}
    for name, target in links.items():
        (folder / f"{name}.gguf").symlink_to(target)
    return {
        "nothing": (folder / "missing.gguf", "there is no file"),
        "a folder": (folder, "is not a regular file"),
        "a pipe nobody writes to": (pipe, "is not a regular file"),
        "a socket": (locked, "is not a regular file"),
        "a device without end": (Path("/dev/zero"), "is not a regular file"),
        "a link to a device": (folder / "zeros.gguf", "is not a regular file"),
        "a link to itself": (folder / "loop.gguf", "there is no file"),
        "a link to nothing": (folder / "nowhere.gguf", "there is no file"),
        "a terabyte of nothing": (sparse, "is larger than 8 GiB"),
        "a file of the kernel": (Path("/proc/self/mem"), "not a usable GGUF"),
        "a name too long": (folder / ("x" * 300), "File name too long"),
    }
