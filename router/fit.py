"""The child that fits a router: `python -m router.fit JOB.json`, progress as JSON lines, the digest in the last.

The job names `rows` (JSON lines of text, cohort, group; rows of a group never part), `classes` ("base" last),
`encoder` (folder of the model), `contrastive` (whether it is tuned first), `cache` (where the exported encoder is
kept) and `target` (the folder for routers). Rows are scored by models that have not seen them (four folds); what is
calibrated and chosen, is on those scores. The models of the artefact are then fitted on all rows.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from router import artefact, contrast, export
from router.cohort import FEWEST_TEXTS
from router.encoder import Encoded, Encoder
from router.learn import FOLDS, SEED, Labels, Report, Rows, fit, held_back, policy
from router.lexical import BUCKETS, features


@dataclass(frozen=True, slots=True)
class Given:
    """The rows of the job."""

    texts: list[str]
    labels: Labels
    groups: npt.NDArray[np.str_]

    @classmethod
    def read(cls, job: dict[str, Any]) -> Given:
        """Raises ValueError when a class has too few different texts."""
        with Path(job["rows"]).open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        labels = np.array([job["classes"].index(row["cohort"]) for row in rows], np.int64)
        for name in job["classes"]:
            different = len({row["group"] for row in rows if row["cohort"] == name})
            if different < FEWEST_TEXTS:
                raise ValueError(
                    f"{name} has {different} different texts: at least {FEWEST_TEXTS} are needed of each"
                )
        return cls([row["text"] for row in rows], labels, np.array([row["group"] for row in rows]))


def read(encoder: Encoder, texts: list[str], report: Report) -> Iterator[Encoded]:
    """Two at a time: the processors of the smallest machine this runs on."""
    with ThreadPoolExecutor(2) as pool:
        for number, found in enumerate(pool.map(encoder.encode, texts)):
            if number % 100 == 0:
                report(number / len(texts), f"reading {len(texts)} texts")
            yield found


def gather(given: Given, encoder: Encoder, report: Report) -> Rows:
    """What the models are fitted to, read by the code that will read live texts."""
    embeddings, parts = [], []
    for found in read(encoder, given.texts, report):
        embeddings.append(found.embedding)
        parts.append(features(found.ids, found.text))
    ends = np.cumsum([0, *(len(buckets) for buckets, _ in parts)])
    buckets, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    counts = csr_matrix((values, buckets.astype(np.int64), ends), shape=(len(given.texts), BUCKETS))
    return Rows(np.stack(embeddings), counts, given.labels, given.groups)


def exported(folder: Path, cache: Path) -> tuple[bytes, str]:
    """The int8 encoder, exported once per weights and version of the exporting library; and the weights' digest."""
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    kept = cache / f"encoder-{weights[:16]}-torch-{export.versions()['torch']}.onnx"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        part.write_bytes(export.encoder(export.Sentence(folder)))
        part.replace(kept)
    return kept.read_bytes(), weights


def tuned(folder: Path, given: Given, report: Report) -> tuple[bytes, npt.NDArray[np.bool_]]:
    """An encoder tuned on half of the groups, and which rows it has not seen: only they are held back."""
    groups = np.unique(given.groups)
    half = np.random.default_rng(SEED).permutation(groups)[: len(groups) // 2]
    seen = np.isin(given.groups, half)
    sentence = export.Sentence(folder)
    texts = [text for text, known in zip(given.texts, seen, strict=True) if known]
    contrast.tune(sentence, folder / artefact.TOKENIZER, texts, given.labels[seen], report)
    return export.encoder(sentence), ~seen


def run(job: dict[str, Any], report: Report) -> dict[str, Any]:
    given, folder = Given.read(job), Path(job["encoder"])
    report(0.0, "exporting the encoder")
    model, weights = exported(folder, Path(job["cache"]))
    plain, apart = model, np.ones(len(given.labels), np.bool_)
    if job["contrastive"]:
        model, apart = tuned(folder, given, lambda part, doing: report(0.1 * part, doing))
    tokenizer = (folder / artefact.TOKENIZER).read_bytes()
    rows = gather(given, Encoder(model, tokenizer), lambda part, doing: report(0.1 + 0.5 * part, doing))
    scores = held_back(rows[apart], lambda part, doing: report(0.6 + 0.32 * part, doing))
    fitted_policy, facts = policy(*scores, rows.labels[apart])
    report(0.92, f"fitting, part {FOLDS + 1} of {FOLDS + 1}")
    models = fit(rows)
    arrays = io.BytesIO()
    np.savez(arrays, allow_pickle=False, **models.arrays)
    files = {
        artefact.MODEL: export.with_head(model, models.layers),
        artefact.TOKENIZER: tokenizer,
        artefact.ARRAYS: arrays.getvalue(),
        **({artefact.PLAIN: plain} if job["contrastive"] else {}),
    }
    counts = {name: int((rows.labels == n).sum()) for n, name in enumerate(job["classes"])}
    origin = {"rows": counts, "rows_digest": hashlib.sha256(Path(job["rows"]).read_bytes()).hexdigest()}
    made = {
        "encoder": weights,
        "contrastive": job["contrastive"],
        "libraries": export.versions(),
        "held_back": facts,
        **origin,
    }
    digest = artefact.write(Path(job["target"]), files, job["classes"], fitted_policy, made)
    return {"digest": digest, "held_back": facts, "rows": counts}


def main() -> None:
    warnings.simplefilter("ignore")  # of the exporter, and of saga, which may stop early
    logging.disable(logging.WARNING)  # advice of the exporter to its users

    def report(fraction: float, doing: str) -> None:
        print(json.dumps({"fraction": round(fraction, 3), "doing": doing}), flush=True)  # noqa: T201

    try:
        result = run(json.loads(Path(sys.argv[1]).read_text()), report)
    except ValueError as error:
        sys.exit(str(error))
    print(json.dumps({"fraction": 1.0, "doing": "done", **result}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
