"""A router on disk: a folder named by the digest of its manifest, which names the digest of every file.

The manifest is written last, so a folder without one is not a router. Nothing in it can run code: ONNX of plain
operators, JSON, and arrays without pickles.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from router import layers, onnx_check
from router.classifier import FittedRouter
from router.cohort import Cohort
from router.encoder import Encoder
from router.errors import RouterRefused
from router.lexical import BUCKETS
from router.text import CalibratedThreshold, Policy

FORMAT = 1
MODEL, TOKENIZER, ARRAYS, MANIFEST = "model.onnx", "tokenizer.json", "arrays.npz", "manifest.json"
PLAIN = "encoder.onnx"  # the encoder before it was tuned, if it was: callers' embeddings do not change by a fit


def write(
    parent: Path,
    files: Mapping[str, bytes],
    classes: Sequence[str],
    policy: Policy,
    facts: Mapping[str, Any],
) -> str:
    """Returns the digest, which is the folder's name under `parent`. The same router again changes nothing."""
    manifest = {
        "format": FORMAT,
        "classes": list(classes),
        "policy": asdict(policy),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        **facts,
    }
    content = json.dumps(manifest, indent=1, sort_keys=True).encode()
    digest = hashlib.sha256(content).hexdigest()
    folder = parent / digest
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        _write(folder / name, data)
    _write(folder / MANIFEST, content)
    return digest


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and on disk."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def manifest_of(folder: Path) -> dict[str, Any]:
    """Raises RouterRefused when it is missing, or not the one the folder is named after."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise RouterRefused(f"{folder.name[:12]} has no manifest: it was not written to its end") from error
    if hashlib.sha256(content).hexdigest() != folder.name:
        raise RouterRefused(f"{folder.name[:12]}: the manifest was changed")
    found: Any = json.loads(content)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise RouterRefused(f"{folder.name[:12]} has another format than this version reads, {FORMAT}")
    return found


def load(folder: Path, version: str, cohorts: Sequence[str]) -> FittedRouter:
    """Check and load. Raises RouterRefused, also for a router made for other cohorts."""
    manifest = manifest_of(folder)
    try:
        loaded = _load(folder, manifest, version, cohorts)
        _try(loaded, [Cohort(name) for name in cohorts])
    except RouterRefused:
        raise
    except Exception as error:  # numpy, onnxruntime and tokenizers have many kinds
        raise RouterRefused(f"{folder.name[:12]} is not of the form this version reads: {error!r}") from error
    return loaded


def _load(folder: Path, manifest: Mapping[str, Any], version: str, cohorts: Sequence[str]) -> FittedRouter:
    _same_cohorts(manifest["classes"][:-1], cohorts)
    files = {name: _read(folder / name, digest) for name, digest in manifest["files"].items()}
    for name in (MODEL, PLAIN):
        if name in files:
            onnx_check.check(files[name])
    with np.load(io.BytesIO(files[ARRAYS]), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    if arrays["rarity"].shape != (BUCKETS,) or arrays["weights"].shape != (BUCKETS, len(manifest["classes"])):
        raise RouterRefused(f"{ARRAYS} has other shapes than this version reads")
    encoder = Encoder(files[MODEL], files[TOKENIZER])
    plain = Encoder(files[PLAIN], files[TOKENIZER]) if manifest.get("contrastive") else encoder
    return FittedRouter(version, manifest, _policy(manifest["policy"]), encoder, arrays, plain)


def _try(loaded: FittedRouter, cohorts: Sequence[Cohort]) -> None:
    """What fails at every text must fail here."""
    reading = loaded.read("A trial.")
    for layer in (layers.semantic, layers.classifier):
        layer(layers.Query(""), cohorts, reading, loaded.policy)


def _policy(stored: Mapping[str, Any]) -> Policy:
    def gate(name: str) -> CalibratedThreshold:
        return CalibratedThreshold(tuple(stored[name]["weights"]), stored[name]["bias"], stored[name]["threshold"])

    return Policy(gate("semantic"), gate("classifier"), stored["prior_odds"], stored["session_odds"])


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RouterRefused(f"{path.name} of the router cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise RouterRefused(f"{path.name} of the router was changed since it was fitted")
    return content


def _same_cohorts(made_for: Sequence[str], configured: Sequence[str]) -> None:
    missing, extra = sorted(set(configured) - set(made_for)), sorted(set(made_for) - set(configured))
    if missing or extra:
        told = [f"it does not know {', '.join(missing)}"] if missing else []
        told += [f"it knows {', '.join(extra)}, which the configuration has not"] if extra else []
        raise RouterRefused(f"the router was made for other cohorts: {'; '.join(told)}. Fit one: cohort router fit")
