"""The header reader believes nothing that does not fit into the file: it is right, or BadGguf at once."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.gguf_header import BadGguf, Header, read
from tests.adapters import forge
from tests.adapters.forge import (
    ARRAY,
    BOOL,
    F32,
    I8,
    STRING,
    U8,
    U32,
    U64,
    Info,
    array,
    gguf,
    key,
    number,
    string,
    text,
)

DATA = bytes(128)
ONE = [Info()]
ARCH = text("general.architecture", "llama")

BAD: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"GGU",
    "only the magic": b"GGUF",
    "wrong magic": gguf(ARCH, magic=b"GGML"),
    "lower-case magic": gguf(ARCH, magic=b"gguf"),
    "version 0": gguf(ARCH, version=0),
    "version 1": gguf(ARCH, version=1),
    "version 2": gguf(ARCH, version=2),
    "version 4": gguf(ARCH, version=4),
    "big-endian": b"GGUF" + (3).to_bytes(4, "big") + (0).to_bytes(8, "big") + (0).to_bytes(8, "big"),
    "keys beyond the file": gguf(ARCH, n_keys=2, alignment=1),
    "4097 keys": gguf(ARCH, n_keys=4097),
    "2^63 keys": gguf(ARCH, n_keys=1 << 63),
    "2^64-1 tensors": gguf(ARCH, n_tensors=(1 << 64) - 1),
    "65537 tensors": gguf(ARCH, n_tensors=65_537),
    "tensors beyond the file": gguf(ARCH, tensors=ONE, n_tensors=2, data=DATA),
    "key longer than the file": gguf(string("k", 10_000)),
    "key of 2^64-1 bytes": gguf(string("k", (1 << 64) - 1)),
    "string of 2^62 bytes": gguf(key("k", STRING, string("v", 1 << 62))),
    "string of 2 MiB": gguf(key("k", STRING, string(bytes(2 << 20)))),
    "value type 13": gguf(key("k", 13, bytes(8))),
    "value type 2^32-1": gguf(key("k", (1 << 32) - 1, bytes(8))),
    "array of 2^62 bytes": gguf(key("k", ARRAY, array(U8, 1 << 62))),
    "array of 2^62 strings": gguf(key("k", ARRAY, array(STRING, 1 << 62))),
    "array of 2^62 arrays": gguf(key("k", ARRAY, array(ARRAY, 1 << 62))),
    "array of 2^61 doubles, 2^64 bytes": gguf(key("k", ARRAY, array(12, 1 << 61, bytes(64)))),
    "array a little too long": gguf(key("k", ARRAY, array(U64, 20, bytes(64)))),
    "array of an unknown type": gguf(key("k", ARRAY, array(99, 1, bytes(8)))),
    "array holding a string of 2^62 bytes": gguf(key("k", ARRAY, array(STRING, 1, string("v", 1 << 62)))),
    "arrays nested three deep": gguf(key("k", ARRAY, array(ARRAY, 1, array(ARRAY, 1, array(U8, 1, b"x"))))),
    "arrays nested a thousand deep": gguf(key("k", ARRAY, array(ARRAY, 1) * 1000 + array(U8, 1, b"x"))),
    "alignment 0": gguf(number("general.alignment", U32, 0), tensors=ONE, data=DATA),
    "alignment 1": gguf(number("general.alignment", U32, 1), tensors=ONE, data=DATA),
    "alignment 3": gguf(number("general.alignment", U32, 3), tensors=ONE, data=DATA),
    "alignment 48": gguf(number("general.alignment", U32, 48), tensors=ONE, data=DATA),
    "alignment 2^17": gguf(number("general.alignment", U32, 1 << 17), tensors=ONE, data=DATA),
    "alignment 2^40": gguf(number("general.alignment", U64, 1 << 40), tensors=ONE, data=DATA),
    "alignment -32": gguf(number("general.alignment", I8, -32), tensors=ONE, data=DATA),
    "alignment true": gguf(number("general.alignment", BOOL, True), tensors=ONE, data=DATA),
    "alignment 32.0": gguf(number("general.alignment", F32, 32.0), tensors=ONE, data=DATA),
    "alignment a string": gguf(text("general.alignment", "32"), tensors=ONE, data=DATA),
    "no dimensions": gguf(tensors=[Info(shape=())], data=DATA),
    "five dimensions": gguf(tensors=[Info(shape=(1, 1, 1, 1, 1))], data=DATA),
    "2^32-1 dimensions": gguf(tensors=[Info(dimensions=(1 << 32) - 1)], data=DATA),
    "a dimension of 0": gguf(tensors=[Info(shape=(32, 0))], data=DATA),
    "a dimension of -1": gguf(tensors=[Info(shape=((1 << 64) - 1,))], data=DATA),
    "a dimension of 2^63": gguf(tensors=[Info(shape=(1 << 63,))], data=DATA),
    "dimensions whose product wraps to 0": gguf(tensors=[Info(shape=(1 << 32, 1 << 32))], data=DATA),
    "dimensions whose bytes wrap to 128": gguf(tensors=[Info(shape=(1 << 40, 1 << 22))], data=DATA),
    "a tensor a byte too long": gguf(tensors=ONE, data=DATA[:-1]),
    "a tensor without data": gguf(tensors=ONE),
    "tensor type 4, removed": gguf(tensors=[Info(kind=4)], data=DATA),
    "tensor type 99": gguf(tensors=[Info(kind=99)], data=DATA),
    "tensor type 2^32-1": gguf(tensors=[Info(kind=(1 << 32) - 1)], data=DATA),
    "a row that is no whole block": gguf(tensors=[Info(shape=(33,), kind=8)], data=DATA),
    "offset past the end": gguf(tensors=[Info(offset=128)], data=DATA),
    "offset 2^63": gguf(tensors=[Info(offset=1 << 63)], data=DATA),
    "offset that wraps": gguf(tensors=[Info(offset=(1 << 64) - 32)], data=DATA),
    "offset off the alignment": gguf(tensors=[Info(shape=(8,), offset=4)], data=DATA),
    "a key twice": gguf(ARCH, text("general.architecture", "qwen2")),
    "an array's key twice": gguf(key("tokens", ARRAY, array(U8, 1, b"x")), key("tokens", ARRAY, array(U8, 1, b"y"))),
    "an array's key again as a string": gguf(key("k", ARRAY, array(U8, 1, b"x")), text("k", "v")),
    "a tensor twice": gguf(tensors=[Info(), Info()], data=DATA),
}


def refused(path: Path) -> str:
    """Read a bad file: BadGguf within a second, in little memory. Returns the message."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        with pytest.raises(BadGguf) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - started < 1
    assert peak < 4 << 20
    return str(caught.value)


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_lie_is_refused_at_once(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert refused(path)


def test_the_control_of_those_lies_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "good.gguf"
    nested = key("nested", ARRAY, array(ARRAY, 1, array(STRING, 2, string("a") + string("b"))))
    aligned = number("general.alignment", U32, 64)
    path.write_bytes(gguf(ARCH, nested, aligned, tensors=ONE, data=DATA, alignment=64))
    header = read(path)
    assert header.keys == {"general.architecture": "llama", "general.alignment": 64}
    tensor = header.tensors["w"]
    assert (tensor.shape, tensor.type, tensor.size, tensor.offset % 64) == ((32,), "F32", 128, 0)
    assert tensor.offset + tensor.size == path.stat().st_size


def test_the_base_is_read_as_it_was_written(tiny_base: Path) -> None:
    header = read(tiny_base)
    assert header.text("general.architecture") == "llama"
    assert header.text("tokenizer.chat_template").startswith("{% for message")
    assert header.keys["llama.block_count"] == 2
    assert header.keys["tokenizer.ggml.add_bos_token"] is False
    assert header.keys["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5)
    assert "tokenizer.ggml.tokens" not in header.keys
    assert header.tensors["blk.1.ffn_up.weight"].shape == (64, 128)
    assert len(header.tensors) == 2 + 2 * 9


def test_text_is_empty_for_what_is_no_text() -> None:
    header = Header({"n": 3, "s": "x"}, {})
    assert (header.text("s"), header.text("n"), header.text("absent")) == ("x", "", "")


def test_the_adapter_is_read_as_it_was_written(tiny_adapters: tuple[Path, Path]) -> None:
    header = read(tiny_adapters[0])
    assert header.text("adapter.type") == "lora"
    assert header.keys["adapter.lora.alpha"] == 4.0
    assert header.tensors["blk.0.attn_q.weight.lora_a"].shape == (64, 4)
    assert header.tensors["blk.0.attn_q.weight.lora_b"].shape == (4, 64)


@pytest.mark.parametrize("which", ["base", "adapter"])
def test_a_file_cut_off_anywhere_is_refused(
    which: str, tiny_base: Path, tiny_adapters: tuple[Path, Path], tmp_path: Path
) -> None:
    """Every 16th byte of the header, then some of the weights, and the last byte."""
    whole = (tiny_base if which == "base" else tiny_adapters[0]).read_bytes()
    weights = min(t.offset for t in read(tiny_base if which == "base" else tiny_adapters[0]).tensors.values())
    path = tmp_path / "cut.gguf"
    for length in [*range(0, weights, 16), *range(weights, len(whole), 4096), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(BadGguf):
            read(path)


def test_a_missing_file_and_a_folder_are_faults_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "absent.gguf")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def survives(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    started = time.monotonic()
    try:
        header = read(path)
    except BadGguf:
        header = Header({}, {})
    assert time.monotonic() - started < 1
    assert all(tensor.offset + tensor.size <= len(content) for tensor in header.tensors.values())


@settings(max_examples=300)
@given(data=st.data())
def test_no_mutation_does_more_than_be_refused(
    data: st.DataObject, tiny_adapters: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(tiny_adapters[0].read_bytes())
    weights = min(t.offset for t in read(tiny_adapters[0]).tensors.values())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, weights))
        new = data.draw(
            st.binary(min_size=1, max_size=9) | st.sampled_from([b"\xff" * 8, b"\x00" * 8, forge.u64(1 << 62)])
        )
        end = at + data.draw(st.sampled_from([0, len(new)]))  # inserted or written over
        content[at:end] = new
    survives(tmp_path_factory.getbasetemp() / "mutated.gguf", bytes(content))


@settings(max_examples=200)
@given(
    keys=st.lists(st.binary(max_size=40), max_size=4),
    rest=st.binary(max_size=200),
    counts=st.tuples(*[st.integers(0, 5)] * 2),
)
def test_noise_behind_a_true_magic_is_refused_or_read(
    keys: list[bytes], rest: bytes, counts: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = gguf(*keys, n_keys=counts[0], n_tensors=counts[1], data=rest)
    survives(tmp_path_factory.getbasetemp() / "noise.gguf", content)
