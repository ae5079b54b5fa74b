"""The header reader believes nothing that does not fit into the file: it is right, or BadGguf at once."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.gguf_header import MAX_HEADER, BadGguf, Header, read, read_open
from tests.adapters import forge
from tests.adapters.forge import ARRAY, F32, STRING, U8, U32, array, gguf, key, number, string, text
from tests.adapters.lies import ARCH, DATA, LIES, ONE


def refused(path: Path) -> str:
    """Read a bad file: BadGguf within a second, in little memory. Returns the message."""
    tracemalloc.start()
    started = time.thread_time()
    try:
        with pytest.raises(BadGguf) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.thread_time() - started < 1
    assert peak < 4 << 20
    return str(caught.value)


@pytest.mark.parametrize("content", LIES.values(), ids=LIES)
def test_a_lie_is_refused_at_once(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert refused(path)


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ("4097 keys", "it claims 4097 keys, at most 4096 are believed"),
        ("65537 tensors", "it claims 65537 tensors, at most 65536 are believed"),
    ],
)
def test_one_more_than_is_believed_is_named(lie: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "many.gguf"
    path.write_bytes(LIES[lie])
    assert refused(path) == told


def test_a_header_beyond_the_limit_is_refused_though_the_file_holds_it(tmp_path: Path) -> None:
    """All bytes that the array claims are there: nothing but the limit on headers ends it."""
    path = tmp_path / "sparse.gguf"
    path.write_bytes(gguf(key("k", ARRAY, array(U8, MAX_HEADER)), alignment=1))
    os.truncate(path, MAX_HEADER + (1 << 20))
    assert f"its header has more than {64 << 20} bytes" in refused(path)


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


def test_a_header_may_have_so_many_bytes_and_no_more(tmp_path: Path) -> None:
    """However much of it is skipped: memory and time are bounded by that, whatever the file's size."""
    path = tmp_path / "long.gguf"
    arrays = key("numbers", ARRAY, array(U8, 5000, bytes(5000))), text("words", " " * 5000)
    path.write_bytes(gguf(*arrays, tensors=ONE, data=DATA))
    with path.open("rb") as file:
        assert read_open(file, most=10_500).tensors.keys() == {"w"}
    for most in (10, 4000, 9000):
        with path.open("rb") as file, pytest.raises(BadGguf, match=f"its header has more than {most} bytes"):
            read_open(file, most=most)


def test_types_are_told_arrays_included(tmp_path: Path) -> None:
    path = tmp_path / "typed.gguf"
    path.write_bytes(gguf(ARCH, number("n", U8, 3), number("x", F32, 1.5), key("a", ARRAY, array(U32, 0))))
    assert read(path).kinds == {"general.architecture": "string", "n": "u8", "x": "f32", "a": "array"}


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
    started = time.thread_time()
    try:
        header = read(path)
    except BadGguf:
        header = Header({}, {})
    assert time.thread_time() - started < 1
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
