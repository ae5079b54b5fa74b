"""What a release was made of, what changed between two, and the same release made again."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adapters.memorization import planted_rows
from adapters.registry import ADAPTER, file_digest
from appliance.errors import Conflict
from appliance.evaluation.contamination import ancestors, training_rows
from appliance.evaluation.material import Material
from appliance.jobs import Progress
from appliance.releases.register import Releases
from appliance.serving import Serving
from appliance.store import slices
from appliance.store.database import Database
from appliance.store.releases import Release
from appliance.store.slices import SliceRow
from appliance.training import trainer
from appliance.training.planning import recipe_of
from appliance.training.trainer import Plan

REPLAY = "replay"  # the part of rows that are not the slice's
GONE = "gone"


def lineage(releases: Releases, database: Database, material: Material, cohort: str, version: int) -> dict[str, Any]:
    """Its own rows, those replayed while it was trained, and those of the releases it was begun from. Raises
    NotFound."""
    release = releases.get(cohort, version)
    parents = ancestors(releases, release)
    sources = [row for one in (release, *parents) for row in _learned_from(one, database, material)]
    own = [row for row in sources if row["release"] == release.name and row["part"] != REPLAY]
    return {
        "release": release.name,
        "digest": release.digest,
        "parents": [one.name for one in parents],
        "manifest": release.manifest,
        "rows": len(own),
        "origins": dict(Counter(row["origin"] for row in own)),
        "subjects": sorted({row["subject"] for row in sources if row["subject"]}),
        "sources": sources,
    }


def _learned_from(release: Release, database: Database, material: Material) -> list[dict[str, Any]]:
    """Where replayed rows came from is known as long as they are there; then their digest is left."""
    with database.read() as connection:
        own = slices.rows(connection, release.manifest.get("slice", ""))
    replayed: list[str] = release.manifest.get("replay", [])
    known = material.everywhere(replayed)
    others = [
        SliceRow(REPLAY, digest, row.source, row.subject, row.origin)
        if (row := known.get(digest))
        else SliceRow(REPLAY, digest, None, None, GONE)
        for digest in replayed
    ]
    return [{"release": release.name, **asdict(row)} for row in (*own, *others)]


def diff(releases: Releases, database: Database, cohort: str, version: int, other: int) -> dict[str, Any]:
    """From `version` to `other`: rows, recipe and scores. Raises NotFound."""
    before, after = (releases.get(cohort, v) for v in (version, other))
    with database.read() as connection:
        old, new = ({r.row for r in slices.rows(connection, x.manifest.get("slice", ""))} for x in (before, after))
    was, now = _scores(before), _scores(after)
    return {
        "from": before.name,
        "to": after.name,
        "rows_added": len(new - old),
        "rows_removed": len(old - new),
        "changed": _changed(before.manifest, after.manifest),
        "scores": {name: {"from": was.get(name), "to": now.get(name)} for name in dict.fromkeys([*was, *now])},
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    names = ("system_prompt", "template_digest", "base_digest", "owner", "recipe", "slice", "code")
    return {n: {"from": before.get(n), "to": after.get(n)} for n in names if before.get(n) != after.get(n)}


def _scores(release: Release) -> dict[str, float | None]:
    """By cohort and task: which of two cohorts has a task to itself depends on what else was judged."""
    told = {(task, one["cohort"]): one["candidate"] for task, one in release.manifest.get("scores", {}).items()}
    return {f"{cohort}/{task.removeprefix(f'{cohort}/')}": score for (task, cohort), score in told.items()}


def plan_of(serving: Serving, material: Material, cohort: str, version: int) -> Plan:
    """How the release was made, from its manifest. Raises NotFound, and Conflict naming what is no longer there."""
    release = serving.releases.get(cohort, version)
    told = release.manifest
    if "recipe" not in told:
        raise Conflict(f"{release.name} was made elsewhere: its manifest does not say how", param="version")
    _check_ground(serving, release)
    slice_, _ = training_rows(serving, material, release)
    replay = material.everywhere(told["replay"])
    parents = [one for one in ancestors(serving.releases, release) if "recipe" in one.manifest]
    gone = [says for one in (release, *parents) for says in _missing(serving, material, one)]
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        raise Conflict(
            f"{release.name} cannot be made again: rows it was trained on were erased or changed: "
            f"{', '.join(gone[:5])}{more}",
            param="version",
        )
    trained = told["training"]
    return Plan(
        slice=slice_,
        replay=[replay[digest] for digest in told["replay"]],
        planted=planted_rows(cohort, told["slice"], told["planted"]),
        recipe=recipe_of(release),
        system_prompt=release.system_prompt,
        passport=told["passport_given"],
        threads=trained["threads"],
        minutes=10_000.0,
        warm=serving.releases.folder / release.parent if release.parent else None,
        steps=trained["best_step"],
    )


def _missing(serving: Serving, material: Material, release: Release) -> list[str]:
    """Rows it was trained on that are no longer there, by name."""
    _, missing = training_rows(serving, material, release)
    replay = material.everywhere(release.manifest["replay"])
    gone = [f"{row.row[:12]} ({row.source or 'imported'})" for row in missing]
    return gone + [f"{digest[:12]} (replayed)" for digest in release.manifest["replay"] if digest not in replay]


def _check_ground(serving: Serving, release: Release) -> None:
    grounds = (
        ("base", release.base_digest, serving.base.digest),
        ("chat template", release.template_digest, serving.template.digest),
        ("weight format", release.manifest["passport_given"]["format"], serving.base.format_digest),
    )
    for what, then, now in grounds:
        if then != now:
            raise Conflict(f"{release.name} was trained on another {what} ({then[:12]}, now {now[:12]})")


async def rebuild(
    serving: Serving, plan: Plan, jobs: Path, cohort: str, version: int, progress: Progress
) -> dict[str, Any]:
    """Train it again and compare the file's bytes. Raises ApplianceError."""
    release = serving.releases.get(cohort, version)
    folder = jobs / plan.digest(serving.base.digest)[:16]

    made = await trainer.train_with_progress(serving, plan, folder, progress, progress.tell)
    then, now = release.manifest["training"]["libraries"], made["libraries"]
    digest = await asyncio.to_thread(file_digest, folder / ADAPTER)
    await asyncio.to_thread(trainer.remove, folder)
    return {
        "cohort": cohort,
        "release": release.name,
        "same": digest == release.adapter_digest,
        "adapter": release.adapter_digest,
        "rebuilt": digest,
        "libraries": {
            name: {"then": then.get(name), "now": now[name]} for name in now if then.get(name) != now[name]
        },
    }
