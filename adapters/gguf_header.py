"""A GGUF header read within limits, in plain Python.

The `gguf` package's reader follows any length a file claims (an array length of 2^62 in a 49-byte file keeps it busy
for ever), and llama.cpp's own loader ends the process on some lies. This reads first: version 3, little-endian,
and nothing is believed that does not fit into the file. Only scalars and strings are kept; arrays are skipped.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_STRING = 1 << 20
MAX_NESTING = 2

_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
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
    keys: dict[str, str | int | float | bool]
    tensors: dict[str, Tensor]

    def text(self, key: str) -> str:
        value = self.keys.get(key)
        return value if isinstance(value, str) else ""


def read(path: Path) -> Header:
    """Read the header of `path`. Raises BadGguf, or OSError when the file cannot be read."""
    with path.open("rb") as file:
        return _Reader(file, path.stat().st_size).header()


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def header(self) -> Header:
        if self._bytes(4) != b"GGUF":
            raise BadGguf("it does not begin with GGUF")
        if (version := self._number("I")) != 3:
            raise BadGguf(f"GGUF version {version}, only 3 is read")
        n_tensors, n_keys = self._count("Q", MAX_TENSORS, "tensors"), self._count("Q", MAX_KEYS, "keys")
        keys = self._keys(n_keys)
        alignment = keys.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 8 <= alignment <= 65_536 or alignment & (alignment - 1):
            raise BadGguf(f"alignment {alignment!r} is not a power of two from 8 to 65536")
        raw = [self._tensor_info() for _ in range(n_tensors)]
        start = -(-self._file.tell() // alignment) * alignment
        return Header(keys, self._placed(raw, start, alignment))

    def _keys(self, count: int) -> dict[str, str | int | float | bool]:
        keys: dict[str, str | int | float | bool] = {}
        seen: set[str] = set()
        for _ in range(count):
            name = self._string()
            if name in seen:
                raise BadGguf(f"key {name!r} occurs twice")
            seen.add(name)
            value = self._value(self._number("I"), MAX_NESTING)
            if value is not None:
                keys[name] = value
        return keys

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
        name = self._string()
        dimensions = self._count("I", 4, "dimensions")
        shape = tuple(self._number("Q") for _ in range(dimensions))
        return name, shape, self._number("I"), self._number("Q")

    def _placed(
        self, raw: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
    ) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, shape, kind, offset in raw:
            if kind not in TYPES:
                raise BadGguf(f"tensor {name!r} has the unknown type {kind}")
            label, block, block_bytes = TYPES[kind]
            if not shape or any(not 0 < n <= 1 << 40 for n in shape) or shape[0] % block:
                raise BadGguf(f"tensor {name!r} has the impossible shape {shape}")
            size = math.prod(shape) // block * block_bytes
            if offset % alignment or start + offset + size > self._size:
                raise BadGguf(f"tensor {name!r} lies outside the file: is it truncated?")
            if name in tensors:
                raise BadGguf(f"tensor {name!r} occurs twice")
            tensors[name] = Tensor(name, shape, label, start + offset, size)
        return tensors

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
        if self._file.tell() + n > self._size:
            raise BadGguf("it ends in the middle of its header: is it truncated?")
        self._file.seek(n, 1)

    def _bytes(self, n: int) -> bytes:
        data = self._file.read(n) if n <= self._size else b""
        if len(data) != n:
            raise BadGguf("it ends in the middle of its header: is it truncated?")
        return data
