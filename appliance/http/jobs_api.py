"""The operator API of long work: begin, watch, cancel; what would be trained on, and what a release was made of."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Path as PathParameter

from appliance.attribution.attribute import AttributionRun
from appliance.attribution.learning_curve import CurveRun
from appliance.evaluation import blame, review
from appliance.http.box import Box, Operates, TheBox, Views
from appliance.http.failures import documented
from appliance.http.operator_api import Limit
from appliance.http.router_api import entry, rows_of
from appliance.http.strict import StrictRoute
from appliance.jobs import Progress, Work
from appliance.keys import Caller
from appliance.routing import replay, routers
from appliance.store import evaluations
from appliance.store.jobs import Job
from appliance.training import lineage
from appliance.training.planning import Planning, RetrainOptions, summary
from appliance.training.retrain import Retraining
from appliance.wire.base import Request
from appliance.wire.jobs import (
    AttributeRequest,
    CurveRequest,
    EvaluateRequest,
    JobKind,
    JobReply,
    RebuildRequest,
    RetrainRequest,
)
from appliance.wire.router import BlameRequest, FitRequest

router = APIRouter(prefix="/admin/v1", route_class=StrictRoute, tags=["training"], responses=documented(503))
_BEGIN = documented(404, 409, 415)
Version = Annotated[int, PathParameter(ge=1, lt=1 << 31)]


@router.post("/retrain", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_retrain(body: RetrainRequest, box: TheBox, caller: Operates) -> JobReply:
    """Train, judge and release an adapter of a cohort; what passes the gate goes live."""
    wanted = RetrainOptions(**body.model_dump(), key_id=caller.key_id)
    planning = Planning(box.ready(), box.material(), wanted)
    return await _begin(box, caller, "retrain", body, lambda p: Retraining(planning, box.home.jobs, p).retrain())


@router.post("/evaluate", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_evaluate(body: EvaluateRequest, box: TheBox, caller: Operates) -> JobReply:
    """Evaluate what is live, of one cohort or of all, on its own eval rows and on the others'."""
    serving = box.ready()
    cohorts = review.cohorts(serving, body.cohort)
    material = box.material()
    return await _begin(box, caller, "evaluate", body, lambda p: review.review(serving, material, cohorts, p.tell))


