"""One adapter for all cohorts: what it learns from, and where it and a release had unequal chances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adapters.slice import NearDuplicates, Row, Slice
from appliance.evaluation.contamination import ancestors, near_duplicates, training_rows
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.material import Material
from appliance.serving import Serving
from appliance.store.releases import Release
from appliance.training import ablation
from appliance.training.planning import Planning, RetrainOptions, recipe_of
from appliance.training.trainer import Plan


@dataclass(frozen=True, slots=True)
class Learned:
    """A cohort's part. `lost`: rows that its release learned from and the aggregate does not; `instead`: why it is
    what a retrain would take, if its release learned from something else."""

    slice: Slice
    lost: int = 0
    instead: str = ""


class Aggregate:
    """`live`: the live release of each cohort, if it has one."""

    def __init__(
        self, serving: Serving, material: Material, live: Mapping[str, Release | None], sets: EvalSets
    ) -> None:
        """Raises SetupError without the training packages."""
        judged = near_duplicates(sets.all())
        self.serving, self.material, self.live = serving, material, live
        self.learned = {name: self._learned(name, sets, judged) for name in live}

    def plan(self, cohort: str) -> Plan | str:
        """By the recipe of this cohort's release, each row under the prompt of its own cohort. Or why there is
        none."""
        slices = [one.slice for one in self.learned.values() if one.slice.train]
        if not self.learned[cohort].slice.train:
            return f"{cohort} has no rows here that it could learn from"
        if len(slices) < 2:
            return "only one cohort has rows to train on"
        live, mine = self.live[cohort], self._planning(cohort)
        recipe = recipe_of(live) if live is not None and "recipe" in live.manifest else mine.recipe()
        return ablation.of_all(mine, slices, recipe, {name: self.prompt(name) for name in self.learned})

    def prompt(self, cohort: str) -> str:
        live = self.live[cohort]
        return live.system_prompt if live else self.serving.config.cohorts[cohort].system_prompt or ""

    def unequal(self, cohort: str, made: Mapping[str, Any]) -> list[str]:
        """How the release and the aggregate had unequal chances. `made`: what the aggregate's training told."""
        live = self.live[cohort]
        told = _own(live, ancestors(self.serving.releases, live)) if live else []
        own = self.learned[cohort]
        if not own.instead:
            more = sum(len(one.slice.train) for one in self.learned.values()) / (len(own.slice.train) + own.lost)
            steps = _steps(live.manifest.get("training", {})) if live else ""
            told.append(
                f"the aggregate learned from {more:.1f} times the rows in {_steps(made)}; this one made {steps}"
            )
        taken: dict[str, list[str]] = {}
        for name, one in self.learned.items():
            if one.instead:
                rows = "today's" if one.slice.train else "no"
                taken.setdefault(f"the aggregate learned from {rows} rows, {one.instead}", []).append(name)
        told += [f"{says}: {', '.join(names)}" for says, names in taken.items()]
        if lost := {name: one.lost for name, one in self.learned.items() if one.lost}:
            rows = ", ".join(f"{count} of {name}" for name, count in lost.items())
            told.append(f"the aggregate lacks rows that are gone, or eval rows by now: {rows}")
        return told

    def _learned(self, cohort: str, sets: EvalSets, judged: NearDuplicates) -> Learned:
        """What the live release was trained on, without what stands in an eval set since, or nearly; for a cohort
        without a release from here, what a retrain would take."""
        live, today = self.live[cohort], self._planning(cohort)
        if live is None:
            return Learned(today.choose(sets), instead="where no release is live")
        if "slice" not in live.manifest:
            return Learned(today.choose(sets), instead="where a release was made elsewhere, from what is not known")
        slice_, gone = training_rows(self.serving, self.material, live)
        train, validation = (_but(judged, rows) for rows in (slice_.train, slice_.validation))
        if not validation:  # a training chooses its best step by one at least
            train, validation = train[:-1], train[-1:]
        if not train:
            return Learned(today.choose(sets), instead="where those of a release are gone, or eval rows by now")
        lost = len(slice_.train) - len(train) + sum(row.part == "train" for row in gone)
        return Learned(replace(slice_, train=train, validation=validation), lost)

    def _planning(self, cohort: str) -> Planning:
        return Planning(self.serving, self.material, RetrainOptions(cohort=cohort, key_id=""))


def _but(judged: NearDuplicates, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if not judged.has(row))


def _steps(training: Mapping[str, Any]) -> str:
    early = ", ended by its patience" if training.get("stopped_by") == "patience" else ""
    return f"{training.get('step')} of {training.get('horizon')} steps{early}"


def _own(live: Release, began_from: list[Release]) -> list[str]:
    told = []
    if live.manifest.get("training", {}).get("stopped_by") == "minutes":
        told.append(f"{live.name}'s own training ended with its minutes before its passes, not the aggregate's")
    if began_from:
        told.append(f"{live.name} began from {began_from[0].name} and had its passes too, the aggregate from nothing")
    return told
