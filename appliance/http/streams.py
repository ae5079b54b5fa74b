"""Answers over HTTP: whole or as server-sent events, for as long as somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any, Protocol, TypeAlias, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from appliance.answer import AnswerStarted, ChoiceEvent
from appliance.engine.sequence import Finished
from appliance.errors import ApplianceError
from appliance.http.failures import as_body
from appliance.http.replies import ChoiceResult

PING_SECONDS = 15
CLIENT_GONE = 499  # nginx's code for it; nobody reads the response
# JSON lets them stand as they are and events end at \r and \n only, but clients that read lines by Python's
# `splitlines`, as httpx does, end a line at each of them and see half an object.
ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}

Events: TypeAlias = AsyncGenerator[AnswerStarted | ChoiceEvent, None]
_T = TypeVar("_T")


class Chunks(Protocol):
    """How one endpoint's stream looks."""

    def opening(self) -> Iterator[BaseModel]: ...
    def delta(self, said: ChoiceEvent) -> Iterator[BaseModel]: ...
    def closing(self, finished: Sequence[Finished]) -> Iterator[BaseModel]: ...


class ClientGone(ApplianceError):
    """The client went before its answer; the work was cancelled."""

    status = CLIENT_GONE
    default_code = "client_gone"


async def begin(events: Events) -> tuple[AnswerStarted, Events]:
    """The placement, and the events that follow. Raises what refuses the request."""
    placed = await anext(events)
    assert isinstance(placed, AnswerStarted)  # noqa: S101 - `answer` promises it
    return placed, events


async def gather(events: Events, choices: int) -> list[ChoiceResult]:
    """The whole answer."""
    gathered = [ChoiceResult() for _ in range(choices)]
    async with aclosing(events):
        async for said in events:
            if isinstance(said, ChoiceEvent):
                gathered[said.index].add(said)
    return gathered


async def until_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, which is cancelled when the client goes. Raises ClientGone."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone("the client went away")
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
            with suppress(asyncio.CancelledError, ApplianceError):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def whole(placed: AnswerStarted, reply: BaseModel) -> Response:
    return Response(reply.model_dump_json(), media_type="application/json", headers=placed.headers)


async def stream(request: Request, placed: AnswerStarted, events: Events, chunks: Chunks) -> Response:
    """Server-sent events, begun only when the engine said something: until then an error still has its status."""
    try:
        first = await until_gone(request, anext(events))
    except BaseException:
        await events.aclose()
        raise
    assert isinstance(first, ChoiceEvent)  # noqa: S101 - only the opening is AnswerStarted
    return EventSourceResponse(
        _lines(first, events, chunks),
        headers=placed.headers,
        ping=PING_SECONDS,
        sep="\n",
    )


async def _lines(first: ChoiceEvent, events: Events, chunks: Chunks) -> AsyncGenerator[dict[str, str], None]:
    """The stream's lines. An error in the middle is an event of its own, and no [DONE] follows it."""
    finished: list[Finished] = []
    try:
        async with aclosing(_from(first, events)) as rest:
            for chunk in chunks.opening():
                yield _data(chunk)
            async for said in rest:
                if isinstance(said.event, Finished):
                    finished.append(said.event)
                for chunk in chunks.delta(said):
                    yield _data(chunk)
        for chunk in chunks.closing(finished):
            yield _data(chunk)
        yield {"data": "[DONE]"}
    except ApplianceError as error:
        yield {"data": json.dumps(as_body(error))}


async def _from(first: ChoiceEvent, events: Events) -> AsyncGenerator[ChoiceEvent, None]:
    async with aclosing(events):
        yield first
        async for said in events:
            if isinstance(said, ChoiceEvent):
                yield said


def _data(chunk: BaseModel) -> dict[str, str]:
    return {"data": chunk.model_dump_json().translate(ESCAPED)}
