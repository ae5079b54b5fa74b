"""Misroute or bad adapter? Answers that people did not like, asked again of the cohort that they named."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias, get_args

from appliance.answer import AnswerStarted, ChoiceEvent, answer
from appliance.engine.sampling import Sampling
from appliance.engine.text import Delta
from appliance.errors import ApplianceError, StoreUnavailable
from appliance.inference_request import InferenceRequest, RequestContext
from appliance.keys import Caller
from appliance.progress import Report
from appliance.serving import Serving
from appliance.store import feedback, interactions
from appliance.store.feedback import Complaint
from appliance.store.interactions import Interaction
from appliance.wire.requests import ResponseFormat
from router.cohort import BASE

Verdict: TypeAlias = Literal["misroute", "adapter", "no_adapter", "mended", "for_a_person", "unknown"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
MARGIN = 0.05  # of similarity: by less, one wording is not better than another
_COMPARED = 4000  # characters of each answer: comparing takes time with the square of them


@dataclass(frozen=True, slots=True)
class Blame:
    """`before` and `again`: how near the logged answer, and the right cohort's of now, come to the correction (of 1);
    None where there is none. `probe` is the logged repetition, answered by `release`; `answered` is what answered
    before: a release, or "base"."""

    request_id: str
    verdict: Verdict
    sent: str
    right: str
    answered: str
    before: float | None = None
    again: float | None = None
    probe: str | None = None
    release: str | None = None
    error: str | None = None


def verdict(told: Blame) -> Verdict:
    """Of a request that was asked again. `misroute`: another cohort had it, and the right one answers better.
    `mended`: it was sent right, and the answer now is the correction. Else what is to blame is what answered for the
    right cohort: its `adapter`, or none if the base stood in for it. `for_a_person`: nobody said what is right."""
    if told.before is None or told.again is None:
        return "for_a_person"
    if told.sent != told.right and _better(told.before, told.again):
        return "misroute"
    if told.sent == told.right and told.before < told.again == 1:
        return "mended"
    judged = told.answered if told.sent == told.right else told.release
    return "no_adapter" if judged == BASE else "adapter"


def _better(before: float, again: float) -> bool:
    """Clearly, or by being what was wanted."""
    return again - before >= MARGIN or before < again == 1


async def blame(serving: Serving, caller: Caller, limit: int, tell: Report) -> dict[str, Any]:
    """Of the newest complaints, one after the other; live traffic goes first. `tell` gets the share done, of 1, and
    what is done. Raises Unavailable."""

    def read() -> list[tuple[Complaint, Interaction | None]]:
        with serving.database.read() as connection:
            found = feedback.complaints(connection, limit)
            return [(complaint, interactions.get(connection, complaint.request_id)) for complaint in found]

    found = await asyncio.to_thread(read)
    known = [(complaint, row) for complaint, row in found if row is not None]
    told = []
    for number, (complaint, row) in enumerate(known):
        tell(number / len(known), f"asking again: request {number + 1} of {len(known)}")
        told.append(await _one(serving, caller, complaint, row))
    return report(told)


async def _one(serving: Serving, caller: Caller, complaint: Complaint, row: Interaction) -> Blame:
    told = Blame(row.id, "unknown", row.cohort, complaint.cohort, row.release)
    try:
        placed, text = await _again(serving, caller, _question(row, complaint.cohort))
    except ApplianceError as error:
        if isinstance(error, StoreUnavailable) or error.code in ("draining", "stopping"):
            raise  # a box that stops gives no evidence
        return replace(told, error=f"{error.code}: {error.message}")
    told = replace(told, probe=placed.request_id, release=placed.place.release)
    if complaint.correction is not None:
        before, again = await asyncio.to_thread(_both, complaint.correction, row.answer, text)
        told = replace(told, before=before, again=again)
    return replace(told, verdict=verdict(told))


def _question(row: Interaction, cohort: str) -> InferenceRequest:
    """The same as it was asked, of that cohort, greedily."""
    given, chat = row.sampling, row.endpoint == "chat"
    wanted = given.get("response_format")
    metadata = row.metadata if row.tenant is None else {**row.metadata, "tenant": row.tenant}
    return InferenceRequest(
        endpoint="chat" if chat else "completions",
        model=cohort,
        context=RequestContext(metadata),
        turns=[(message["role"], message["content"]) for message in row.messages] if chat else (),
        prompts=() if chat else [message["content"] for message in row.messages],
        sampling=Sampling(temperature=0),
        max_new=given.get("max_tokens"),
        stops=tuple(given.get("stop", ())),
        stop_tokens=frozenset(given.get("stop_token_ids", ())),
        ignore_end=given.get("ignore_eos", False),
        logprobs=None,
        echo=False,
        choices=1,
        response_format=ResponseFormat.model_validate(wanted) if wanted else None,
        probe_of=row.id,
    )


async def _again(serving: Serving, caller: Caller, inference: InferenceRequest) -> tuple[AnswerStarted, str]:
    placed: AnswerStarted | None = None
    text = ""
    async with aclosing(answer(serving, caller, inference)) as events:  # who asked for it may leave
        async for event in events:
            if isinstance(event, AnswerStarted):
                placed = event
            elif isinstance(event, ChoiceEvent) and isinstance(event.event, Delta):
                text += event.event.text
    assert placed is not None  # noqa: S101 - `answer` promises it
    return placed, text


def _both(correction: str, before: str, again: str) -> tuple[float, float]:
    return _similarity(correction, before), _similarity(correction, again)


def _similarity(one: str, other: str) -> float:
    """Of 1: twice the length of their matching blocks over both lengths (Ratcliff and Obershelp 1988)."""
    return SequenceMatcher(None, one.strip()[:_COMPARED], other.strip()[:_COMPARED], autojunk=False).ratio()


def report(found: list[Blame]) -> dict[str, Any]:
    """How often which verdict, and each."""
    counts = Counter(one.verdict for one in found)
    return {
        "n": len(found),
        **{name: counts[name] for name in VERDICTS},
        "routed_wrong": sum(one.sent != one.right for one in found),
        "requests": [asdict(one) for one in found],
    }
