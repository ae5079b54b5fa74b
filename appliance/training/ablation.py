"""Adapters trained to be compared and never released: on a part of a cohort's rows, or on those of all cohorts.

They lie among the work of jobs, by everything they were made from: none is trained twice, and one that was killed or
stopped is taken up. A week after its last use it goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from adapters import curve
from adapters.attribution import AGGREGATE
from adapters.recipe import Recipe
from adapters.registry import ADAPTER, file_digest
from adapters.slice import Row, Slice
from adapters.training_job import PEFT, REFERENCE
from appliance import base as base_model
from appliance.errors import ApplianceError
from appliance.evaluation.arms import Arm, adapter_arm
from appliance.evaluation.material import harvest_all
from appliance.jobs import Progress, run_cancellable
from appliance.progress import Report
from appliance.serving import Serving
from appliance.training import trainer
from appliance.training.planning import Planning
from appliance.training.trainer import ParityFailed, Plan
from router.cohort import BASE

# Also keeps its folder apart from that of a retrain on the same rows by the same recipe.
_OWN = {"version": "0", "purpose": "comparison"}
COMPARED = "parity.json"  # written last: what is served is what was trained


@dataclass(frozen=True, slots=True)
class Ablation:
    """`told` is what the training told; `rows` it learned from; `seconds` it took to make, whenever that was."""

    adapter: Path
    digest: str
    rows: int
    told: Mapping[str, Any]
    seconds: float

    @property
    def cut_short(self) -> bool:
        return cut_short(self.told)

    def arm(self, serving: Serving, name: str, system_prompt: str) -> Arm:
        return adapter_arm(serving, name, self.adapter, self.digest, system_prompt)


def told(arm: Arm) -> dict[str, Any]:
    """By the training of an arm that was made here."""
    assert arm.adapter is not None  # noqa: S101
    return _told(arm.adapter.parent)


def cut_short(told: Mapping[str, Any]) -> bool:
    """By what a training told: its minutes were over before its passes."""
    return bool(told["stopped_by"] == "minutes")


async def begin(serving: Serving, jobs: Path, cohorts: Sequence[str]) -> None:
    """Take in what people approved or withdrew, as a retrain would, and remove what runs left behind."""
    await asyncio.to_thread(trainer.sweep, jobs)
    await harvest_all(serving.database, cohorts)


def of_a_part(planning: Planning, slice_: Slice, share: float, seed: int) -> Plan:
    """On a share of the slice's rows, all of its validation rows, without planted strings."""
    part = Slice(slice_.cohort, curve.subset(slice_.train, share, seed), slice_.validation)
    recipe = replace(planning.recipe(), seed=seed, planted=0)
    return _unplanted(planning, part, recipe, planning.others, planning.section.system_prompt or "", {})


def of_all(planning: Planning, slices: Sequence[Slice], recipe: Recipe, prompts: Mapping[str, str]) -> Plan:
    """On the rows of all slices, each under its cohort's system prompt; as many passes as `recipe` says."""
    union = Slice(AGGREGATE, _joined(slices, "train"), _joined(slices, "validation"))
    sections = planning.serving.config.cohorts
    plan = _unplanted(planning, union, replace(recipe, planted=0), [BASE], "", prompts)
    return replace(plan, minutes=sum(sections[one.cohort].train.max_minutes for one in slices))


def _joined(slices: Sequence[Slice], part: str) -> tuple[Row, ...]:
    return tuple(chain.from_iterable(getattr(one, part) for one in slices))


def _unplanted(
    planning: Planning, slice_: Slice, recipe: Recipe, others: Sequence[str], prompt: str, prompts: Mapping[str, str]
) -> Plan:
    return Plan(
        slice=slice_,
        replay=planning.replay(recipe, others),
        planted=[],
        recipe=recipe,
        system_prompt=prompt,
        prompts=prompts,
        passport=planning.passport(slice_, recipe, None) | _OWN | {"name": slice_.cohort},
        threads=base_model.threads(planning.serving.config.base),
        minutes=planning.wanted.minutes or planning.section.train.max_minutes,
    )


async def find_or_train(serving: Serving, plan: Plan, jobs: Path, progress: Progress, report: Report) -> Ablation:
    """Found or made now, and compared with what was trained. One that its minutes cut short goes on when it may take
    more. Raises ApplianceError."""
    folder = jobs / replace(plan, minutes=0.0).digest(serving.base.digest)[:16]
    if not await asyncio.to_thread(_whole, folder, plan.minutes):
        await _train(serving, plan, folder, progress, report)
    os.utime(folder)
    told = json.loads((folder / trainer.RESULT).read_text())
    compared = json.loads((folder / COMPARED).read_text())
    seconds = max(told["seconds"], compared.get("seconds", 0.0))  # less, if a killed training was taken up
    return Ablation(folder / ADAPTER, compared["digest"], len(plan.slice.train), told, seconds)


def _whole(folder: Path, minutes: float) -> bool:
    """It was made, and is as it was. What is damaged goes and is made again; what was cut short by fewer minutes is
    taken up."""
    try:
        early = cut_short(_told(folder)) if (folder / trainer.RESULT).exists() else False
        if not (folder / COMPARED).exists():
            if early:  # by how many minutes is not known
                _take_up(folder)
            return False
        compared = json.loads((folder / COMPARED).read_text())
        same = bool(compared["digest"] == file_digest(folder / ADAPTER))
        if same and early and compared["minutes"] < minutes:
            _take_up(folder)
            return False
    except (OSError, ValueError, KeyError):
        same = False
    if not same:
        trainer.remove(folder)
    return same


def _take_up(folder: Path) -> None:
    """It has not ended: the next run begins from its checkpoint."""
    for name in (COMPARED, trainer.RESULT):
        (folder / name).unlink(missing_ok=True)


def _told(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / trainer.RESULT).read_text()))


async def _train(serving: Serving, plan: Plan, folder: Path, progress: Progress, report: Report) -> None:
    began = time.monotonic()
    await trainer.train_with_progress(serving, plan, folder, progress, report)
    try:
        parity = await run_cancellable(lambda cancellation: trainer.check_parity(serving, plan, folder, cancellation))
    except ParityFailed as error:
        raise ApplianceError(f"an adapter made to compare cannot be served: {error}") from error
    for name in PEFT:
        (folder / name).unlink(missing_ok=True)
    part = folder / f"{COMPARED}.part"
    digest = await asyncio.to_thread(file_digest, folder / ADAPTER)
    made = {"digest": digest, "minutes": plan.minutes, "seconds": time.monotonic() - began}
    part.write_text(json.dumps({**made, **asdict(parity)}))
    part.replace(folder / COMPARED)
    (folder / REFERENCE).unlink(missing_ok=True)  # megabytes that nothing is compared with again
