"""Release folders: content-addressed, written beside and renamed, the manifest last.

A folder `releases/<digest>/` is complete when its `manifest.json` exists. The digest names what answers: adapter,
system prompt, chat template and base together, so the same adapter under another prompt is another release.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADAPTER = "adapter.gguf"
STAGING = ".adding-"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """Everything that changes an answer."""

    adapter_digest: str
    system_prompt: str
    template_digest: str
    base_digest: str

    @property
    def digest(self) -> str:
        parts = [self.adapter_digest, self.system_prompt, self.template_digest, self.base_digest]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(releases: Path, adapter: Path, digest: str, manifest: dict[str, Any], beside: Sequence[Path] = ()) -> Path:
    """Copy the adapter into `releases/<digest>/`, and the files `beside` it; the folder appears whole or not at all.
    Raises OSError."""
    target = releases / digest
    if damage(target, file_digest(adapter)) is None:
        return target
    staging = Path(tempfile.mkdtemp(prefix=STAGING, dir=releases))
    try:
        shutil.copyfile(adapter, staging / ADAPTER)
        for file in beside:
            shutil.copyfile(file, staging / file.name)
        (staging / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for name in (ADAPTER, *(file.name for file in beside), MANIFEST, "."):
            sync(staging / name)
        if target.exists():
            shutil.rmtree(target)
        staging.rename(target)
        sync(releases)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def sweep(releases: Path) -> None:
    """Remove what additions that never ended left behind."""
    for left_over in releases.glob(f"{STAGING}*"):
        shutil.rmtree(left_over, ignore_errors=True)


def damage(folder: Path, adapter_digest: str) -> str | None:
    """Why this release folder cannot be served, or None when it is whole."""
    if not (folder / MANIFEST).exists():
        return f"{folder} is missing or was not written to its end"
    try:
        found = file_digest(folder / ADAPTER)
    except OSError as error:
        return f"{folder / ADAPTER} cannot be read: {error.strerror}"
    return None if found == adapter_digest else f"{folder / ADAPTER} was changed after it was registered"


def sync(path: Path) -> None:
    """What a file or a folder holds is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
