"""What /v1/models lists: the base, the cohorts and their releases, as vLLM lists adapters."""

from __future__ import annotations

from datetime import datetime

from appliance.config import AUTO
from appliance.keys import Caller
from appliance.routing import encoder_package
from appliance.serving import Serving
from appliance.wire.replies import ModelEntry, ModelMeta
from router.cohort import BASE

_OWNER = "cohort-appliance"


def find(serving: Serving, caller: Caller, name: str) -> ModelEntry | None:
    """The entry of a model by its name, by an alias like legal@previous, or by what replies call it."""
    name = name.removeprefix(f"{serving.base.id}:")
    target = serving.releases.table.named.get(name)
    entries = {entry.id: entry for entry in listing(serving, caller)}
    return entries.get(target.name if target else name)


def listing(serving: Serving, caller: Caller) -> list[ModelEntry]:
    """`auto`, the base under both its names, every cohort, every release: those the caller is granted."""
    every = _everything(serving)
    if caller.grant is None:
        return every
    granted = {*caller.grant, AUTO, encoder_package.NAME} | ({serving.base.id} if BASE in caller.grant else set())
    return [entry for entry in every if entry.id.partition("@")[0] in granted]


def _everything(serving: Serving) -> list[ModelEntry]:
    base = serving.base
    since = int(base.path.stat().st_mtime)
    base_meta = ModelMeta(digest=base.digest, context=serving.context)
    entries = [
        ModelEntry(id=AUTO, created=since, owned_by=_OWNER, parent=base.id, meta=ModelMeta(context=serving.context)),
        ModelEntry(id=base.id, created=since, owned_by=_OWNER, root=base.id, meta=base_meta),
        ModelEntry(id=BASE, created=since, owned_by=_OWNER, root=base.id, meta=base_meta),
    ]
    for cohort, section in serving.config.cohorts.items():
        live = serving.releases.table.live.get(cohort)
        meta = ModelMeta(
            cohort=cohort,
            version=live.version if live else None,
            digest=live.digest if live else None,
            state="live" if live else "no_live_release",
            context=serving.context,
        )
        root = live.name if live else base.id
        entries.append(
            ModelEntry(id=cohort, created=since, owned_by=section.owner, root=root, parent=base.id, meta=meta)
        )
    return entries + _releases(serving) + _encoder(serving, since)


def _releases(serving: Serving) -> list[ModelEntry]:
    return [
        ModelEntry(
            id=release.name,
            created=int(datetime.fromisoformat(release.created).timestamp()),
            owned_by=serving.config.cohorts[release.cohort].owner,
            root=release.digest,
            parent=serving.base.id,
            meta=ModelMeta(
                cohort=release.cohort,
                version=release.version,
                digest=release.digest,
                state=release.state,
                context=serving.context,
            ),
        )
        for release in serving.releases.all()
        if release.cohort in serving.config.cohorts
    ]


def _encoder(serving: Serving, since: int) -> list[ModelEntry]:
    """What gives embeddings, while there is a text router."""
    router = serving.routers.current
    if router is None:
        return []
    meta = ModelMeta(digest=router.manifest["encoder"], context=router.plain.longest)
    return [ModelEntry(id=encoder_package.NAME, created=since, owned_by=_OWNER, meta=meta)]
