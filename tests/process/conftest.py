from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tiny import write_base

from .premises import Premises


@pytest.fixture
def premises(tmp_path: Path, tiny_base: Path) -> Premises:
    return Premises(tmp_path, tiny_base)


@pytest.fixture(scope="session")
def slow_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that an answer of some hundred tokens takes a second."""
    folder = tmp_path_factory.mktemp("slow")
    return write_base(folder / "slow.gguf", layers=4, embd=512, heads=8, kv_heads=4, ffn=1536, context=2048)


@pytest.fixture(scope="session")
def measured_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that a look at what it does meets the measuring of each format."""
    return write_base(tmp_path_factory.mktemp("measured") / "measured.gguf", layers=4, embd=256, ffn=768)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A tmpfs on `folder`."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    mount = subprocess.run(command, capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
