"""From a slice to an adapter's GGUF: the child that trains, and whether what it made is what will be served."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from adapters import parity, registry
from adapters.parity import Parity
from adapters.recipe import Recipe
from adapters.registry import ADAPTER
from adapters.slice import Row, Slice
from adapters.training_job import CHECKPOINT, REFERENCE, TrainingJob
from appliance import base as base_model
from appliance import children
from appliance.children import Cancellation
from appliance.errors import ApplianceError, BaseModelError, SetupError
from appliance.evaluation.harness import answer_ids
from appliance.jobs import Progress, run_cancellable
from appliance.progress import Report
from appliance.releases.lanes import HEADROOM, free_memory
from appliance.serving import Serving
from appliance.training import adapter_file

RESULT = "result.json"
ROWS, JOB, PROBED = "rows.jsonl", "job.json", "probes.json"  # people's texts, as token ids
MEMORY = 24 << 30  # bytes of addresses, of which torch reserves many
KEPT_S = 7 * 86_400  # what a killed run left may be taken up for so long
ROOM = 2 << 30  # bytes of disk that have to be free
ADAPTER_BYTES = 64 << 20  # of a release that may have to be loaded meanwhile, as by a rollback
PROBES, PROBE_TOKENS = 8, 6
_LIBRARIES = ("cohort-appliance", "torch", "peft", "transformers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that decides what comes out. `steps` is None but for making an adapter again; `warm` is the folder
    of the release to begin from; `planted` rows are probes; `passport` goes into the file. Rows of a cohort in
    `prompts` have its system prompt, all others `system_prompt`."""

    slice: Slice
    replay: Sequence[Row]
    planted: Sequence[Row]
    recipe: Recipe
    system_prompt: str
    passport: Mapping[str, str]
    threads: int
    minutes: float
    warm: Path | None = None
    steps: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)

    def prompt(self, row: Row) -> str:
        return self.prompts.get(row.cohort, self.system_prompt)

    def digest(self, base: str) -> str:
        """Of what makes two trainings one and the same, so that one that was killed is taken up. Raises SetupError
        without the packages that train."""
        rows = [[row.digest for row in part] for part in (self.replay, self.planted)]
        warm = self.warm.name if self.warm else None
        told = [self.slice.digest, self.recipe.digest, self.system_prompt, base, warm, self.steps, self.threads, rows]
        told.append(libraries())
        ground = {name: value for name, value in self.passport.items() if name != "version"}
        return hashlib.sha256(
            json.dumps([*told, self.minutes, ground, dict(self.prompts)], sort_keys=True).encode()
        ).hexdigest()


def libraries() -> str:
    """With which it is trained. Raises SetupError without them."""
    try:
        return ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    except metadata.PackageNotFoundError as error:
        raise SetupError(f"training wants torch and peft ({error}): make train-tools") from error


def doing(told: Mapping[str, Any]) -> str:
    """A line of the training child's, for people."""
    if "loss" not in told:
        return str(told.get("doing", "training"))
    left = f"{told['seconds_left']:.0f} s left at {told['tokens_per_second']:.0f} tokens/s"
    return f"training: step {told['step']} of {told['steps']}, loss {told['loss']:.3f}, {left}"


def forget_texts(folder: Path) -> None:
    """Keep what was trained so far, which may yet be wanted, and not what people wrote: it is written anew."""
    for name in (ROWS, JOB, PROBED):
        (folder / name).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """What says that it is whole goes first, so that nobody trusts what a kill leaves of the rest."""
    (folder / RESULT).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _keep_the_checkpoint(folder: Path) -> None:
    """What else a child that failed has left is made again, and may be what filled the disk."""
    for path in folder.iterdir():
        if path.is_file() and path.name != CHECKPOINT:
            path.unlink(missing_ok=True)


def sweep(jobs: Path) -> None:
    """While no job works: remove the texts that killed runs left, and what nobody began again."""
    for folder in jobs.iterdir():
        if not folder.is_dir():
            continue
        if time.time() - folder.stat().st_mtime > KEPT_S:
            remove(folder)
        else:
            forget_texts(folder)


class ParityFailed(Exception):
    """What is served would not be what was trained; the message says by how much."""


async def train_with_progress(
    serving: Serving, plan: Plan, folder: Path, progress: Progress, report: Report
) -> dict[str, Any]:
    """`train`, with its figures and losses in `progress`; `report` hears the share done. Raises ApplianceError."""
    progress.losses.clear()

    def watch(told: dict[str, Any]) -> None:
        progress.train(told)
        if "fraction" in told:
            report(told["fraction"], doing(told))

    return await run_cancellable(lambda cancellation: train(serving, plan, folder, watch, cancellation))


