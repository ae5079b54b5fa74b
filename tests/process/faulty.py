"""Files that look like a base model and are none."""

from __future__ import annotations

from pathlib import Path

from gguf import GGUFReader, GGUFWriter

from tests.tiny import write_adapter


def truncated(folder: Path, base: Path) -> Path:
    whole = base.read_bytes()
    path = folder / "truncated.gguf"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    return path


def noise(folder: Path, _base: Path) -> Path:
    path = folder / "noise.gguf"
    path.write_bytes(bytes(range(256)) * 64)
    return path


def no_model(folder: Path, _base: Path) -> Path:
    return write_adapter(folder / "adapter.gguf", seed=5)


def strange_architecture(folder: Path, base: Path) -> Path:
    return _rewritten(folder / "strange.gguf", base, "mamba", template=True)


def no_template(folder: Path, base: Path) -> Path:
    return _rewritten(folder / "bare.gguf", base, "llama", template=False)


def _rewritten(path: Path, base: Path, architecture: str, *, template: bool) -> Path:
    """The base's tensors under a header with little else."""
    writer = GGUFWriter(path, architecture)
    writer.add_type("model")
    if template:
        writer.add_chat_template("{{ messages }}")
    for tensor in GGUFReader(base).tensors:
        writer.add_tensor(tensor.name, tensor.data.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
