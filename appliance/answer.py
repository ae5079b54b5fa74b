"""The life of a request, told in one function: `answer`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from appliance.config import AUTO
from appliance.engine.sequence import AnswerEvent, Finished
from appliance.inference_request import InferenceRequest
from appliance.keys import Caller
from appliance.record import Record
from appliance.routing.placement import Placement, place
from appliance.sequence_requests import check_size, sequence_requests
from appliance.serving import Serving
from router.cohort import BASE


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The first thing an answer says: its name, where the request went, and the prompts as token ids."""

    request_id: str
    created: int
    place: Placement
    model: str
    prompts: list[Sequence[int]]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class ChoiceEvent:
    """An event of one choice. The Finished come last, in order, once the interaction was committed."""

    index: int
    event: AnswerEvent


async def answer(
    serving: Serving, caller: Caller, inference: InferenceRequest
) -> AsyncGenerator[AnswerStarted | ChoiceEvent, None]:
    """Authorise, route, hold the release, make token ids, run, remember, and only then say that it is done.

    Closing the iterator cancels the work within one step and leaves a `cancelled` row. Raises ApplianceError:
    what was refused before it was placed is not stored, what failed afterwards is a `failed` row.
    """
    arrived = time.monotonic()
    caller.require("infer")
    await serving.admit()
    with serving.quota(caller):
        placement = await _place(serving, caller, inference)
        weight = serving.releases.weight(placement.decision.cohort)  # of its share of machine time
        record = Record(serving, caller, inference, placement, arrived)
        async with record.kept(), serving.lanes.hold(placement.target, weight) as lane:
            check_size(serving, inference)  # before the queue is asked: what never fits is not to be sent again
            serving.engine.room.check(placement.decision.cohort)
            record.requests = await asyncio.to_thread(
                sequence_requests, serving, inference, placement, lane, caller.partition, arrived
            )
            with serving.engine.submit(record.requests) as run:
                model = placement.model(serving.base.id)
                yield AnswerStarted(record.id, int(time.time()), placement, model, record.prompts, record.headers)
                async with aclosing(run.events()) as events:
                    async for index, event in events:
                        record.note(index, event)
                        if not isinstance(event, Finished):
                            yield ChoiceEvent(index, event)
        for index in sorted(record.finished):
            yield ChoiceEvent(index, record.finished[index])


async def _place(serving: Serving, caller: Caller, inference: InferenceRequest) -> Placement:
    """Texts are read off the event loop and one at a time, since each thread that computes beside the engine slows
    it. While only places are left that are kept for cohorts, none is, and nothing is decided: raises Unavailable."""
    session, sessions = inference.context.session, serving.sessions
    asked = replace(inference.asked, session=sessions.cohort(caller.partition, session))
    given = (asked, caller, serving.base.id, serving.cohorts, serving.releases, serving.routers.current)
    if asked.model == AUTO:
        serving.engine.room.check()
        async with serving.encoder_lock:
            serving.engine.room.check()  # others came while this one waited for its turn
            placement = await asyncio.to_thread(place, *given)
    else:
        placement = place(*given)
    if placement.decision.cohort != BASE:
        sessions.note(caller.partition, session, placement.decision.cohort)
    return placement
