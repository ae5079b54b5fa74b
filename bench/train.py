"""Training beside a plain loop: `python bench/train.py [--rounds 3] [--steps 8]`.

The appliance's trainer (what rows have in common computed once, the vocabulary's projection on the answers' tokens
alone) and a plain PEFT + transformers loop (padded rows, all logits, labels masked) take turns on the same batches:
the shipped examples of legal, token ids by the serving template, the same LoRA, 8 rows each. Tokens a second are
those of the rows, without padding; `unshared` is ours on rows that begin differently. Wants `make
train-tools`. Prints a table, then one JSON line. It measures no replay and no quality.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rig import demo

from adapters import served_base
from adapters.learner import Batch, Learner
from adapters.packing import TokenRow
from adapters.recipe import Recipe
from adapters.train import batches
from appliance import base
from appliance.config import Base

COHORT, BATCH = "legal", 8


def plain(learner: Learner, given: Sequence[TokenRow]) -> torch.Tensor:
    """What a tutorial does: all logits, labels masked where nothing is learned."""
    longest = max(len(row.ids) for row in given)
    ids = torch.zeros(len(given), longest, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for n, row in enumerate(given):
        ids[n, : len(row.ids)] = torch.tensor(row.ids)
        mask[n, : len(row.ids)] = 1
        labels[n, row.start : len(row.ids)] = ids[n, row.start : len(row.ids)]
    loss: torch.Tensor = learner.model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return loss


def ours(learner: Learner, given: Sequence[TokenRow]) -> torch.Tensor:
    return learner.loss(Batch.of(given, learner.device)) / sum(len(row.ids) - row.start for row in given)


def unshared(learner: Learner, given: Sequence[TokenRow]) -> torch.Tensor:
    """Every row begins with another token, so that none shares anything."""
    return ours(learner, [TokenRow([n, *row.ids[1:]], row.start, row.part) for n, row in enumerate(given)])


def timed(
    learner: Learner,
    steps: Sequence[Sequence[TokenRow]],
    loss_of: Callable[[Learner, Sequence[TokenRow]], torch.Tensor],
) -> float:
    """Tokens a second."""
    weights = [p for p in learner.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    began = time.perf_counter()
    for step in steps:
        loss_of(learner, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return sum(len(row.ids) for step in steps for row in step) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    wanted = parser.parse_args()
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment] # as in the trainer
    path = base.locate(Base(), Path("cohorts.toml"))
    given = demo.rows(path, COHORT)
    learner = Learner(served_base.load(path), Recipe(), torch.device("cpu"))
    found: dict[str, list[float]] = {"ours": [], "plain": [], "unshared": []}
    for turn in range(wanted.rounds):
        steps = batches(given, BATCH, np.random.default_rng(turn))[: wanted.steps]
        for loop in (plain, ours, unshared):
            found[loop.__name__].append(timed(learner, steps, loop))
    report(found, wanted.steps)


def report(found: dict[str, list[float]], steps: int) -> None:
    ratios = {
        f"{name}:plain": [mine / theirs for mine, theirs in zip(found[name], found["plain"], strict=True)]
        for name in ("ours", "unshared")
    }
    told: dict[str, Any] = {**found, **ratios}
    print(f"{'':14} {'median':>8} {'lowest':>8} {'highest':>8}")
    for name, values in told.items():
        print(f"{name:14} {statistics.median(values):8.2f} {min(values):8.2f} {max(values):8.2f}")
    print(json.dumps({"bench": "train", "steps": steps, "threads": torch.get_num_threads(), **told}))


if __name__ == "__main__":
    main()
