"""Release folders are named by their content and complete only with their manifest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from adapters import registry
from adapters.registry import ADAPTER, MANIFEST, Identity

IDENTITY = Identity("a" * 64, "You read contracts.", "b" * 64, "c" * 64)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    path = tmp_path / "made.gguf"
    path.write_bytes(b"weights" * 1000)
    return path


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    folder = tmp_path / "releases"
    folder.mkdir()
    return folder


def test_the_same_parts_are_the_same_release() -> None:
    assert replace(IDENTITY).digest == IDENTITY.digest
    assert len(IDENTITY.digest) == 64


@pytest.mark.parametrize(
    "other",
    [
        replace(IDENTITY, adapter_digest="d" * 64),
        replace(IDENTITY, system_prompt=""),
        replace(IDENTITY, system_prompt="You read contracts. "),
        replace(IDENTITY, template_digest="d" * 64),
        replace(IDENTITY, base_digest="d" * 64),
        Identity("a" * 64, "You read contracts." + "b" * 64, "", "c" * 64),
        replace(IDENTITY, adapter_digest="b" * 64, template_digest="a" * 64),
    ],
)
def test_whatever_changes_an_answer_changes_the_digest(other: Identity) -> None:
    assert other.digest != IDENTITY.digest


def test_a_file_is_named_by_its_bytes(adapter: Path) -> None:
    assert registry.file_digest(adapter) == hashlib.sha256(b"weights" * 1000).hexdigest()


def test_a_release_is_written_whole(releases: Path, adapter: Path) -> None:
    folder = registry.write(releases, adapter, "d1", {"cohort": "legal", "rank": 4})
    assert folder == releases / "d1"
    assert sorted(p.name for p in folder.iterdir()) == [ADAPTER, MANIFEST]
    assert (folder / ADAPTER).read_bytes() == adapter.read_bytes()
    assert json.loads((folder / MANIFEST).read_text()) == {"cohort": "legal", "rank": 4}
    assert registry.damage(folder, registry.file_digest(adapter)) is None
    assert [p.name for p in releases.iterdir()] == ["d1"]


def test_writing_twice_changes_nothing(releases: Path, adapter: Path) -> None:
    folder = registry.write(releases, adapter, "d1", {"n": 1})
    before = {p.name: p.stat() for p in folder.iterdir()}
    assert registry.write(releases, adapter, "d1", {"n": 2}) == folder
    assert {p.name: p.stat() for p in folder.iterdir()} == before


def test_a_folder_without_manifest_is_no_release_and_is_written_anew(releases: Path, adapter: Path) -> None:
    """What a crash in the middle of an older way of writing, or a careless copy, leaves."""
    half = releases / "d1"
    half.mkdir()
    (half / ADAPTER).write_bytes(b"wei")
    assert "not written to its end" in (registry.damage(half, "x") or "")
    registry.write(releases, adapter, "d1", {})
    assert registry.damage(half, registry.file_digest(adapter)) is None


def test_a_crash_leaves_a_staging_folder_that_is_no_release(releases: Path, adapter: Path) -> None:
    """The process dies with the adapter copied and the manifest not yet written."""
    program = (
        "import os, sys, pathlib; from adapters import registry\n"
        "registry.json.dumps = lambda *_, **__: os._exit(9)\n"
        "registry.write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'd1', {})\n"
    )
    died = subprocess.run([sys.executable, "-c", program, releases, adapter])
    assert died.returncode == 9
    (left,) = releases.iterdir()
    assert left.name.startswith(".") and (left / ADAPTER).exists()
    assert registry.damage(left, registry.file_digest(adapter)) is not None
    assert registry.damage(releases / "d1", registry.file_digest(adapter)) is not None
    folder = registry.write(releases, adapter, "d1", {})
    assert registry.damage(folder, registry.file_digest(adapter)) is None


def test_a_failed_write_leaves_nothing(releases: Path, adapter: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # Python ignores SIGXFSZ: the write fails
    try:
        with pytest.raises(OSError) as caught:
            registry.write(releases, adapter, "d1", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert list(releases.iterdir()) == []


def test_a_missing_source_leaves_nothing(releases: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        registry.write(releases, tmp_path / "absent.gguf", "d1", {})
    assert list(releases.iterdir()) == []


@pytest.fixture
def folder(releases: Path, adapter: Path) -> Path:
    return registry.write(releases, adapter, "d1", {})


def test_a_changed_byte_is_damage(folder: Path, adapter: Path) -> None:
    raw = bytearray((folder / ADAPTER).read_bytes())
    raw[-1] ^= 1
    (folder / ADAPTER).write_bytes(raw)
    assert "was changed after it was registered" in (registry.damage(folder, registry.file_digest(adapter)) or "")


def test_a_truncated_adapter_is_damage(folder: Path, adapter: Path) -> None:
    os.truncate(folder / ADAPTER, 10)
    assert "was changed" in (registry.damage(folder, registry.file_digest(adapter)) or "")


def test_a_missing_adapter_is_damage(folder: Path, adapter: Path) -> None:
    (folder / ADAPTER).unlink()
    assert "cannot be read: No such file" in (registry.damage(folder, registry.file_digest(adapter)) or "")


def test_a_missing_manifest_is_damage(folder: Path, adapter: Path) -> None:
    (folder / MANIFEST).unlink()
    assert "not written to its end" in (registry.damage(folder, registry.file_digest(adapter)) or "")


def test_a_missing_folder_is_damage(releases: Path) -> None:
    assert "is missing" in (registry.damage(releases / "absent", "x") or "")


def test_adding_the_same_adapter_again_repairs_a_damaged_release(folder: Path, releases: Path, adapter: Path) -> None:
    """Else nothing but deleting the folder by hand would."""
    (folder / ADAPTER).write_bytes(b"rotten")
    registry.write(releases, adapter, "d1", {})
    assert registry.damage(folder, registry.file_digest(adapter)) is None
