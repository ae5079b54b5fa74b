"""A router fitted once for all tests that need one, and homes that hold it."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from appliance import children
from appliance.errors import SetupError
from appliance.routing import encoder_package, router_rows
from appliance.routing.router_rows import LabelledText
from appliance.store import routers
from appliance.store.database import Database
from appliance.store.home import Home
from router import artefact
from router.classifier import FittedRouter
from router.cohort import BASE

COHORTS = ("legal", "healthcare", "finance", "support", "coding")
EXAMPLES = Path(__file__).parent.parent / "examples"
VERSION = "router@1"
FILES = (artefact.MODEL, artefact.TOKENIZER, artefact.ARRAYS, artefact.MANIFEST)


@dataclass(frozen=True)
class Fitted:
    """`folder` is like a home's `router`: the artefact, and the exported encoder beside it."""

    folder: Path
    digest: str
    told: list[dict[str, Any]]

    @property
    def artefact(self) -> Path:
        return self.folder / self.digest

    def load(self) -> FittedRouter:
        return artefact.load(self.artefact, VERSION, COHORTS)

    def into(self, home: Path, digest: str | None = None) -> None:
        """Make it router@1 of this home, in force at the next start."""
        shutil.copytree(self.folder, Home(home).router, dirs_exist_ok=True)
        digest = digest or self.digest
        manifest = json.loads((self.artefact / artefact.MANIFEST).read_text())
        database = Database.open(home / "appliance.db")
        try:
            database.write(
                lambda connection: routers.insert(
                    connection, digest=digest, key_id="admin", manifest=manifest, report={}, refusals=[]
                )
            ).result(20)
        finally:
            database.close()


def rows(split: str) -> list[LabelledText]:
    """The shipped examples."""
    return list(router_rows.shipped(EXAMPLES, (*COHORTS, BASE), split))


def job(
    folder: Path, given: Iterable[dict[str, str]], cache: Path, classes: Sequence[str] = (*COHORTS, BASE)
) -> Path:
    """A job for `router.fit`, whose target is `folder`."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    places = {"rows": path, "encoder": encoder(), "cache": cache, "target": folder}
    described = folder / "job.json"
    rest = {"classes": list(classes), "contrastive": False}
    described.write_text(json.dumps({**{name: str(place) for name, place in places.items()}, **rest}))
    return described


def encoder() -> Path:
    try:
        return encoder_package.locate()
    except SetupError as error:
        pytest.skip(str(error))


def shared(folder: Path) -> Fitted:
    """The one in `folder`, which is fitted by the first worker that asks for it, while others wait."""
    folder.mkdir(exist_ok=True)
    kept = folder.with_suffix(".json")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            told = json.loads(kept.read_text())
            return Fitted(folder, str(told[-1]["digest"]), told)
        found = fit(folder)
        kept.write_text(json.dumps(found.told))
        return found


def fit(folder: Path) -> Fitted:
    """Fit to the shipped examples as the appliance does: some 40 s."""
    for library in ("torch", "transformers", "sklearn", "onnxscript"):
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed: make train-tools")
    path = job(folder, router_rows.texts(rows("train")), folder)
    lines = children.run("router.fit", str(path), cpu_seconds=1000, memory_bytes=24 << 30, timeout_s=1400)
    told = [json.loads(line) for line in lines]
    return Fitted(folder, str(told[-1]["digest"]), told)
