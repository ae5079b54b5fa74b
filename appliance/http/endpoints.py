"""OpenAI's endpoints. Each turns the wire into an inference request, and the answer's events into a reply."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from appliance.answer import answer
from appliance.embeddings import embed
from appliance.errors import Forbidden, InvalidRequest, NotFound, UnknownModel
from appliance.http import replies, streams
from appliance.http.arrival import request_context
from appliance.http.box import GivesFeedback, Infers, TheBox
from appliance.http.failures import documented
from appliance.http.logprobs import Echo, Vocabulary
from appliance.http.models import find, listing
from appliance.http.strict import StrictRoute
from appliance.inference_request import from_chat, from_completion
from appliance.keys import Caller
from appliance.store import feedback, interactions, timestamps
from appliance.store.database import Connection
from appliance.store.feedback import Feedback
from appliance.wire.replies import ChatCompletion, Completion, EmbeddingList, FeedbackReply, ModelEntry, ModelList
from appliance.wire.requests import ChatRequest, CompletionRequest, EmbeddingRequest, FeedbackRequest

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["inference"])
_EVENTS = {"description": "Whole, or with `stream` as events", "content": {"text/event-stream": {}}}
_ANSWER: dict[int | str, dict[str, Any]] = {200: _EVENTS, **documented(404, 409, 415, 429, 503, 504)}


@router.post("/chat/completions", response_model=ChatCompletion, responses=_ANSWER)
async def chat_completions(request: Request, body: ChatRequest, box: TheBox, caller: Infers) -> Response:
    """Answer a conversation. `model`: `auto` routes, `base`, a cohort, or a release like `legal@3`."""
    serving = box.ready()
    vocabulary = Vocabulary(serving.engine.model.pieces)
    inference = from_chat(body, request_context(request, body.metadata), serving.engine.model.n_vocab)
    placed, events = await streams.begin(answer(serving, caller, inference))
    scored = inference.logprobs is not None
    if not body.stream:
        gathered = await streams.until_gone(request, streams.gather(events, inference.choices))
        return streams.whole(placed, replies.chat(placed, gathered, vocabulary, scored))
    chunks = replies.ChatChunks(placed, inference.choices, vocabulary, scored, body.wants_usage)
    return await streams.stream(request, placed, events, chunks)


@router.post("/completions", response_model=Completion, responses=_ANSWER)
async def completions(request: Request, body: CompletionRequest, box: TheBox, caller: Infers) -> Response:
    """Continue a text as it stands; with `echo` and `logprobs` the prompt is scored too."""
    serving = box.ready()
    vocabulary = Vocabulary(serving.engine.model.pieces)
    inference = from_completion(body, request_context(request, body.metadata), serving.engine.model.n_vocab)
    placed, events = await streams.begin(answer(serving, caller, inference))
    echoes = [vocabulary.echo(tokens) if inference.echo else Echo() for tokens in placed.prompts]
    scored = inference.logprobs is not None
    if not body.stream:
        gathered = await streams.until_gone(request, streams.gather(events, inference.choices * len(echoes)))
        return streams.whole(placed, replies.completion(placed, gathered, echoes, vocabulary, scored))
    chunks = replies.CompletionChunks(placed, inference.choices, echoes, vocabulary, scored, body.wants_usage)
    return await streams.stream(request, placed, events, chunks)


@router.post("/embeddings", response_model=EmbeddingList, responses=documented(404, 415, 429, 503, 504))
async def embeddings(request: Request, body: EmbeddingRequest, box: TheBox, caller: Infers) -> Response:
    """Texts as vectors of length 1, by the text router's encoder. `model`: `auto`, or the encoder's name."""
    timeout_s = request_context(request, None).timeout_s
    work = embed(box.ready(), caller, body.model, body.texts, timeout_s)
    reply = replies.embeddings(await streams.until_gone(request, work), base64=body.encoding_format == "base64")
    return Response(reply.model_dump_json(), media_type="application/json")


@router.get("/models", response_model=ModelList, responses=documented(503))
async def models(box: TheBox, caller: Infers) -> ModelList:
    """The base, every cohort and every release that this key is granted."""
    return ModelList(data=listing(box.ready(), caller))


@router.get("/models/{name:path}", response_model=ModelEntry, responses=documented(404, 503))
async def model(name: str, box: TheBox, caller: Infers) -> ModelEntry:
    """One of them, also by alias or by the name a reply gives."""
    entry = find(box.ready(), caller, name)
    if entry is not None:
        return entry
    raise UnknownModel(f"there is no model {name!r} here; GET /v1/models lists them", param="model")


@router.post("/feedback", response_model=FeedbackReply, responses=documented(404, 409, 415, 503))
async def give_feedback(
    body: FeedbackRequest,
    box: TheBox,
    caller: GivesFeedback,
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> FeedbackReply:
    """Rate an answer, correct it, or name the cohort it should have gone to."""
    cohorts = (*box.config.cohorts, "base")
    if body.cohort is not None and body.cohort not in cohorts:
        raise InvalidRequest(f"cohort is one of {', '.join(cohorts)}", param="cohort")
    if body.cohort is not None and caller.grant is not None and body.cohort not in caller.grant:
        raise Forbidden(f"this key is not granted {body.cohort}", param="cohort", code="cohort_not_granted")
    row = Feedback(
        id=f"fb_{secrets.token_hex(12)}",
        created=timestamps.now(),
        key_id=caller.key_id,
        body_digest=hashlib.sha256(body.model_dump_json().encode()).hexdigest(),
        idempotency_key=idempotency_key,
        **body.model_dump(),
    )
    stored, cohort = await box.database.commit(lambda connection: _record(connection, row, caller))
    if stored.id == row.id and body.rating is not None:
        box.vitals.feedback.labels(cohort, str(body.rating)).inc()
    return FeedbackReply(id=stored.id, request_id=stored.request_id)


def _record(connection: Connection, row: Feedback, caller: Caller) -> tuple[Feedback, str]:
    """Store it and tell the request's cohort. A key judges its own requests only; to others they do not exist."""
    asked = interactions.get(connection, row.request_id)
    if asked is None or (asked.key_id != caller.key_id and "operator" not in caller.scopes):
        raise NotFound(f"no request {row.request_id} is logged here", param="request_id")
    return feedback.record(connection, row), asked.cohort