@router.post("/attribute", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_attribute(body: AttributeRequest, box: TheBox, caller: Operates) -> JobReply:
    """Compare what is live with the release before, with one adapter for all cohorts, with the neighbours' and with
    the base, and say whether to keep it."""
    serving = box.ready()
    cohorts = review.cohorts(serving, body.cohort)

    async def work(progress: Progress) -> dict[str, Any]:
        run = AttributionRun(serving, box.material(), box.home.jobs, progress, aggregate=body.aggregate)
        return await run.attribute(cohorts)

    return await _begin(box, caller, "attribute", body, work)


@router.post("/curve", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_curve(body: CurveRequest, box: TheBox, caller: Operates) -> JobReply:
    """Train on nested parts of a cohort's rows, and say what more of them would buy. Releases nothing."""
    planning = Planning(box.ready(), box.material(), RetrainOptions(cohort=body.cohort, key_id=caller.key_id))

    async def work(progress: Progress) -> dict[str, Any]:
        run = CurveRun(
            planning=planning, jobs=box.home.jobs, progress=progress, seeds=body.seeds, minutes=body.minutes
        )
        return await run.draw()

    return await _begin(box, caller, "curve", body, work)


@router.post("/router/fit", response_model=JobReply, status_code=202, responses=documented(409, 415))
async def begin_fit(body: FitRequest, box: TheBox, caller: Operates) -> JobReply:
    """Fit a router on the shipped examples, the files named, and interactions confirmed by feedback if told so. It
    goes in force when it is not provably worse."""
    text_routers, more = box.text_routers(), await rows_of(box, body.paths)
    if body.interactions:
        more += await asyncio.to_thread(replay.confirmed_rows, box.database, box.config)
    wanted = routers.FitOptions(more, contrastive=body.contrastive, force=body.force)

    async def work(progress: Progress) -> dict[str, Any]:
        return entry(await text_routers.fit(wanted, caller.key_id, progress.tell)).model_dump()

    return await _begin(box, caller, "fit", body, work)


@router.post("/router/blame", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_blame(body: BlameRequest, box: TheBox, caller: Operates) -> JobReply:
    """Misroute or bad adapter? Requests that people rated -1 or corrected, asked again of the cohort they named."""
    serving = box.ready()
    return await _begin(box, caller, "blame", body, lambda p: blame.blame(serving, caller, body.limit, p.tell))


@router.post("/rebuild", response_model=JobReply, status_code=202, responses=_BEGIN)
async def begin_rebuild(body: RebuildRequest, box: TheBox, caller: Operates) -> JobReply:
    """Train a release again from its manifest, and compare the bytes. Changes nothing."""
    serving = box.ready()
    plan = await asyncio.to_thread(lineage.plan_of, serving, box.material(), body.cohort, body.version)

    async def work(progress: Progress) -> dict[str, Any]:
        return await lineage.rebuild(serving, plan, box.home.jobs, body.cohort, body.version, progress)

    return await _begin(box, caller, "rebuild", body, work)


@router.get("/jobs", response_model=list[JobReply], responses=documented(404))
async def jobs(
    box: TheBox, _caller: Views, limit: Limit = 50, kind: JobKind | None = None, cohort: str | None = None
) -> list[JobReply]:
    """Newest first, without what came of them: a job by its id has that."""
    found = await asyncio.to_thread(box.jobs.all, limit, kind, cohort)
    if not found and not await asyncio.to_thread(box.jobs.all, 1, None, cohort):
        box.config.check_known(cohort)
    return [_reply(box, job, listed=True) for job in found]


@router.get("/jobs/{identity}", response_model=JobReply, responses=documented(404))
async def job(identity: str, box: TheBox, _caller: Views) -> JobReply:
    """One job, with its progress while it runs."""
    return _reply(box, box.jobs.get(identity))


@router.post("/jobs/{identity}/cancel", response_model=JobReply, responses=documented(404, 409, 415))
async def cancel(identity: str, box: TheBox, caller: Operates) -> JobReply:
    """End it; what it made so far is found by the next one."""
    return _reply(box, await box.jobs.cancel(identity, caller.key_id))


@router.get("/slices/{cohort}", responses=documented(404))
async def slice_of(cohort: str, box: TheBox, caller: Views) -> dict[str, Any]:
    """What a retrain would train on now: counts, mix, and what would be left out and why."""
    planning = Planning(box.ready(), box.material(), RetrainOptions(cohort=cohort, key_id=caller.key_id))
    async with box.slice_lock:  # one at a time: it takes a worker thread, which requests need too
        sets = await planning.eval_sets()
        return summary(await asyncio.to_thread(planning.choose, sets))


@router.get("/evaluations")
async def evaluated(box: TheBox, _caller: Views, limit: Limit = 50) -> list[dict[str, Any]]:
    """Evaluations, newest first, without their answers."""

    def read() -> list[dict[str, Any]]:
        with box.database.read() as connection:
            return evaluations.listing(connection, limit)

    return await asyncio.to_thread(read)


@router.get("/releases/{cohort}/{version}/lineage", responses=documented(404))
async def lineage_of(cohort: str, version: Version, box: TheBox, _caller: Views) -> dict[str, Any]:
    """What a release was made of: its rows by source and subject, its recipe, and the releases it was begun from."""
    return await asyncio.to_thread(lineage.lineage, box.releases(), box.database, box.material(), cohort, version)


@router.get("/releases/{cohort}/{version}/diff/{other}", responses=documented(404))
async def diff_of(cohort: str, version: Version, other: Version, box: TheBox, _caller: Views) -> dict[str, Any]:
    """What changed from one release of a cohort to another."""
    return await asyncio.to_thread(lineage.diff, box.releases(), box.database, cohort, version, other)


async def _begin(box: Box, caller: Caller, kind: JobKind, body: Request, work: Work) -> JobReply:
    asked = body.model_dump()
    return _reply(box, await box.jobs.start(kind, asked.get("cohort") or "", caller.key_id, asked, work))


def _reply(box: Box, job: Job, *, listed: bool = False) -> JobReply:
    """In a list without what an ended one left."""
    running = box.jobs.progress(job.id)
    if running is not None and job.state == "running":
        return JobReply(**asdict(job), **asdict(running))
    told = Progress(float(job.state == "done"), job.state)
    if not listed:
        past = running or box.jobs.past(job.id) or told
        told.losses, told.log = (job.result or {}).get("losses") or past.losses, past.log
    return JobReply(**asdict(job), **asdict(told))
