"""Random adapters of real shape: what they cost is what trained ones cost, what they say is noise."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from adapters.recipe import MODULES


def several(base: Path, folder: Path, count: int, *, spread: float = 0.02) -> list[Path]:
    """`count` different ones."""
    files = [folder / f"adapter{seed}.gguf" for seed in range(count)]
    for seed, file in enumerate(files):
        write(base, file, seed, spread=spread)
    return files


def write(base: Path, target: Path, seed: int, rank: int = 16, spread: float = 0.02) -> None:
    """A LoRA adapter for all linear layers of `base`, its weights drawn from a normal distribution."""
    reader = gguf.GGUFReader(base)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(rank))
    rng = np.random.default_rng(seed)
    for tensor in reader.tensors:
        if tensor.name.endswith(".weight") and any(f".{module}." in tensor.name for module in MODULES):
            inputs, outputs = (int(size) for size in tensor.shape)
            for side, shape in (("lora_a", (rank, inputs)), ("lora_b", (outputs, rank))):
                weights = (rng.standard_normal(shape) * spread).astype(np.float16)
                writer.add_tensor(f"{tensor.name}.{side}", weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
