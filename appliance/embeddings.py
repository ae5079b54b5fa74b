"""Texts as vectors, by the encoder of the text router in force, as it was before any tuning."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from appliance.config import AUTO
from appliance.errors import ContextExceeded, DeadlineExceeded, Unavailable, UnknownModel
from appliance.keys import Caller
from appliance.routing.encoder_package import NAME
from appliance.serving import Serving
from router.errors import TextTooLong

if TYPE_CHECKING:
    from router.encoder import Encoder, Floats  # it imports onnxruntime, and not every start has a router


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors` in the order of the texts, each (384,) and of length 1; `tokens` are the encoder's word pieces."""

    vectors: list[Floats]
    tokens: int


async def embed(
    serving: Serving, caller: Caller, model: str, texts: Sequence[str], timeout_s: float | None
) -> Embedded:
    """Check all texts, then embed one after the other; cancelled between two of them. Nothing is logged.

    Raises UnknownModel, Unavailable without a router, RateLimited, ContextExceeded, DeadlineExceeded.
    """
    caller.require("infer")
    encoder = _encoder(serving, model)
    await serving.admit()
    limit = serving.config.appliance.deadline_seconds
    with serving.quota(caller):
        try:
            async with asyncio.timeout(min(limit, timeout_s or limit)):
                pieces = [await _pieces(encoder, text, number) for number, text in enumerate(texts)]
                vectors = [await _vector(serving, encoder, ids) for ids in pieces]
        except TimeoutError:
            raise DeadlineExceeded("the embeddings were not done within the deadline: send fewer texts") from None
    return Embedded(vectors, sum(map(len, pieces)))


def _encoder(serving: Serving, model: str) -> Encoder:
    if model not in (AUTO, NAME):
        raise UnknownModel(f"no model {model!r} gives embeddings here; {AUTO} and {NAME} do", param="model")
    router = serving.routers.current
    if router is None:
        raise Unavailable(
            "embeddings come from the text router's encoder, and there is no router: cohort router fit",
            code="no_router",
        )
    return router.plain


async def _pieces(encoder: Encoder, text: str, number: int) -> list[int]:
    try:
        return await asyncio.to_thread(encoder.pieces, text)
    except TextTooLong as error:
        raise ContextExceeded(f"text {number} of input has {error}; shorten it", param="input") from error


async def _vector(serving: Serving, encoder: Encoder, pieces: list[int]) -> Floats:
    """Requests take turns, text by text: each thread that computes beside the engine slows it."""
    async with serving.embedding_lock, serving.encoder_lock:  # at most one text stands before a request's
        vector = await asyncio.to_thread(encoder.embed, pieces)
    serving.vitals.embeddings.inc()
    serving.vitals.embedding_tokens.inc(len(pieces))
    return vector
