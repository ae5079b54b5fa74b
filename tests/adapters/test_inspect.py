"""Adapters are refused on paper, with a reason and a remedy, before llama.cpp sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from adapters.gguf_header import Header, read
from adapters.inspect import MAX_ALPHA, MAX_RANK, AdapterFacts, AdapterRefused, inspect
from tests.adapters.bad_files import UNFIT, Module, alpha, module_of
from tests.adapters.forge import F32, Raw, Values, array, key, lora, number
from tests.adapters.lies import LIES
from tests.tiny import write_adapter

KINDS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
Q = "blk.0.attn_q.weight"
REMEDIES = ("convert the adapter again with", "train", "try again")


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Header:
    return read(tiny_base)


@pytest.fixture(scope="module")
def module(base: Header) -> Module:
    return module_of(base)


@pytest.fixture
def judged(base: Header, tmp_path: Path) -> Callable[[bytes], AdapterFacts]:
    def judge(content: bytes) -> AdapterFacts:
        path = tmp_path / "given.gguf"
        path.write_bytes(content)
        return inspect(path, base)

    return judge


def typed(values: Values | Raw, kind: str) -> Values:
    """The values as another type; numpy knows BF16 by its bits only."""
    assert isinstance(values, np.ndarray)
    if kind == "BF16":
        bits: npt.NDArray[np.uint16] = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return bits
    changed: npt.NDArray[Any] = values.astype(KINDS[kind])
    return changed


@pytest.mark.parametrize("what", UNFIT)
def test_refused_with_the_reason_and_what_to_do(
    what: str, module: Module, judged: Callable[[bytes], AdapterFacts]
) -> None:
    make, why = UNFIT[what]
    with pytest.raises(AdapterRefused) as caught:
        judged(make(module))
    assert why in str(caught.value)
    assert any(remedy in str(caught.value).rpartition(";")[2] for remedy in REMEDIES), str(caught.value)


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_refused_with_what_to_do(what: str, judged: Callable[[bytes], AdapterFacts]) -> None:
    with pytest.raises(AdapterRefused, match=r"not a usable GGUF: .*; convert the adapter again with"):
        judged(LIES[what])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("at", [(0, 0), (3, 63)], ids=["first", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_value_that_is_not_finite_is_enough(
    kind: str, at: tuple[int, int], value: float, module: Module, judged: Callable[[bytes], AdapterFacts]
) -> None:
    tensors = {**module.pair(Q, out=module.into), **module.pair()}
    damaged = tensors[f"{module.name}.lora_a"]
    assert isinstance(damaged, np.ndarray)
    damaged[at] = value
    with pytest.raises(AdapterRefused, match=r"attn_k\.weight\.lora_a holds values that are not finite"):
        judged(lora({name: typed(values, kind) for name, values in tensors.items()}))


@pytest.mark.parametrize("kind", KINDS)
def test_finite_values_of_every_float_type_are_taken(
    kind: str, module: Module, judged: Callable[[bytes], AdapterFacts]
) -> None:
    tensors = {**module.pair(Q, out=module.into), **module.pair(rank=16)}
    extreme = tensors[f"{Q}.lora_a"]
    assert isinstance(extreme, np.ndarray)
    extreme[0, :2] = [-6e4, 6e4]
    facts = judged(lora({name: typed(values, kind) for name, values in tensors.items()}))
    assert (facts.rank, facts.modules) == (16, 2)
    assert facts.passport["adapter.lora.alpha"] == "8.0"
    assert facts.passport["general.architecture"] == "llama"


def test_the_largest_rank_is_served(module: Module, judged: Callable[[bytes], AdapterFacts]) -> None:
    assert judged(lora(module.pair(rank=MAX_RANK))).rank == MAX_RANK


@pytest.mark.parametrize("value", [0.0, MAX_ALPHA], ids=["none, the format's way to say no scaling", "the largest"])
def test_an_alpha_that_is_served(value: float, module: Module, judged: Callable[[bytes], AdapterFacts]) -> None:
    assert judged(lora(module.pair(), alpha=alpha(F32, value))).modules == 1


def test_other_metadata_and_alignments_do_not_matter(module: Module, judged: Callable[[bytes], AdapterFacts]) -> None:
    tags = key("general.tags", 9, array(8, 0))
    assert judged(lora(module.pair(), tags=tags, more=number("general.alignment", 4, 32))).modules == 1


def test_the_tiny_adapters_are_taken(tiny_adapters: tuple[Path, Path], base: Header) -> None:
    assert {(inspect(path, base).rank, inspect(path, base).modules) for path in tiny_adapters} == {(4, 14)}


def test_an_adapter_of_a_wider_base_is_refused(base: Header, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="made for another"):
        inspect(write_adapter(tmp_path / "wide.gguf", embd=96), base)


def test_damaged_training_is_refused(base: Header, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="not finite"):
        inspect(write_adapter(tmp_path / "nan.gguf", scale=float("nan")), base)


def test_what_is_no_file_or_no_adapter_is_refused(base: Header, tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(AdapterRefused, match="it cannot be read: No such file"):
        inspect(tmp_path / "absent.gguf", base)
    with pytest.raises(AdapterRefused, match="not a LoRA adapter"):
        inspect(tiny_base, base)
