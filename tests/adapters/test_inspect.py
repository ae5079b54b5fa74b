"""Adapters are refused on paper, with a reason, before llama.cpp sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from adapters.gguf_header import Header, read
from adapters.inspect import MAX_RANK, AdapterFacts, AdapterRefused, inspect
from tests.tiny import Weights, write_adapter

Q = "blk.0.attn_q.weight"  # (64, 64) in the tiny base
K = "blk.0.attn_k.weight"  # (64, 32)


def ones(*shape: int) -> Weights:
    return np.ones(shape, np.float32)


def pair(module: str, into: int = 64, out: int = 64, rank: int = 4) -> dict[str, Weights]:
    return {f"{module}.lora_a": ones(rank, into), f"{module}.lora_b": ones(out, rank)}


@dataclass(frozen=True, slots=True)
class Adapter:
    """What to write; None leaves a key out."""

    tensors: dict[str, Weights] = field(default_factory=lambda: pair(Q))
    architecture: str = "llama"
    general_type: str | None = "adapter"
    adapter_type: str | None = "lora"
    alpha: float | str | None = 8.0
    kind: GGMLQuantizationType | None = None

    def write(self, path: Path) -> Path:
        writer = GGUFWriter(path, self.architecture)
        if self.general_type is not None:
            writer.add_type(self.general_type)
        if self.adapter_type is not None:
            writer.add_string("adapter.type", self.adapter_type)
        if isinstance(self.alpha, str):
            writer.add_string("adapter.lora.alpha", self.alpha)
        elif self.alpha is not None:
            writer.add_float32("adapter.lora.alpha", self.alpha)
        for name, values in self.tensors.items():
            raw: npt.NDArray[Any] = values.astype(np.float16) if self.kind is GGMLQuantizationType.F16 else values
            if self.kind is GGMLQuantizationType.BF16:
                raw = (values.view(np.uint32) >> 16).astype(np.uint16)
            elif self.kind is GGMLQuantizationType.Q8_0:
                raw = np.zeros((*values.shape[:-1], values.shape[-1] // 32 * 34), np.uint8)
            writer.add_tensor(name, raw, raw_dtype=self.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


@pytest.fixture(scope="module")
def base(tiny_base: Path) -> Header:
    return read(tiny_base)


@pytest.fixture
def judged(base: Header, tmp_path: Path) -> Callable[[Adapter], AdapterFacts]:
    return lambda adapter: inspect(adapter.write(tmp_path / "given.gguf"), base)


GOOD = Adapter()
REFUSED: dict[str, tuple[Adapter, str]] = {
    "foreign architecture": (replace(GOOD, architecture="qwen2"), "made for a qwen2 base, this base is llama"),
    "a base": (replace(GOOD, general_type="model", adapter_type=None), "general.type is model"),
    "no general.type": (replace(GOOD, general_type=None), "general.type is unknown"),
    "no adapter.type": (replace(GOOD, adapter_type=None), "not a LoRA adapter"),
    "an adapter of another kind": (replace(GOOD, adapter_type="aloha"), "not a LoRA adapter"),
    "no alpha": (replace(GOOD, alpha=None), "no valid adapter.lora.alpha"),
    "alpha NaN": (replace(GOOD, alpha=float("nan")), "no valid adapter.lora.alpha"),
    "alpha infinite": (replace(GOOD, alpha=float("inf")), "no valid adapter.lora.alpha"),
    "alpha below 0": (replace(GOOD, alpha=-1.0), "no valid adapter.lora.alpha"),
    "alpha a string": (replace(GOOD, alpha="8"), "no valid adapter.lora.alpha"),
    "no tensors": (replace(GOOD, tensors={}), "no tensors"),
    "a strange tensor": (replace(GOOD, tensors={**pair(Q), "classifier.weight": ones(4, 64)}), "classifier.weight"),
    "a DoRA magnitude": (replace(GOOD, tensors={**pair(Q), f"{Q}.lora_magnitude": ones(1, 64)}), "lora_magnitude"),
    "only A": (replace(GOOD, tensors={f"{Q}.lora_a": ones(4, 64)}), f"{Q}.lora_b is missing"),
    "only B": (replace(GOOD, tensors={**pair(K, out=32), f"{Q}.lora_b": ones(64, 4)}), f"{Q}.lora_a is missing"),
    "a module the base lacks": (replace(GOOD, tensors=pair("blk.9.attn_q.weight")), "no blk.9.attn_q.weight"),
    "a module without a name": (replace(GOOD, tensors={".lora_a": ones(4, 64), ".lora_b": ones(64, 4)}), "has no"),
    "wrong input width": (replace(GOOD, tensors=pair(Q, into=96)), "do not fit"),
    "wrong output width": (replace(GOOD, tensors=pair(K)), "do not fit"),
    "A and B exchanged": (replace(GOOD, tensors={f"{Q}.lora_b": ones(4, 64), f"{Q}.lora_a": ones(64, 4)}), "do not"),
    "rank mismatch": (replace(GOOD, tensors={f"{Q}.lora_a": ones(4, 64), f"{Q}.lora_b": ones(64, 8)}), "do not fit"),
    "rank too big": (replace(GOOD, tensors=pair(Q, rank=MAX_RANK + 1)), f"rank {MAX_RANK + 1}, at most {MAX_RANK}"),
    "one dimension": (
        replace(GOOD, tensors={f"{Q}.lora_a": ones(64), f"{Q}.lora_b": ones(64, 4)}),
        "two dimensions",
    ),
    "three dimensions": (
        replace(GOOD, tensors={f"{Q}.lora_a": ones(2, 4, 64), f"{Q}.lora_b": ones(64, 4)}),
        "two dimensions",
    ),
    "on a norm": (replace(GOOD, tensors=pair("output_norm.weight", out=1)), "two dimensions"),
    "on tied embeddings": (replace(GOOD, tensors=pair("token_embd.weight")), "tied to the output"),
    "quantised": (replace(GOOD, tensors=pair(Q, rank=32), kind=GGMLQuantizationType.Q8_0), "is Q8_0"),
}


@pytest.mark.parametrize(("adapter", "why"), REFUSED.values(), ids=REFUSED)
def test_refused_with_the_reason(adapter: Adapter, why: str, judged: Callable[[Adapter], AdapterFacts]) -> None:
    with pytest.raises(AdapterRefused, match=why.replace(".", r"\.")):
        judged(adapter)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "-inf"])
@pytest.mark.parametrize("at", [(0, 0), (3, 63)], ids=["first", "last"])
@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16])
def test_one_value_that_is_not_finite_is_enough(
    kind: GGMLQuantizationType, at: tuple[int, int], value: float, judged: Callable[[Adapter], AdapterFacts]
) -> None:
    tensors = {**pair(Q), **pair(K, out=32)}
    tensors[f"{K}.lora_a"][at] = value
    with pytest.raises(AdapterRefused, match=rf"{K}\.lora_a holds values that are not finite"):
        judged(replace(GOOD, tensors=tensors, kind=kind))


@pytest.mark.parametrize("kind", [GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16])
def test_finite_values_of_every_float_type_are_taken(
    kind: GGMLQuantizationType, judged: Callable[[Adapter], AdapterFacts]
) -> None:
    tensors = {**pair(Q, rank=4), **pair(K, out=32, rank=16)}
    tensors[f"{Q}.lora_a"][0, :2] = [-6e4, 6e4]
    facts = judged(replace(GOOD, tensors=tensors, kind=kind))
    assert (facts.rank, facts.modules) == (16, 2)
    assert facts.passport["adapter.lora.alpha"] == "8.0"
    assert facts.passport["general.architecture"] == "llama"


def test_the_largest_rank_is_served(judged: Callable[[Adapter], AdapterFacts]) -> None:
    assert judged(replace(GOOD, tensors=pair(Q, rank=MAX_RANK))).rank == MAX_RANK


def test_alpha_zero_is_the_formats_way_to_say_no_scaling(judged: Callable[[Adapter], AdapterFacts]) -> None:
    assert judged(replace(GOOD, alpha=0.0)).modules == 1


def test_the_tiny_adapters_are_taken(tiny_adapters: tuple[Path, Path], base: Header) -> None:
    assert {(inspect(path, base).rank, inspect(path, base).modules) for path in tiny_adapters} == {(4, 14)}


def test_an_adapter_of_a_wider_base_is_refused(base: Header, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="made for another"):
        inspect(write_adapter(tmp_path / "wide.gguf", embd=96), base)


def test_damaged_training_is_refused(base: Header, tmp_path: Path) -> None:
    with pytest.raises(AdapterRefused, match="not finite"):
        inspect(write_adapter(tmp_path / "nan.gguf", scale=float("nan")), base)


def test_what_is_no_gguf_or_no_file_is_refused(base: Header, tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(AdapterRefused, match=r"text\.gguf is not a usable GGUF"):
        inspect(tmp_path / "text.gguf", base)
    with pytest.raises(AdapterRefused, match=r"absent\.gguf cannot be read: No such file"):
        inspect(tmp_path / "absent.gguf", base)
    with pytest.raises(AdapterRefused, match="not a LoRA adapter"):
        inspect(tiny_base, base)
