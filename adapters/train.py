"""The child that trains an adapter: `python -m adapters.train JOB.json`, JSON lines of progress, the last the result.

The job is a `training_job.TrainingJob`. Writes PEFT's files, the GGUF adapter, and the logits to be served.

What `out` holds of a run that was killed is taken up again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from adapters import registry, served_base
from adapters.convert import CannotConvert, convert
from adapters.learner import Batch, Learner
from adapters.packing import TokenRow, within
from adapters.recipe import Recipe
from adapters.training_job import CHECKPOINT, CONFIG, REFERENCE, WEIGHTS, TrainingJob

LIBRARIES = ("torch", "peft", "transformers", "safetensors", "gguf", "numpy")
Report = Callable[[dict[str, Any]], None]


def batches(rows: Sequence[TokenRow], size: int, rng: np.random.Generator) -> list[list[TokenRow]]:
    """Every row once, in random order."""
    order = rng.permutation(len(rows))
    return [[rows[i] for i in order[n : n + size]] for n in range(0, len(rows), size)]


def schedule(
    rows: Sequence[TokenRow], replay: Sequence[TokenRow], recipe: Recipe
) -> Iterator[tuple[list[TokenRow], list[TokenRow]]]:
    """The slice's rows and the replayed ones of each step; the same for the same rows and recipe."""
    rng = np.random.default_rng(recipe.seed)
    again: list[TokenRow] = []
    for _ in range(recipe.epochs):
        for own in batches(rows, recipe.batch, rng):
            wanted = round(recipe.replay * len(own)) if replay else 0
            while len(again) < wanted:
                again += [replay[i] for i in rng.permutation(len(replay))]
            old, again = again[:wanted], again[wanted:]
            yield own, old


def rate(step: int, horizon: int, recipe: Recipe) -> float:
    """Of the learning rate: up in a line, then down as a cosine to a tenth."""
    warm = max(1, round(recipe.warmup * horizon))
    if step < warm:
        return (step + 1) / warm
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warm) / max(1, horizon - warm)))


