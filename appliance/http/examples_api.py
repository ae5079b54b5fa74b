"""Labelled examples under /admin/v1: taken from a file on this machine, and counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter

from appliance import import_file
from appliance.errors import Conflict, InvalidRequest, NotFound
from appliance.http.box import Operates, TheBox, Views
from appliance.http.failures import documented
from appliance.http.strict import StrictRoute
from appliance.store import audit, examples
from appliance.store.database import Connection
from appliance.store.examples import Example, Split
from appliance.wire.examples import ExamplesEntry, ExamplesRequest, ImportedReply
from router.cohort import BASE

router = APIRouter(
    prefix="/admin/v1",
    route_class=StrictRoute,
    tags=["operation"],
    responses=documented(503),
)
_NAMED = 5  # lines in the message about rows that cannot be taken


@router.get("/examples", response_model=list[ExamplesEntry])
async def counts(box: TheBox, _caller: Views) -> list[ExamplesEntry]:
    """How many labelled examples each cohort has in each split."""

    def count() -> dict[tuple[str, Split], int]:
        with box.database.read() as connection:
            return examples.counts(connection)

    found = await asyncio.to_thread(count)
    return [ExamplesEntry(cohort=cohort, split=split, rows=rows) for (cohort, split), rows in found.items()]


@router.post("/examples", response_model=ImportedReply, responses=documented(404, 409, 415))
async def add(body: ExamplesRequest, box: TheBox, caller: Operates) -> ImportedReply:
    """Take in a JSONL file that lies on this machine: all of it or nothing. Rows that are known stay as they are."""
    path, cohort, split = Path(body.path), body.cohort, body.split
    if not path.is_absolute():
        raise InvalidRequest("path is an absolute path on the appliance's machine", param="path")
    cohorts = (*box.config.cohorts, BASE)
    if cohort not in cohorts:
        raise NotFound(f'there is no cohort "{cohort}"; there are {", ".join(cohorts)}', param="cohort")
    read = await asyncio.to_thread(import_file.read, path, cohort, split)

    def store(connection: Connection) -> ImportedReply:
        _refuse_seen(connection, path, read)
        added = examples.insert(connection, read.values())
        done = ImportedReply(cohort=cohort, split=split, read=len(read), added=added, known=len(read) - added)
        facts = {"path": body.path, **done.model_dump()}
        audit.record(connection, caller.key_id, "examples.import", cohort, None, facts)
        return done

    return await box.database.commit(store)


def _refuse_seen(connection: Connection, path: Path, read: dict[int, Example]) -> None:
    """What was learned cannot judge: a prompt is in one split of its cohort only. A row that is there already is no
    question. Raises Conflict."""
    first = next(iter(read.values()))
    prompts = {example.prompt for example in examples.unknown(connection, read.values())}
    seen = examples.prompts_elsewhere(connection, first.cohort, first.split, prompts)
    if not seen:
        return
    lines = [number for number, example in read.items() if example.prompt in seen]
    named = ", ".join(map(str, lines[:_NAMED])) + (f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else "")
    other = "eval" if first.split == "train" else "train"
    raise Conflict(
        f"{path}, line {named}, field prompt: it is in the {other} examples of {first.cohort}, and what was learned "
        "cannot judge; take such rows out of the file. Nothing was imported",
        param="path",
    )
