"""A GGUF header read within limits, in plain Python.

The `gguf` package's reader follows any length a file claims (an array length of 2^62 in a 49-byte file keeps it busy
for ever), and llama.cpp's own loader ends the process on some lies. This reads first: version 3, little-endian,
and nothing is believed that does not fit into the file, or into a header of sensible size: what is read and kept,
and the time it takes, is bounded by that. Only scalars and strings are kept; arrays are skipped.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_STRING = 1 << 20
MAX_NAME = 1024  # bytes of a key; names of tensors are shorter still
MAX_HEADER = 64 << 20  # bytes; a base's holds its vocabulary, at most a few MB
MAX_NESTING = 2

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_KINDS: Final = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64")
# ggml type -> (name, values in a block, bytes of a block)
TYPES: Final = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    20: ("IQ4_NL", 32, 18),
    23: ("IQ4_XS", 256, 136),
    30: ("BF16", 1, 2),
}


class BadGguf(Exception):
    """The file is not a GGUF this code believes; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` as GGUF stores it (fastest dimension first); `offset` from the start of the file, in bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """`kinds` names the type of every key, arrays included, which have no value in `keys`."""

    keys: dict[str, str | int | float | bool]
    tensors: dict[str, Tensor]
    kinds: dict[str, str] = field(default_factory=dict)

    def text(self, key: str) -> str:
        value = self.keys.get(key)
        return value if isinstance(value, str) else ""


def read(path: Path) -> Header:
    """Read the header of `path`. Raises BadGguf, or OSError when the file cannot be read."""
    with path.open("rb") as file:
        return read_open(file)


def read_open(file: BinaryIO, most: int = MAX_HEADER) -> Header:
    """Read the header of an open file from its beginning; it may have `most` bytes. Raises as `read`."""
    return _Reader(file, os.fstat(file.fileno()).st_size, most).header()


class _Reader:
    def __init__(self, file: BinaryIO, size: int, most: int) -> None:
        self._file, self._size, self._most = file, size, most
        self._at = 0

    def header(self) -> Header:
        if self._bytes(4) != b"GGUF":
            raise BadGguf("it does not begin with GGUF: is it packed, or not converted?")
        if (version := self._number("I")) != 3:
            raise BadGguf(f"GGUF version {version}, only 3 is read")
        n_tensors, n_keys = self._count("Q", MAX_TENSORS, "tensors"), self._count("Q", MAX_KEYS, "keys")
        keys, kinds = self._keys(n_keys)
        alignment = keys.get("general.alignment", 32)
        if kinds.get("general.alignment", "u32") != "u32" or not isinstance(alignment, int):
            raise BadGguf(f"general.alignment is a {kinds['general.alignment']}, not a u32")
        if not 8 <= alignment <= 65_536 or alignment & (alignment - 1):
            raise BadGguf(f"alignment {alignment} is not a power of two from 8 to 65536")
        raw = [self._tensor_info() for _ in range(n_tensors)]
        return Header(keys, self._placed(raw, _aligned(self._at, alignment), alignment), kinds)

    def _keys(self, count: int) -> tuple[dict[str, str | int | float | bool], dict[str, str]]:
        keys: dict[str, str | int | float | bool] = {}
        kinds: dict[str, str] = {}
        for _ in range(count):
            name = self._name()
            if name in kinds:
                raise BadGguf(f"key {name!r} occurs twice")
            kind = self._number("I")
            value = self._value(kind, MAX_NESTING)
            kinds[name] = _KINDS[kind]
            if value is not None:
                keys[name] = value
        return keys, kinds

    def _value(self, kind: int, nesting: int) -> str | int | float | bool | None:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            self._skip_array(nesting)
            return None
        if kind not in _SCALARS:
            raise BadGguf(f"value type {kind} is unknown")
        return self._number(_SCALARS[kind])

    def _skip_array(self, nesting: int) -> None:
        if nesting == 0:
            raise BadGguf("arrays are nested too deeply")
        kind = self._number("I")
        # Every element takes at least a byte, so a longer array cannot be in this file.
        count = self._count("Q", self._size, "array elements")
        if kind in _SCALARS:
            self._skip(count * struct.calcsize("<" + _SCALARS[kind]))
            return
        if kind not in (_STRING, _ARRAY):
            raise BadGguf(f"array type {kind} is unknown")
        for _ in range(count):
            if kind == _STRING:
                self._skip(self._count("Q", MAX_STRING, "bytes of a string"))
            else:
                self._skip_array(nesting - 1)

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._name()
        dimensions = self._count("I", 4, "dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        return name, shape, self._number("I"), self._number("Q")

    def _placed(
        self, raw: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
    ) -> dict[str, Tensor]:
        """The tensors in the file, which lie side by side in the header's order: llama.cpp takes no other."""
        tensors: dict[str, Tensor] = {}
        expected = 0
        for name, shape, kind, offset in raw:
            if kind not in TYPES:
                raise BadGguf(f"tensor {name!r} has the unknown type {kind}")
            label, block, block_bytes = TYPES[kind]
            if not shape or any(not 0 < n <= 1 << 40 for n in shape) or shape[0] % block:
                raise BadGguf(f"tensor {name!r} has the impossible shape {shape}")
            size = math.prod(shape) // block * block_bytes
            if name in tensors:
                raise BadGguf(f"tensor {name!r} occurs twice")
            if start + offset + size > self._size:
                raise BadGguf(f"tensor {name!r} lies outside the file: is it truncated?")
            if offset != expected:
                raise BadGguf(f"tensor {name!r} is at {offset} of the data, not at {expected} behind the one before")
            tensors[name] = Tensor(name, shape, label, start + offset, size)
            expected = _aligned(offset + size, alignment)
        return tensors

    def _name(self) -> str:
        """Of a key or a tensor. Messages show it, so it is plain."""
        name = self._bytes(self._count("Q", MAX_NAME, "bytes of a name")).decode("utf-8", "replace")
        if not name or not name.isprintable():
            raise BadGguf(f"it has a key or a tensor named {name[:40]!r}")
        return name

    def _string(self) -> str:
        return self._bytes(self._count("Q", MAX_STRING, "bytes of a string")).decode("utf-8", "replace")

    def _count(self, code: str, limit: int, what: str) -> int:
        n = self._number(code)
        if n > limit:
            raise BadGguf(f"it claims {n} {what}, at most {limit} are believed")
        return n

    def _number(self, code: str) -> int:
        value: int = struct.unpack("<" + code, self._bytes(struct.calcsize("<" + code)))[0]
        return value

    def _skip(self, n: int) -> None:
        self._go_on(n)
        self._file.seek(n, os.SEEK_CUR)

    def _bytes(self, n: int) -> bytes:
        self._go_on(n)
        data = self._file.read(n)
        if len(data) != n:
            raise BadGguf("it was cut off while it was read")
        return data

    def _go_on(self, n: int) -> None:
        """Count `n` bytes more of the header, before any of them is read."""
        self._at += n
        if self._at > self._size:
            raise BadGguf("it ends in the middle of its header: is it truncated?")
        if self._at > self._most:
            raise BadGguf(f"its header has more than {self._most} bytes")


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
