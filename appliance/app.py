"""The composition root: opens the home, the base and the engine, and puts the application together."""

from __future__ import annotations

import asyncio
from importlib import metadata
from pathlib import Path

from fastapi import Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from appliance import base
from appliance.base import PreparedBase
from appliance.chat import ChatTemplate, template_digest
from appliance.config import AUTO, Config
from appliance.engine.constraint import Constraints
from appliance.engine.engine import BASE_LANE, Engine
from appliance.engine.lane import LaneShape
from appliance.engine.llama import CONTEXT_SIGNATURE
from appliance.engine.prefix_cache import StateKey
from appliance.engine.queue import WaitingRoom
from appliance.errors import BaseModelError
from appliance.http import (
    endpoints,
    examples_api,
    failures,
    jobs_api,
    log_api,
    operator_api,
    probes,
    router_api,
    watch_api,
)
from appliance.http.box import Box
from appliance.http.edge import Edge
from appliance.http.status import gauges
from appliance.keys import Keys, admin_secret
from appliance.progress import Report
from appliance.releases.lanes import Lanes
from appliance.releases.register import Releases
from appliance.routing.routers import Routers
from appliance.serving import Serving
from appliance.store import audit
from appliance.store.database import Connection, Database
from appliance.store.home import Home
from appliance.training import trainer
from appliance.vitals import Vitals
from router.cohort import BASE

VERSION = metadata.version("cohort-appliance")
DEFAULT_CONTEXT = 8192  # tokens; a lane keeps all of it in memory, 188 MB with the packaged base


def open_home(config: Config, home_path: Path, url: str) -> Box:
    """Own the home and open its database. Raises SetupError (HomeInUse, DatabaseTooNew)."""
    home = Home(home_path)
    home.lock(url)
    try:
        keys = Keys(admin_secret(home.path / "admin.key"), may_be_open=config.appliance.private)
        database = Database.open(home.database, config.store.queue)
    except BaseException:
        home.close()
        raise
    box = Box(config, home, database, keys, Vitals(config.cohorts))
    box.vitals.watch(lambda: gauges(box))
    box.reload_keys()
    return box


async def prepare(box: Box, config_file: Path, progress: Report) -> None:
    """Make the base ready and read the register. Raises BaseModelError."""

    def report(fraction: float, doing: str) -> None:
        box.doing = doing
        progress(fraction, doing)

    prepared = await asyncio.to_thread(base.prepare, box.config.base, config_file, box.home.base, report)
    if prepared.id in (*box.config.cohorts, AUTO):
        raise BaseModelError(
            f'the base is called "{prepared.id}" after its file, and so is a cohort, or routing: set name in [base]'
        )
    await _audit_import(box, prepared)
    register = Releases(box.config, box.home.releases, box.database, prepared, template_digest(prepared.template))
    await register.open()
    box.examples = config_file.parent / box.config.router.examples
    routers = Routers(box.config, box.examples, box.home.router, box.database)
    await routers.open()
    await box.jobs.open()
    await asyncio.to_thread(trainer.sweep, box.home.jobs)
    box.base, box.register, box.routers = prepared, register, routers


async def _audit_import(box: Box, prepared: PreparedBase) -> None:
    """Once per base: that it was imported, and in which weight format it is served."""
    facts = {"base": prepared.digest, "format": prepared.format, "format_digest": prepared.format_digest}

    def note(connection: Connection) -> None:
        if not audit.about(connection, "base.import", prepared.digest):
            audit.record(connection, "", "base.import", prepared.digest, None, facts)

    await box.database.commit(note)


async def start_engine(box: Box) -> None:
    """Load the base and the live releases; afterwards the box is ready. `prepare` comes first."""
    assert box.base is not None and box.register is not None and box.routers is not None  # noqa: S101
    config, prepared = box.config, box.base
    box.doing = "loading the base"
    context = config.base.context or min(prepared.context_trained, DEFAULT_CONTEXT)
    shape = LaneShape(-(-context // 256) * 256, config.base.sequences, threads=base.threads(config.base))
    weights = {BASE: 1.0} | {name: section.weight for name, section in config.cohorts.items()}
    room = WaitingRoom(config.appliance.max_waiting, config.appliance.max_waiting_tokens, weights)
    template = template_digest(prepared.template)
    key = StateKey(prepared.digest, prepared.format_digest, BASE_LANE, 1.0, template, CONTEXT_SIGNATURE)
    cache_bytes = config.base.prefix_cache_mb << 20
    engine = Engine(prepared.path, shape, config.base.gpu_layers, room, key, cache_bytes)
    try:
        await engine.start()
        box.serving = await _serving(box, prepared, box.register, box.routers, engine, shape)
    except BaseException:
        await engine.stop()
        raise
    box.phase, box.doing = "ready", "serving"


async def _serving(
    box: Box, prepared: PreparedBase, register: Releases, routers: Routers, engine: Engine, shape: LaneShape
) -> Serving:
    """Make the live releases resident and put together what an answer needs."""
    lane_bytes = prepared.lane_bytes(shape.context)
    lanes = Lanes(engine, box.home.releases, box.config.base.spare_lanes, lane_bytes, register.vet)
    box.doing = "loading the live releases"
    await register.serve_with(lanes)
    engine.on_struck_out = register.strike_out
    return Serving(
        config=box.config,
        cohorts=box.config.routing(),
        base=prepared,
        context=shape.context,
        template=ChatTemplate(prepared.template, engine.model),
        constraints=await asyncio.to_thread(Constraints, engine.model),
        engine=engine,
        lanes=lanes,
        releases=register,
        routers=routers,
        database=box.database,
        vitals=box.vitals,
    )


async def close(box: Box) -> None:
    """Stop the engine, write what is queued, give the home back."""
    await box.jobs.close()
    if box.serving is not None:
        await box.serving.engine.stop()
    await asyncio.to_thread(box.database.close)
    box.home.close()


def application(box: Box) -> ASGIApp:
    """The ASGI application of this box."""
    api = FastAPIOffline(
        title="Cohort appliance",
        version=VERSION,
        description="OpenAI's endpoints with a LoRA adapter per cohort, and the operator API. See docs/api.md.",
    )
    api.state.box = box
    api.state.refused = box.refused
    key = Security(HTTPBearer(auto_error=False, description="ck_..., or the operator's from admin.key"))
    for part in (
        endpoints.router,
        operator_api.router,
        log_api.router,
        examples_api.router,
        router_api.router,
        jobs_api.router,
        watch_api.router,
    ):
        api.include_router(part, dependencies=[key], responses=failures.documented(401, *failures.ANYWHERE))
    api.include_router(probes.router, responses=failures.documented(*failures.ANYWHERE))
    failures.install(api)
    limits = box.config.appliance
    if limits.allowed_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=limits.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
        )
    return Edge(
        api,
        hosts=(*limits.allowed_hosts, limits.host),
        origins=limits.allowed_origins,
        any_host=limits.behind_proxy and not limits.allowed_hosts,
        max_body=limits.max_body_bytes,
        refused=box.refused,
    )
