"""A text router fitted on the shipped examples, and others of its shape for any number of cohorts."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from appliance import config
from appliance.routing import encoder_package, router_rows
from appliance.store import routers
from appliance.store.database import Database
from appliance.store.home import Home
from router import artefact
from router.classifier import FittedRouter
from router.cohort import BASE, Cohort
from router.encoder import Encoder
from router.lexical import BUCKETS

ROOT = Path(__file__).parents[2]
_HEAD = "head.1."  # the last layer of the head, whose outputs are the classes


def fit(folder: Path) -> Path:
    """Fit as `cohort router fit` does on a fresh machine. Returns the router's folder."""
    if importlib.util.find_spec("torch") is None:
        raise SystemExit("fitting a router wants torch: make train-tools, or name one with --router")
    cohorts = config.load(ROOT / "cohorts.toml").cohorts
    rows = router_rows.shipped(ROOT / "examples", (*cohorts, BASE), "train")
    given, job = folder / "rows.jsonl", folder / "job.json"
    given.write_text("".join(f"{json.dumps(text)}\n" for text in router_rows.texts(rows)), encoding="utf-8")
    places = {"rows": given, "encoder": encoder_package.locate(), "cache": folder, "target": folder}
    rest = {"classes": [*cohorts, BASE], "contrastive": False}
    job.write_text(json.dumps({name: str(place) for name, place in places.items()} | rest))
    command = [sys.executable, "-m", "router.fit", str(job)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return folder / str(json.loads(done.stdout.splitlines()[-1])["digest"])


def into(home: Path, folder: Path) -> None:
    """Make the router in `folder` router@1 of a home that is not served yet, in force at its start."""
    shutil.copytree(folder, Home(home).router / folder.name)
    manifest = artefact.manifest_of(folder)
    database = Database.open(home / "appliance.db")
    try:
        database.write(
            lambda connection: routers.insert(
                connection, digest=folder.name, key_id="bench", manifest=manifest, report={}, refusals=[]
            )
        ).result(60)
    finally:
        database.close()


def texts() -> dict[str, list[str]]:
    """What it was not fitted to: the shipped texts to judge by, of each cohort and of "base"."""
    names = [*config.load(ROOT / "cohorts.toml").cohorts, BASE]
    return {name: [row.text for row in router_rows.shipped(ROOT / "examples", [name], "eval")] for name in names}


def load(folder: Path) -> tuple[FittedRouter, tuple[Cohort, ...]]:
    """With its cohorts; rules on metadata are left out, so that every text is read."""
    names = artefact.manifest_of(folder)["classes"][:-1]
    return artefact.load(folder, folder.name[:12], names), tuple(map(Cohort, names))


def for_cohorts(folder: Path, count: int) -> tuple[FittedRouter, tuple[Cohort, ...]]:
    """The router in `folder` with random weights for `count` cohorts: as fast as a fitted one, as wise as dice."""
    fitted, _ = load(folder)
    rng, names = np.random.default_rng(count), [f"cohort{number}" for number in range(count)]
    classes = count + 1

    def drawn(*shape: int) -> np.ndarray[Any, Any]:
        return rng.standard_normal(shape).astype(np.float32)

    model = onnx.load(folder / artefact.MODEL)
    for tensor in model.graph.initializer:
        if tensor.name.startswith(_HEAD):
            shape = (*tensor.dims[:-1], classes)
            tensor.CopyFrom(numpy_helper.from_array(drawn(*shape), tensor.name))
    model.graph.output[-1].type.tensor_type.shape.dim[1].dim_value = classes
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    centroids = drawn(16 * classes, 384)
    with np.load(folder / artefact.ARRAYS) as stored:
        rarity = stored["rarity"]
    arrays = {
        "rarity": rarity,
        "weights": drawn(BUCKETS, classes),
        "bias": drawn(classes),
        "centroids": centroids / np.linalg.norm(centroids, axis=1, keepdims=True),
        "owners": np.repeat(np.arange(classes), 16),
    }
    encoder = Encoder(buffer.getvalue(), (folder / artefact.TOKENIZER).read_bytes())
    manifest = {"classes": [*names, BASE]}
    return FittedRouter("synthetic", manifest, fitted.policy, encoder, arrays), tuple(map(Cohort, names))
