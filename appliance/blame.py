"""Misroute or bad adapter? Answers that people did not like, asked again of the cohort that they named."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias

from appliance.answer import Placed, Said, answer
from appliance.engine.sampling import Sampling
from appliance.engine.text import Delta
from appliance.errors import ApplianceError
from appliance.keys import Caller
from appliance.question import Origin, Question
from appliance.serving import Serving
from appliance.store import feedback, interactions
from appliance.store.feedback import Complaint
from appliance.store.interactions import Interaction
from appliance.wire.requests import ResponseFormat

Verdict: TypeAlias = Literal["misroute", "adapter", "unknown"]
_COMPARED = 4000  # characters of each answer: comparing takes time with the square of them


@dataclass(frozen=True, slots=True)
class Blame:
    """`before` and `again`: how near the logged answer, and the right cohort's of now, come to the correction (of 1);
    None where there is none. `probe` is the logged repetition, answered by `release`."""

    request_id: str
    verdict: Verdict
    sent: str
    right: str
    before: float | None = None
    again: float | None = None
    probe: str | None = None
    release: str | None = None
    error: str | None = None


def verdict(sent: str, right: str, before: float | None, again: float | None) -> Verdict:
    """`misroute`: another cohort would have answered better. `adapter`: the right one did not, or does not."""
    if before is None or again is None:
        return "unknown"
    return "misroute" if sent != right and again > before else "adapter"


async def blame(serving: Serving, caller: Caller, limit: int, tell: Callable[[float, str], None]) -> dict[str, Any]:
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
    """Without a correction there is nothing to compare with, so it is not asked again."""
    told = Blame(row.id, "unknown", row.cohort, complaint.cohort)
    if complaint.correction is None:
        return told
    try:
        placed, text = await _again(serving, caller, _question(row, complaint.cohort))
    except ApplianceError as error:
        return replace(told, error=f"{error.code}: {error.message}")
    before, again = await asyncio.to_thread(_both, complaint.correction, row.answer, text)
    return replace(
        told,
        verdict=verdict(row.cohort, complaint.cohort, before, again),
        before=before,
        again=again,
        probe=placed.request_id,
        release=placed.place.release,
    )


def _question(row: Interaction, cohort: str) -> Question:
    """The same as it was asked, of that cohort, greedily."""
    given, chat = row.sampling, row.endpoint == "chat"
    wanted = given.get("response_format")
    metadata = row.metadata if row.tenant is None else {**row.metadata, "tenant": row.tenant}
    return Question(
        endpoint="chat" if chat else "completions",
        model=cohort,
        origin=Origin(metadata),
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


async def _again(serving: Serving, caller: Caller, question: Question) -> tuple[Placed, str]:
    placed: Placed | None = None
    text = ""
    async with aclosing(answer(serving, caller, question)) as events:  # who asked for it may leave
        async for event in events:
            if isinstance(event, Placed):
                placed = event
            elif isinstance(event, Said) and isinstance(event.event, Delta):
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
        "misroute": counts["misroute"],
        "adapter": counts["adapter"],
        "unknown": counts["unknown"],
        "routed_wrong": sum(one.sent != one.right for one in found),
        "requests": [asdict(one) for one in found],
    }