def train(
    serving: Serving, plan: Plan, folder: Path, watch: Callable[[dict[str, Any]], None], cancellation: Cancellation
) -> dict[str, Any]:
    """Make `folder`/adapter.gguf; what is there of the same plan is used. Returns what the child told.

    Runs on a worker thread. Raises ApplianceError.
    """
    base_model.check_unchanged(serving.base)
    result = folder / RESULT
    if all((folder / name).exists() for name in (RESULT, ADAPTER, REFERENCE)):
        return dict(json.loads(result.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < ROOM:
        raise ApplianceError(f"training takes {ROOM >> 30} GB of disk under {folder}: free some, and begin again")
    try:
        found = _run_child(serving, plan, _write(serving, plan, folder), watch, cancellation)
    except ApplianceError:
        _keep_the_checkpoint(folder)
        raise
    finally:
        forget_texts(folder)
    try:
        base_model.check_unchanged(serving.base)
    except BaseModelError:
        remove(folder)
        raise
    part = folder / f"{RESULT}.part"
    part.write_text(json.dumps(found))
    for path in folder.iterdir():
        registry.sync(path)  # what the result stands for is on the disk before it is
    part.replace(result)
    if found["stopped_by"] != "minutes":  # with more of them a comparison goes on
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return found


def _run_child(
    serving: Serving, plan: Plan, job: Path, watch: Callable[[dict[str, Any]], None], cancellation: Cancellation
) -> dict[str, Any]:
    """What the child told in the end."""
    found: dict[str, Any] = {}
    room = HEADROOM + serving.base.lane_bytes(serving.context) + ADAPTER_BYTES
    lines = children.run(
        "adapters.train",
        str(job),
        cpu_seconds=int(2 * 60 * plan.minutes * plan.threads) + 3600,
        memory_bytes=0 if serving.engine.model.on_gpu else MEMORY,
        timeout_s=2 * 60 * plan.minutes + 1800,
        cancellation=cancellation,
    )
    try:
        with closing(lines):
            for line in lines:
                told = children.parse_line(line)
                if "result" in told:
                    found = told["result"]
                else:
                    watch(told)
                if free_memory() < room:
                    raise ApplianceError(
                        f"training was stopped: it left less than {room >> 20} MB of memory to live traffic; "
                        "lower batch or longest in [cohorts.NAME.train]"
                    )
    except children.ChildFailed as error:
        raise _explained(error) from error
    return found


def _write(serving: Serving, plan: Plan, folder: Path) -> Path:
    """The job as the child reads it: token ids are made here, by the code that serves."""
    parts = [("train", plan.slice.train), ("train", plan.planted), ("validation", plan.slice.validation)]
    with (folder / ROWS).open("w", encoding="utf-8") as file:
        for part, rows in (*parts, ("replay", plan.replay)):
            for row in rows:
                file.write(json.dumps({**encoded(serving, row, plan.prompt(row)), "part": part}) + "\n")
    job = TrainingJob(
        base=str(serving.base.path),
        **adapter_file.shape(serving.base.header),
        rows=str(folder / ROWS),
        probes=[{**probe, "part": "probe"} for probe in probes(serving, plan)],
        recipe=plan.recipe,
        out=str(folder),
        target=str(folder / ADAPTER),
        passport=dict(plan.passport),
        threads=plan.threads,
        minutes=plan.minutes,
        warm=str(plan.warm) if plan.warm else None,
        steps=plan.steps,
    )
    job.write(folder / JOB)
    return folder / JOB


def encoded(serving: Serving, row: Row, system_prompt: str) -> dict[str, Any]:
    """Token ids of the conversation with its answer, and where that starts. Raises InvalidRequest."""
    prompt = serving.template.encode(row.turns, system_prompt or None)
    return {"ids": prompt + answer_ids(serving, row.completion), "start": len(prompt)}


def probes(serving: Serving, plan: Plan) -> list[dict[str, Any]]:
    """What trained and served are compared on: beginnings of answers of the slice, and of replayed rows."""
    own = [*plan.slice.validation, *plan.slice.train][: PROBES - len(plan.replay[:2])]
    found = [encoded(serving, row, plan.prompt(row)) for row in (*own, *plan.replay[:2])]
    return [{**probe, "ids": probe["ids"][: probe["start"] + PROBE_TOKENS]} for probe in found]


def check_parity(serving: Serving, plan: Plan, folder: Path, cancellation: Cancellation) -> Parity:
    """Compare with llama.cpp, in a child. Token ids are made anew, so another template or tokenizer shows.

    Raises ParityFailed, after which nothing of it is left, and ApplianceError when it could not be computed.
    """
    given, out = folder / PROBED, folder / "served.npz"
    given.write_text(json.dumps(probes(serving, plan)))
    arguments = [str(path) for path in (serving.base.path, folder / ADAPTER, given, out)]
    try:
        for _ in children.run(
            "appliance.engine.logits",
            *(*arguments, str(plan.threads)),
            cpu_seconds=3600,
            memory_bytes=4 * serving.base.path.stat().st_size + (8 << 30),
            timeout_s=3600,
            cancellation=cancellation,
        ):
            pass
        with np.load(folder / REFERENCE) as trained, np.load(out) as served:
            found = parity.compare(trained["adapter"], trained["base"], served["adapter"], served["base"])
    except children.ChildFailed as error:
        raise ApplianceError(f"served and trained could not be compared ({error}): begin it again") from error
    except (zipfile.BadZipFile, EOFError) as error:
        remove(folder)
        raise ApplianceError(f"what was trained is damaged ({error}), and was removed: begin again") from error
    except ValueError as error:
        remove(folder)
        raise ParityFailed(f"served and trained cannot be compared: {error}") from error
    finally:
        forget_texts(folder)
        out.unlink(missing_ok=True)
    if found.faults:
        remove(folder)
        raise ParityFailed(f"what would be served is not what was trained: {'; '.join(found.faults)}")
    return found


def _explained(failure: children.ChildFailed) -> ApplianceError:
    if failure.lacks:
        return SetupError(f"training wants torch and peft ({failure}): make train-tools")
    if failure.signal is signal.SIGKILL:
        return ApplianceError("training was killed by the system, most likely for its memory: lower batch or longest")
    return ApplianceError(f"training failed: {failure}")
