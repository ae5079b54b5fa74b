"""What a retrain is made of: the cohort's rows, frozen into a slice, and the plan of its training."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from adapters import memorization
from adapters import slice as slices
from adapters.recipe import MODULES, Recipe
from adapters.slice import Dropped, Row, Slice
from adapters.training_job import PEFT
from appliance import base as base_model
from appliance.errors import InvalidRequest
from appliance.evaluation import eval_sets
from appliance.evaluation.contamination import Contamination, without_tools
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.material import Material, harvest_all
from appliance.serving import Serving
from appliance.store import slices as slice_rows
from appliance.store.database import Connection
from appliance.store.releases import Release
from appliance.store.slices import SliceRow
from appliance.training import trainer
from appliance.training.trainer import Plan
from router.cohort import BASE

NAMED = 20  # rows left out for one reason
_CUT = "the answer had no room to end: correct it"
REPLAYED = 400  # rows of other cohorts and of none that are at hand for replay


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainOptions:
    """`warm` is the version of the cohort to begin from, `minutes` and `epochs` go before the configuration, `live`
    promotes what passes, `force` releases what does not (audited)."""

    cohort: str
    key_id: str
    minutes: float | None = None
    epochs: int | None = None
    warm: int | None = None
    live: bool = True
    force: bool = False


class Planning:
    """Of one run. `section` is the cohort's configuration."""

    def __init__(self, serving: Serving, material: Material, wanted: RetrainOptions) -> None:
        """Raises NotFound."""
        self.serving, self.material, self.wanted = serving, material, wanted
        self.section = serving.config.cohort(wanted.cohort)
        if wanted.warm is not None:
            serving.releases.get(wanted.cohort, wanted.warm)
        self._replayed: dict[tuple[str, ...], list[Row]] = {}

    async def eval_sets(self) -> EvalSets:
        """Of all cohorts, after what feedback approved or withdrew was taken in. Raises InvalidRequest for a row that
        cannot be judged."""
        await harvest_all(self.serving.database, list(self.serving.config.cohorts))
        return await asyncio.to_thread(self._drawn)

    def _drawn(self) -> EvalSets:
        return eval_sets.eval_sets(self.material, list(self.serving.config.cohorts))

    async def freeze(self, sets: EvalSets) -> Slice:
        """Choose the rows, and write down which they are. Raises InvalidRequest."""
        cohort = self.wanted.cohort
        found = await asyncio.to_thread(self.choose, sets)
        if not found.train:
            raise InvalidRequest(
                f"{cohort} has no rows to train on: cohort import FILE.jsonl --cohort {cohort} --split train"
                + "".join(f"; {n} were left out: {why}" for why, n in found.reasons().items())
                + self.material.lacking(),
                param="cohort",
            )
        await self.serving.database.commit(lambda connection: _record(connection, found))
        return found

    def choose(self, sets: EvalSets) -> Slice:
        """What there is to train on, without what must not be. Raises SetupError without the training packages."""
        rows = self.material.rows(self.wanted.cohort, "train")
        try:
            found = slices.freeze(self.wanted.cohort, rows, sets.all(), self._fault)
        except ModuleNotFoundError as error:
            raise without_tools(error) from error
        cut = tuple(Dropped(row, _CUT) for row in self.material.cut(self.wanted.cohort))
        return replace(found, dropped=cut + found.dropped)

    def _fault(self, row: Row) -> str | None:
        """Why it cannot be trained on, if it cannot."""
        longest = min(self.section.train.longest, self.serving.context)
        try:
            ids = trainer.encoded(self.serving, row, self.section.system_prompt or "")["ids"]
        except InvalidRequest as error:
            return error.message
        return f"longer than {longest} tokens" if len(ids) > longest else None

    def recipe(self) -> Recipe:
        train = self.section.train
        recipe = train.model_dump(exclude={"longest", "max_minutes", "use_dora"}, exclude_none=True)
        recipe |= {"modules": tuple(train.modules or MODULES), "epochs": self.wanted.epochs or train.epochs}
        return Recipe(**recipe)

    def plan(self, slice_: Slice) -> Plan:
        """Of a release."""
        cohort, made, warm = self.wanted.cohort, self.recipe(), self._warm()
        return Plan(
            slice=slice_,
            replay=self.replay(made, self.others),
            planted=memorization.planted_rows(cohort, slice_.digest, made.planted),
            recipe=made,
            system_prompt=self.section.system_prompt or "",
            passport=self.passport(slice_, made, warm),
            threads=base_model.threads(self.serving.config.base),
            minutes=self.wanted.minutes or self.section.train.max_minutes,
            warm=self.serving.releases.folder / warm.digest if warm else None,
        )

    def _warm(self) -> Release | None:
        if self.wanted.warm is None:
            return None
        release = self.serving.releases.get(self.wanted.cohort, self.wanted.warm)
        folder = self.serving.releases.folder / release.digest
        if release.base_digest != self.serving.base.digest or not all((folder / n).exists() for n in PEFT):
            raise InvalidRequest(
                f"{release.name} was made elsewhere, or for another base: begin from one that was trained here",
                param="warm",
            )
        seen = Contamination(self.serving, self.material, self._drawn().all()).learned(release)
        if seen:
            raise InvalidRequest(
                f"{release.name} has learned from {len(seen)} rows that stand in an eval set by now, or nearly, so "
                "what begins from it cannot be judged: begin from another release, or from none",
                param="warm",
            )
        return release

    @property
    def others(self) -> list[str]:
        """All cohorts but this one, and none ("base")."""
        return [name for name in (BASE, *self.serving.config.cohorts) if name != self.wanted.cohort]

    def replay(self, recipe: Recipe, cohorts: Sequence[str]) -> list[Row]:
        """Of each of these cohorts, in turns, without what stands in an eval set, or nearly. They are read once: all
        trainings of a run replay the same."""
        if not recipe.replay:
            return []
        if tuple(cohorts) not in self._replayed:
            self._replayed[tuple(cohorts)] = self._replay(cohorts)
        return self._replayed[tuple(cohorts)]

    def _replay(self, cohorts: Sequence[str]) -> list[Row]:
        lists = [self.material.rows(name, "train") for name in cohorts]
        turns = (rows[i] for i in range(max(map(len, lists), default=0)) for rows in lists if i < len(rows))
        judged = slices.NearDuplicates(self._drawn().all())
        return list(islice((row for row in turns if self._fault(row) is None and not judged.has(row)), REPLAYED))

    def passport(self, slice_: Slice, recipe: Recipe, warm: Release | None) -> dict[str, str]:
        return {
            "name": self.wanted.cohort,
            "version": str(self.serving.releases.next_version(self.wanted.cohort)),
            "base": self.serving.base.digest,
            "format": self.serving.base.format_digest,
            "template": self.serving.template.digest,
            "slice": slice_.digest,
            "recipe": recipe.digest,
            **({"parent": warm.digest} if warm else {}),
        }


def recipe_of(release: Release) -> Recipe:
    """By which it was trained. Raises KeyError for one that was made elsewhere."""
    return Recipe.of(release.manifest["recipe"])


def summary(slice_: Slice) -> dict[str, Any]:
    """Counts, mix, and what was left out and why, the first of each reason by name."""
    named = {why: [d for d in slice_.dropped if d.why == why][:NAMED] for why in slice_.reasons()}
    return {
        "digest": slice_.digest,
        "train": len(slice_.train),
        "validation": len(slice_.validation),
        "mix": {name: dict(counts) for name, counts in slice_.mix().items()},
        "dropped": dict(slice_.reasons()),
        "dropped_rows": [
            {"row": d.row.digest[:12], "source": d.row.source, "why": d.why}
            for d in chain.from_iterable(named.values())
        ],
    }


def _record(connection: Connection, slice_: Slice) -> None:
    parts = (("train", slice_.train), ("validation", slice_.validation))
    rows = [SliceRow(part, r.digest, r.source, r.subject, r.origin) for part, found in parts for r in found]
    slice_rows.insert(connection, slice_.digest, slice_.cohort, "train", summary(slice_), rows)
