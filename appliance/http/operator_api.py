"""The operator API under /admin/v1: what the `cohort` command and the console do, they do through it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter

from appliance import keys as key_format
from appliance.chat import conversation_text
from appliance.errors import InvalidRequest
from appliance.http.box import Operates, TheBox, Views
from appliance.http.failures import documented
from appliance.http.standing import standing
from appliance.http.status import status_of
from appliance.http.strict import StrictRoute
from appliance.releases.register import Releases, Switch
from appliance.routing.placement import RoutingInput, place
from appliance.store import audit, timestamps
from appliance.store import keys as key_rows
from appliance.store import releases as release_rows
from appliance.store.database import Connection
from appliance.store.keys import Key
from appliance.store.releases import Release
from appliance.wire.operator import (
    KeyEntry,
    KeyRequest,
    PromoteRequest,
    RejectRequest,
    ReleaseAddRequest,
    ReleaseEntry,
    RollbackRequest,
    RouteReply,
    RouteRequest,
    Switched,
)

router = APIRouter(
    prefix="/admin/v1",
    route_class=StrictRoute,
    tags=["operation"],
    responses=documented(503),
)
_CHANGE = documented(404, 409, 415)
Limit = Annotated[int, Query(ge=1, le=1000)]
Position = Annotated[int | None, Query(ge=0, lt=1 << 63)]
Version = Annotated[int, PathParameter(ge=1, lt=1 << 31)]


@router.get("/status")
async def status(box: TheBox, _caller: Views) -> dict[str, Any]:
    """How the box is: phase, base, lanes, live releases, alarms."""
    return status_of(box)


@router.post("/route", response_model=RouteReply, responses=documented(404, 409, 415))
async def route(body: RouteRequest, box: TheBox, caller: Views) -> RouteReply:
    """The dry run: where would this go? Decided by the function that decides live traffic."""
    text = body.text if body.text is not None else conversation_text([(m.role, m.text) for m in body.messages or []])
    metadata = {name.lower(): value for name, value in body.metadata.items()}
    asked = RoutingInput(body.model, text, metadata)
    found = box.text_routers().current
    where = await asyncio.to_thread(place, asked, caller, box.base_id(), box.config.routing(), box.releases(), found)
    return RouteReply(**asdict(where.decision), release=where.release)


@router.get("/cohorts")
async def cohorts(box: TheBox, _caller: Views) -> list[dict[str, Any]]:
    """The cohorts as configured, with what answers for each, how good it is, and what to do next."""
    register = box.releases()
    found = await asyncio.to_thread(register.all)
    return [
        {"cohort": name, **section.model_dump(), **_standing(register, name, found)}
        for name, section in box.config.cohorts.items()
    ]


@router.get("/releases", response_model=list[ReleaseEntry], responses=documented(404))
async def releases(box: TheBox, _caller: Views, cohort: str | None = None) -> list[ReleaseEntry]:
    """Every release, newest first in its cohort."""
    register = box.releases()
    found = [one for one in await asyncio.to_thread(register.all) if cohort in (None, one.cohort)]
    if not found:
        box.config.check_known(cohort)
    return [_entry(register, release) for release in found]


@router.get("/releases/{cohort}/{version}", responses=documented(404))
async def release(cohort: str, version: Version, box: TheBox, _caller: Views) -> dict[str, Any]:
    """One release with its manifest and everything that happened to it."""
    found = box.releases().get(cohort, version)
    with box.database.read() as connection:
        events = [asdict(e) for e in release_rows.events(connection, cohort) if e.version == version]
    return {**asdict(found), "events": events}


@router.post("/releases", response_model=ReleaseEntry, status_code=201, responses=_CHANGE)
async def add_release(body: ReleaseAddRequest, box: TheBox, caller: Operates) -> ReleaseEntry:
    """Register an adapter file that lies on this machine; nothing is uploaded over HTTP."""
    path = Path(body.path)
    if not path.is_absolute():
        raise InvalidRequest("path is an absolute path on the appliance's machine", param="path")
    register = box.releases()
    added = await register.add(path, body.cohort, caller.key_id)
    if body.live:
        await register.promote(body.cohort, added.version, caller.key_id)
        added = register.get(body.cohort, added.version)
    return _entry(register, added)


@router.post("/promote", response_model=Switched, responses=_CHANGE)
async def promote(body: PromoteRequest, box: TheBox, caller: Operates) -> Switched:
    """Make a release live; without a version, the candidate."""
    return _switched(await box.releases().promote(body.cohort, body.version, caller.key_id, body.live))


@router.post("/reject", response_model=Switched, responses=_CHANGE)
async def reject(body: RejectRequest, box: TheBox, caller: Operates) -> Switched:
    """Retire a candidate that shall not go live."""
    return _switched(await box.releases().reject(body.cohort, body.version, caller.key_id))


@router.post("/rollback", response_model=Switched, responses=_CHANGE)
async def rollback(body: RollbackRequest, box: TheBox, caller: Operates) -> Switched:
    """Back to the release that was live before, or to the base."""
    return _switched(await box.releases().rollback(body.cohort, caller.key_id, body.live))


@router.get("/audit")
async def audit_trail(
    box: TheBox, _caller: Views, limit: Limit = 50, before: Position = None
) -> list[dict[str, Any]]:
    """What operators did, newest first."""
    with box.database.read() as connection:
        return [asdict(row) for row in audit.page(connection, limit=limit, before_seq=before)]


@router.get("/keys", response_model=list[KeyEntry])
async def keys(box: TheBox, _caller: Operates) -> list[KeyEntry]:
    """The API keys, without their secrets."""
    with box.database.read() as connection:
        return [_key(key) for key in key_rows.list_all(connection)]


@router.post("/keys", response_model=KeyEntry, status_code=201, responses=documented(415))
async def add_key(body: KeyRequest, box: TheBox, caller: Operates) -> KeyEntry:
    """Make a key. Its secret is in this reply and nowhere else."""
    known = [*box.config.cohorts, "base"]
    for name in body.cohorts or ():
        if name not in known:
            raise InvalidRequest(f'there is no cohort "{name}"; there are {", ".join(known)}', param="cohorts")
    identity, secret, digest = key_format.new_key()
    key = Key(
        id=identity,
        name=body.name,
        secret_sha256=digest,
        scopes=tuple(body.scopes),
        created=timestamps.now(),
        cohorts=None if body.cohorts is None else tuple(body.cohorts),
        tenant=body.tenant,
        hints=body.hints,
        expires=_to_come(body.expires),
    )
    entry = _key(key)

    def insert(connection: Connection) -> None:
        key_rows.insert(connection, key)
        audit.record(connection, caller.key_id, "key.add", identity, None, entry.model_dump())

    await box.database.commit(insert)
    box.reload_keys()
    return entry.model_copy(update={"secret": secret})


@router.delete("/keys/{identity}", response_model=KeyEntry, responses=documented(404))
async def revoke_key(identity: str, box: TheBox, caller: Operates) -> KeyEntry:
    """Revoke a key: its next request is refused."""

    def revoke(connection: Connection) -> Key:
        key = key_rows.revoke(connection, identity)
        audit.record(connection, caller.key_id, "key.revoke", identity, {"revoked": None}, {"revoked": key.revoked})
        return key

    revoked = await box.database.commit(revoke)
    box.reload_keys()
    return _key(revoked)


def _entry(register: Releases, release: Release) -> ReleaseEntry:
    return ReleaseEntry(
        cohort=release.cohort,
        version=release.version,
        digest=release.digest,
        state=release.state,
        parent=release.parent,
        created=release.created,
        gated=release.gated,
        system_prompt=release.system_prompt or None,
        warning=register.warning(release),
    )


def _standing(register: Releases, cohort: str, found: list[Release]) -> dict[str, Any]:
    own = [release for release in found if release.cohort == cohort]
    trouble = next((register.trouble(release) for release in own if release.state == "live"), None)
    return {**asdict(register.switch(cohort)), **standing(cohort, own, trouble, timestamps.now())}


def _switched(switch: Switch) -> Switched:
    return Switched(**asdict(switch))


def _key(key: Key) -> KeyEntry:
    return KeyEntry.model_validate(key, from_attributes=True)


def _to_come(expires: str | None) -> str | None:
    """A key that is dead at birth would close the box to all who ask without one."""
    moment = None if expires is None else timestamps.parse(expires, "expires")
    if moment is not None and moment <= timestamps.now():
        raise InvalidRequest(f"expires is past already: {expires}", param="expires")
    return moment
