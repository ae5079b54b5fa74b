"""A router's files: what they withstand, and what is refused of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router import artefact
from router.encoder import Encoder
from router.errors import RouterRefused
from tests.fitted import COHORTS, FILES, VERSION, Fitted


@pytest.fixture
def copied(fitted_router: Fitted, tmp_path: Path) -> Path:
    return linked(fitted_router, tmp_path / fitted_router.digest)


def linked(fitted_router: Fitted, folder: Path) -> Path:
    """A folder of links: a test replaces the files it changes."""
    folder.mkdir()
    for file in fitted_router.artefact.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


def refused(folder: Path, cohorts: Sequence[str] = COHORTS) -> str:
    with pytest.raises(RouterRefused) as raised:
        artefact.load(folder, VERSION, cohorts)
    return str(raised.value)


# What becomes of a file's bytes; None: it is missing.
DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "a byte": lambda content: content[:-1] + b"\x99",
    "cut": lambda content: content[: len(content) // 2],
    "longer": lambda content: content + b"\0",
    "empty": lambda _content: b"",
    "missing": lambda _content: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused(copied: Path, name: str, damage: str) -> None:
    content = DAMAGE[damage]((copied / name).read_bytes())
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_bytes(content)
    said = refused(copied)
    assert ("manifest" if name == artefact.MANIFEST else name) in said


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "manifest" in refused(tmp_path / ("0" * 64))


@pytest.mark.parametrize(
    ("cohorts", "says"),
    [
        (COHORTS[1:], "it knows legal, which the configuration has not"),
        ((*COHORTS, "astronomy"), "it does not know astronomy"),
        ((*COHORTS[1:], "law"), "it does not know law; it knows legal"),
        ((), "it knows coding, finance, healthcare, legal, support"),
    ],
)
def test_other_cohorts_are_named(fitted_router: Fitted, cohorts: tuple[str, ...], says: str) -> None:
    said = refused(fitted_router.artefact, cohorts)
    assert says in said and "cohort router fit" in said


def test_the_order_of_the_configuration_does_not_matter(fitted_router: Fitted) -> None:
    loaded = artefact.load(fitted_router.artefact, VERSION, COHORTS[::-1])
    assert loaded.read("x") == fitted_router.load().read("x")


def sealed(folder: Path, manifest: Any = None, **files: bytes) -> Path:  # noqa: ANN401 - any JSON value
    """The same router with other contents, whose digests are right: what somebody could put there on purpose."""
    told = json.loads((folder / artefact.MANIFEST).read_text())
    for name, content in files.items():
        file = folder / name.replace("__", ".")
        file.unlink()
        file.write_bytes(content)
        told["files"][file.name] = hashlib.sha256(content).hexdigest()
    (folder / artefact.MANIFEST).unlink()
    content = json.dumps(told if manifest is None else manifest(told) if callable(manifest) else manifest).encode()
    (folder / artefact.MANIFEST).write_bytes(content)
    return folder.rename(folder.parent / hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "manifest",
    [
        [],
        {},
        {"format": 2},
        {"format": 1},
        lambda told: {**told, "files": {}},
        lambda told: {**told, "policy": {}},
        lambda told: {**told, "classes": None},
        lambda told: {**told, "classes": [*COHORTS, "base", "base"]},
        lambda told: {**told, "policy": {**told["policy"], "semantic": {"weights": [1], "bias": 0, "threshold": 0}}},
    ],
)
def test_manifests_of_another_form_are_refused(copied: Path, manifest: Any) -> None:  # noqa: ANN401
    assert refused(sealed(copied, manifest))


def test_the_control_of_those_manifests_and_contents_is_loaded(copied: Path) -> None:
    same = {file: (copied / file).read_bytes() for file in FILES if file != artefact.MANIFEST}
    folder = sealed(copied, lambda told: told, **{file.replace(".", "__"): content for file, content in same.items()})
    assert artefact.load(folder, VERSION, COHORTS).read("x").probable


def test_contents_of_another_form_are_refused(copied: Path, fitted_router: Fitted) -> None:
    pickled = copied.parent / "pickled.npz"
    np.savez(pickled, rarity=np.array([{}], dtype=object))
    model = (copied / artefact.MODEL).read_bytes()
    headless = next(fitted_router.folder.glob("encoder-*.onnx")).read_bytes()
    wrong = {"arrays__npz": [b"", b"PK", pickled.read_bytes()], "tokenizer__json": [b"", b"{}"]}
    wrong["model__onnx"] = [b"", b"noise", model[:-1000], headless]
    for name, contents in wrong.items():
        for number, content in enumerate(contents):
            folder = linked(fitted_router, copied.parent / f"{name}{number}")
            assert refused(sealed(folder, **{name: content})), (name, number)


def test_the_encoder_alone_refuses_noise(copied: Path) -> None:
    with pytest.raises(RouterRefused, match="cannot be loaded"):
        Encoder(b"noise", (copied / artefact.TOKENIZER).read_bytes())