@dataclass(slots=True)
class TrainingState:
    """How far it is; what a checkpoint holds beside the weights."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    worse: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Training:
    def __init__(self, job: TrainingJob, learner: Learner, rows: Sequence[TokenRow], report: Report) -> None:
        self.job, self.learner, self.report = job, learner, report
        self.recipe, self.out = job.recipe, Path(job.out)
        parts = {part: [row for row in rows if row.part == part] for part in ("train", "validation", "replay")}
        self.own, self.validation, self.replay = parts["train"], parts["validation"], parts["replay"]
        self.horizon = self.recipe.horizon(len(self.own))
        self.every = max(1, self.horizon // (2 * self.recipe.epochs))
        weights = [p for p in learner.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=self.recipe.learning_rate, weight_decay=0.0)
        self.state = TrainingState()
        self.best = learner.state()

    def to_the_end(self) -> dict[str, Any]:
        """Train, and leave the learner with the best weights."""
        self._resume()
        wanted, limit = self.job.steps or self.horizon, 60 * self.job.minutes
        steps = schedule(self.own, self.replay, self.recipe)
        stopped_by, why = "passes", "all passes done"
        for number, (own, old) in enumerate(steps):
            if number < self.state.step:
                continue
            if number >= wanted:
                break
            if self.state.worse >= self.recipe.patience:
                stopped_by, why = "patience", f"no better for {self.state.worse} validations"
                break
            if self.state.seconds > limit:
                stopped_by, why = "minutes", f"{self.job.minutes} minutes are over"
                break
            self._step(own, old)
            if self.state.step % self.every == 0 or self.state.step == self.horizon:
                self._look()
        if self.job.steps is None:
            if self.state.best_step == 0:  # ended before the first validation
                self._validate()
            self.learner.take(self.best)
        return {**asdict(self.state), "horizon": self.horizon, "stopped_by": stopped_by, "ended": why}

    def _look(self) -> None:
        """Of what is made again nothing is chosen, but a kill may come."""
        if self.job.steps is None:
            self._validate()
        else:
            self._keep()

    def _step(self, own: list[TokenRow], old: list[TokenRow]) -> None:
        began = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * rate(self.state.step, self.horizon, self.recipe)
        loss = self._learn(own, self.learner.loss)
        drift = self._learn(old, self.learner.drift) if old else 0.0
        if not math.isfinite(loss + drift):
            raise ValueError(f"the loss is {loss} after {self.state.step} steps: lower learning_rate")
        torch.nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.step += 1
        self.state.tokens += sum(len(row.ids) for row in (*own, *old))
        self.state.seconds += time.monotonic() - began
        self._tell(loss, drift)

    def _learn(self, rows: Sequence[TokenRow], measure: Callable[[Batch], torch.Tensor]) -> float:
        """Add the gradient of the mean over the rows' answer tokens; returns that mean."""
        count = sum(len(row.ids) - row.start for row in rows)
        total = 0.0
        for group in within(rows):
            mean = measure(Batch.of(group, self.learner.device)) / count
            mean.backward()  # type: ignore[no-untyped-call]
            total += mean.item()
        return total

    def _tell(self, loss: float, drift: float) -> None:
        run, wanted = self.state, self.job.steps or self.horizon
        self.report(
            {
                "fraction": run.step / wanted,
                "step": run.step,
                "steps": wanted,
                "loss": round(loss, 4),
                "drift": round(drift, 4),
                "tokens_per_second": round(run.tokens / run.seconds, 1),
                "seconds_left": round((wanted - run.step) * run.seconds / run.step, 1),
            }
        )

    @torch.no_grad()
    def _validate(self) -> None:
        began, run = time.monotonic(), self.state
        share = run.step / (self.job.steps or self.horizon)
        self.report({"fraction": share, "doing": f"training: checking by {len(self.validation)} rows apart"})
        count = sum(len(row.ids) - row.start for row in self.validation)
        groups = (Batch.of(group, self.learner.device) for group in within(self.validation))
        loss = sum(self.learner.loss(batch).item() for batch in groups) / max(count, 1)
        run.worse += 1
        if loss < run.best_loss or not count:
            run.best_loss, run.best_step, run.worse = loss, run.step, 0
            self.best = self.learner.state()
        run.seconds += time.monotonic() - began
        self.report({"step": run.step, "validation": round(loss, 4), "best": run.best_step})
        self._keep()

    def _keep(self) -> None:
        moments = self.optimizer.state_dict()["state"]
        held = {
            **{f"now/{name}": tensor for name, tensor in self.learner.state().items()},
            **{f"best/{name}": tensor for name, tensor in self.best.items()},
            **{f"adam/{n}/{name}": tensor.cpu() for n, found in moments.items() for name, tensor in found.items()},
        }
        part = self.out / f"{CHECKPOINT}.part"
        save_file(held, part, metadata={"run": json.dumps(asdict(self.state))})
        registry.sync(part)
        part.replace(self.out / CHECKPOINT)

    def _resume(self) -> None:
        """From the last checkpoint, if there is one that can be read."""
        try:
            self.state, held = _held(self.out / CHECKPOINT)
        except (FileNotFoundError, SafetensorError):
            return
        self.learner.take(held["now"])
        self.best = held["best"]
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in held["adam"].items():
            number, name = key.split("/")
            moments.setdefault(int(number), {})[name] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def _held(checkpoint: Path) -> tuple[TrainingState, dict[str, dict[str, torch.Tensor]]]:
    held: dict[str, dict[str, torch.Tensor]] = {"now": {}, "best": {}, "adam": {}}
    with safe_open(checkpoint, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - it is no dict
            part, name = key.split("/", 1)
            held[part][name] = file.get_tensor(key)
        return TrainingState(**json.loads(file.metadata()["run"])), held


def begin_from(learner: Learner, folder: Path, recipe: Recipe) -> None:
    """Raises ValueError when it is of another recipe: its change would begin at another size."""
    before = json.loads((folder / CONFIG).read_text())
    if (before["lora_alpha"], before["use_rslora"]) != (recipe.alpha, recipe.rslora):
        raise ValueError("the adapter to begin from has another alpha, or rslora, than the recipe")
    learner.take(load_file(folder / WEIGHTS))


@torch.no_grad()
def reference(learner: Learner, probes: Sequence[TokenRow]) -> dict[str, Any]:
    """Logits before each of the probes' answer tokens, with the adapter and without: (tokens, vocabulary)."""
    with_it, without = [], []
    for probe in probes:
        batch = Batch.of([probe], learner.device)
        with_it.append(learner.logits(batch).cpu().numpy())
        with learner.model.disable_adapter():
            without.append(learner.logits(batch).cpu().numpy())
    return {"adapter": np.concatenate(with_it), "base": np.concatenate(without)}


def run(job: TrainingJob, report: Report) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.recipe.seed)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # for the next line, on a GPU
    torch.use_deterministic_algorithms(True)
    # oneDNN makes its kernels at run time, which the unit's MemoryDenyWriteExecute= forbids to all it starts.
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # CUDA: untested
    report({"fraction": 0.0, "doing": "loading the base"})
    with Path(job.rows).open(encoding="utf-8") as file:
        rows = [TokenRow(**json.loads(line)) for line in file]
    learner = Learner(served_base.load(Path(job.base)), job.recipe, device)
    if job.warm:
        begin_from(learner, Path(job.warm), job.recipe)
    out = Path(job.out)
    training = Training(job, learner, rows, report)
    facts = training.to_the_end()
    report({"fraction": 1.0, "doing": "writing what serving is compared with"})
    np.savez(out / REFERENCE, **reference(learner, [TokenRow(**probe) for probe in job.probes]))
    save_file(learner.state(), out / WEIGHTS, metadata={"format": "pt"})
    learner.config.save_pretrained(str(out))
    convert(
        {name: tensor.numpy() for name, tensor in learner.state().items()},
        json.loads((out / CONFIG).read_text()),
        architecture=job.architecture,
        heads=job.heads,
        kv_heads=job.kv_heads,
        passport=job.passport,
        target=Path(job.target),
    )
    libraries = {name: metadata.version(name) for name in LIBRARIES}
    return {**facts, "threads": job.threads, "device": device.type, "libraries": libraries}


def main() -> None:
    # What nobody else wants of the processors: beside busy threads of this class a token takes 1.09 of its quiet time
    # (0.87 to 1.30), beside threads that are only niced 1.21 (1.00 to 1.27). `python bench/neighbours.py`
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    warnings.simplefilter("ignore")  # of libraries to their programmers
    logging.disable(logging.WARNING)

    def report(told: dict[str, Any]) -> None:
        print(json.dumps(told), flush=True)  # noqa: T201

    try:
        result = run(TrainingJob.read(Path(sys.argv[1])), report)
    except (ValueError, CannotConvert, served_base.BaseRefused) as error:
        sys.exit(str(error))
    print(json.dumps({"result": result}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
