"""Adapters changed at random, the same ones for the same seed: what a bad disk, a cut transfer or malice makes."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAMES = re.compile(rb"(?:general|adapter)\.[a-z.]+|blk\.\d+\.\w+\.weight\.lora_[ab]")
_KEY_FIELDS = ((0, 4), (4, 8))  # behind a key: its type, and the length of a string
_TENSOR_FIELDS = ((0, 4), (4, 8), (12, 8), (20, 4), (24, 8))  # dimensions, the two of them, type, offset
_BOUNDARIES = (0, 1, 2, 4, 5, 8, 9, 13, 31, 32, 33, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_FAR = (1 << 32, 1 << 40, 1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 1)
_LARGE = (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0xFF7FFFFF, 0x00000001, 0x7BFF7BFF, 0xFC007C00)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A sound adapter: where its weights begin, and the counts, lengths, types and offsets of its header as
    (position, width in bytes)."""

    content: bytes
    weights: int
    fields: tuple[tuple[int, int], ...]


def specimen(content: bytes) -> Specimen:
    """Of an adapter as `forge.lora` writes it."""
    fields, end = [(4, 4), (8, 8), (16, 8)], 24
    for name in _NAMES.finditer(content):
        tensor = name[0].startswith(b"blk")
        fields.append((name.start() - 8, 8))
        fields += [(name.end() + at, width) for at, width in (_TENSOR_FIELDS if tensor else _KEY_FIELDS)]
        end = name.end() + 32 if tensor else end
    return Specimen(content, -(-end // 32) * 32, tuple(fields))


def mutations(specimens: Sequence[Specimen], seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` kinds and contents, each different from what it was made of."""
    rng = random.Random(seed)
    while count:
        (kind,) = rng.choices(list(_KINDS), _SHARES)
        one, other = rng.choice(specimens), rng.choice(specimens)
        content = _KINDS[kind](one, other, rng)
        if content != one.content:
            yield kind, content
            count -= 1


def _flipped(content: bytes, begin: int, end: int, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        changed[rng.randrange(begin, end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _header_bits(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    return _flipped(one.content, 0, one.weights, rng)


def _weight_bits(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    return _flipped(one.content, one.weights, len(one.content), rng)


def _field(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    """A count, length, type or offset at a boundary, or next to the true one."""
    at, width = rng.choice(one.fields)
    true = int.from_bytes(one.content[at : at + width], "little")
    near = (true - 1, true + 1, true * 2, true + 32, true - 32)
    value = rng.choice(near + _BOUNDARIES + _FAR) % (1 << 8 * width)
    return one.content[:at] + value.to_bytes(width, "little") + one.content[at + width :]


def _cut(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    return one.content[: rng.randrange(rng.choice((one.weights, len(one.content))))]


def _spliced(one: Specimen, other: Specimen, rng: random.Random) -> bytes:
    """The beginning of one and the end of another."""
    at = rng.choice((one.weights, rng.randrange(one.weights)))
    return one.content[:at] + other.content[rng.choice((other.weights, at)) :]


def _shifted(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    """Bytes inserted, left out or said twice, so that all behind them moves."""
    at, n = rng.randrange(len(one.content)), rng.choice((1, 2, 4, 8, 32))
    middle = rng.choice((b"", rng.randbytes(2 * n), one.content[at : at + n] * 2))
    return one.content[:at] + middle + one.content[at + n :]


def _large_weight(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    """Weights that are infinite, not numbers, or nearly so."""
    at = rng.randrange(one.weights, len(one.content) - 3, 4)
    return one.content[:at] + struct.pack("<I", rng.choice(_LARGE)) + one.content[at + 4 :]


def _exchanged(one: Specimen, _other: Specimen, rng: random.Random) -> bytes:
    """Two names or two fields of the header in each other's place."""
    (a, width), (b, other_width) = sorted(rng.sample(one.fields, 2))
    n, content = min(width, other_width), one.content
    return content[:a] + content[b : b + n] + content[a + n : b] + content[a : a + n] + content[b + n :]


_KINDS = {
    "header bits": _header_bits,
    "weight bits": _weight_bits,
    "a field": _field,
    "cut": _cut,
    "spliced": _spliced,
    "shifted": _shifted,
    "a large weight": _large_weight,
    "exchanged": _exchanged,
}
_SHARES = [1 if "weight" in kind else 3 for kind in _KINDS]  # most changed weights are sound adapters still
