"""GGUF files written byte by byte, so that a test can lie about any field."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def string(text: str | bytes, length: int | None = None) -> bytes:
    """A string, perhaps with a `length` it does not have."""
    raw = text.encode() if isinstance(text, str) else text
    return u64(len(raw) if length is None else length) + raw


def key(name: str, kind: int, value: bytes) -> bytes:
    return string(name) + u32(kind) + value


def text(name: str, value: str) -> bytes:
    return key(name, STRING, string(value))


def number(name: str, kind: int, value: float) -> bytes:
    return key(name, kind, struct.pack("<" + _CODES[kind], value))


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return u32(kind) + u64(count) + body


@dataclass(frozen=True, slots=True)
class Info:
    """A tensor's entry in the header. `dimensions` may differ from the shape's length."""

    name: str = "w"
    shape: Sequence[int] = (32,)
    kind: int = 0
    offset: int = 0
    dimensions: int | None = None

    def bytes(self) -> bytes:
        n = len(self.shape) if self.dimensions is None else self.dimensions
        return string(self.name) + u32(n) + b"".join(map(u64, self.shape)) + u32(self.kind) + u64(self.offset)


def gguf(
    *keys: bytes,
    tensors: Sequence[Info] = (),
    data: bytes = b"",
    alignment: int = 32,
    version: int = 3,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    magic: bytes = b"GGUF",
) -> bytes:
    """A file of these parts; the counts are true unless given."""
    head = magic + u32(version) + u64(len(tensors) if n_tensors is None else n_tensors)
    head += u64(len(keys) if n_keys is None else n_keys) + b"".join(keys)
    head += b"".join(tensor.bytes() for tensor in tensors)
    return head + bytes(-len(head) % alignment) + data


# -- adapters -----------------------------------------------------------------------------------------------------

Values: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.uint16]
_KINDS = {"float32": 0, "float16": 1, "uint16": 30}  # numpy has no bfloat16: its bits
LORA = {
    "architecture": text("general.architecture", "llama"),
    "type": text("general.type", "adapter"),
    "adapter": text("adapter.type", "lora"),
    "alpha": number("adapter.lora.alpha", F32, 8),
}


@dataclass(frozen=True, slots=True)
class Raw:
    """A tensor of a type that numpy has not; `shape` has the fastest dimension first."""

    shape: Sequence[int]
    kind: int
    data: bytes


def lora(tensors: Mapping[str, Values | Raw], **keys: bytes) -> bytes:
    """An adapter whose fields are all true. `keys` replace those of LORA, or come after them; b"" leaves one out."""
    infos, data = [], b""
    for name, values in tensors.items():
        raw = (
            values
            if isinstance(values, Raw)
            else Raw(values.shape[::-1], _KINDS[values.dtype.name], values.tobytes())
        )
        infos.append(Info(name, raw.shape, raw.kind, len(data)))
        data += raw.data + bytes(-len(raw.data) % 32)
    return gguf(*filter(None, {**LORA, **keys}.values()), tensors=infos, data=data)
