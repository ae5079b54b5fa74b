from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Model
from appliance.errors import BaseModelError, EngineFault
from tests.tiny import CONTROL, IM_END, write_adapter, write_base

N_CTX = 256  # llama.cpp pads contexts to this


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    made = Context(model, None, n_ctx=N_CTX, n_seq=2, n_batch=300, n_outputs=4, threads=1)
    yield made
    made.close()


def decode(context: Context, tokens: list[int], start: int = 0, seq: int = 0) -> int:
    n = len(tokens)
    return context.decode(tokens, range(start, start + n), [seq] * n, [i == n - 1 for i in range(n)])


# -- model and tokenizer ----------------------------------------------------------------------------------------


def test_the_header_is_read(model: Model) -> None:
    assert (model.n_ctx_train, model.adds_bos) == (512, False)
    assert model.eos == IM_END and model.eos in model.end_tokens
    assert [t for t in range(model.n_vocab) if model.is_control(t)] == list(range(len(CONTROL)))


@given(st.lists(st.sampled_from([*CONTROL, "<|", "|>", "im_end", " the", "\n", "x"])).map("".join))
def test_text_never_becomes_control_tokens_unless_special(model: Model, text: str) -> None:
    assert not any(model.is_control(token) for token in model.tokenize(text, special=False))


def test_control_tokens_are_recognised_when_special(model: Model) -> None:
    assert model.tokenize("".join(CONTROL), special=True) == list(range(len(CONTROL)))


@given(st.text())
def test_the_pieces_of_a_text_join_to_it(model: Model, text: str) -> None:
    tokens = model.tokenize(text, special=False)
    assert b"".join(model.pieces[token] for token in tokens) == text.encode()


def test_merged_tokens_are_used(model: Model) -> None:
    assert len(model.tokenize(" the patient was in", special=False)) == 4


@pytest.mark.live
def test_no_control_token_of_the_real_base_comes_from_text(real_base: Path) -> None:
    llama.start()
    real = Model(real_base)
    try:
        control = [t for t in range(real.n_vocab) if real.is_control(t)]
        text = " and ".join(real.pieces[t].decode() for t in control)
        tokens = real.tokenize(text, special=False)
        assert len(control) > 10
        assert not set(tokens) & set(control)
        assert b"".join(real.pieces[t] for t in tokens).decode() == text
    finally:
        real.close()


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    llama.start()
    with pytest.raises(BaseModelError, match=r"broken\.gguf"):
        Model(path)


def test_a_base_can_be_rewritten_in_another_format(tiny_base: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.gguf"
    llama.quantise(tiny_base, target, "q8_0", 1)
    assert target.stat().st_size < tiny_base.stat().st_size / 2
    small = Model(target)
    assert small.n_ctx_train == 512
    small.close()


def test_rewriting_a_missing_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"none\.gguf.*q8_0"):
        llama.quantise(tmp_path / "none.gguf", tmp_path / "out.gguf", "q8_0", 1)


# -- contexts ---------------------------------------------------------------------------------------------------


def test_half_precision_gives_nearly_the_same_logits(context: Context, model: Model, tmp_path: Path) -> None:
    half = Model(write_base(tmp_path / "half.gguf", f16=True))
    other = Context(half, None, n_ctx=N_CTX, n_seq=1, n_batch=8, n_outputs=1, threads=1)
    tokens = model.tokenize(" the patient", special=False)
    assert decode(context, tokens) == decode(other, tokens) == 0
    last = len(tokens) - 1
    assert np.abs(context.logits(last) - other.logits(last)).max() < 0.2
    other.close()
    half.close()


@pytest.mark.parametrize(
    ("tokens", "seqs", "wants"),
    [
        ([], [], []),
        ([5] * 301, [0] * 301, [False] * 301),
        ([5] * 5, [0] * 5, [True] * 5),
        ([5], [2], [True]),
        ([5], [-1], [True]),
    ],
    ids=["empty", "too many tokens", "too many outputs", "sequence too high", "sequence negative"],
)
def test_what_llama_cpp_would_abort_on_is_an_error(
    context: Context, tokens: list[int], seqs: list[int], wants: list[bool]
) -> None:
    with pytest.raises(EngineFault):
        context.decode(tokens, range(len(tokens)), seqs, wants)


def test_logits_that_were_not_wanted_are_an_error(context: Context) -> None:
    assert decode(context, [5, 6]) == 0
    for index in (0, 2):
        with pytest.raises(EngineFault, match=f"index {index}"):
            context.logits(index)


def test_a_full_memory_changes_nothing(context: Context) -> None:
    assert decode(context, [5] * (N_CTX - 1)) == 0
    assert decode(context, [6] * 2, seq=1) == 1
    assert decode(context, [6], start=N_CTX - 1) == 0


def test_dropped_cells_are_free_again(context: Context) -> None:
    assert decode(context, [5] * N_CTX) == 0
    context.drop(0, start=N_CTX - 10)
    assert decode(context, [6] * 10, seq=1) == 0
    context.clear()
    assert decode(context, [5] * N_CTX) == 0


# -- adapters ---------------------------------------------------------------------------------------------------


def test_an_adapter_changes_the_logits_and_the_base_stays(
    model: Model, context: Context, tiny_adapters: tuple[Path, Path]
) -> None:
    adapter = Adapter(model, tiny_adapters[0])
    adapted = Context(model, adapter, n_ctx=N_CTX, n_seq=1, n_batch=8, n_outputs=1, threads=1)
    assert decode(context, [5]) == 0
    before = context.logits(0).copy()
    assert decode(adapted, [5]) == 0
    assert np.abs(adapted.logits(0) - before).max() > 1
    adapted.close()
    adapter.free()
    context.clear()
    assert decode(context, [5]) == 0
    assert np.array_equal(context.logits(0), before)


def test_an_adapter_that_does_not_fit_is_refused_by_name(model: Model, tmp_path: Path) -> None:
    wrong = [
        write_adapter(tmp_path / "architecture.gguf", architecture="qwen2"),
        write_adapter(tmp_path / "shape.gguf", embd=32),
        write_adapter(tmp_path / "layers.gguf", layers=3),
        write_base(tmp_path / "model.gguf"),
        tmp_path / "missing.gguf",
    ]
    for path in wrong:
        with pytest.raises(EngineFault, match=path.name) as caught:
            Adapter(model, path)
        assert caught.value.code == "adapter_refused"
