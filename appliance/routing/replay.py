"""Logged traffic as the router's material: re-decided under another router or threshold, and as labelled rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appliance.chat import conversation_text
from appliance.config import Config
from appliance.errors import Conflict
from appliance.keys import Caller, Keys
from appliance.routing.placement import routing_metadata
from appliance.routing.router_rows import LabelledText
from appliance.routing.routers import Routers
from appliance.routing.sessions import Sessions
from appliance.store import feedback, interactions
from appliance.store.database import Database
from appliance.store.interactions import Interaction
from appliance.wire.router import ReplayRequest
from router.cohort import BASE, Cohort
from router.decide import decide
from router.decision import Decision
from router.errors import RouterRefused
from router.layers import Query

if TYPE_CHECKING:
    from router.classifier import FittedRouter

_SHOWN = 20  # requests whose decision changes, in the reply
_LONGEST_SHOWN = 200  # characters of their texts


async def replay(
    database: Database, keys: Keys, routers: Routers, cohorts: Sequence[Cohort], wanted: ReplayRequest
) -> dict[str, Any]:
    """Re-decide the newest live requests that named no cohort: what would change. Raises NotFound, Conflict."""
    router = await _router(routers, wanted)

    def read() -> list[_Asked]:
        with database.read() as connection:
            found = interactions.page(connection, limit=wanted.limit)
        return _requests([row for row in found if row.origin == "live"])

    again = _Again(keys, cohorts, router)
    logged = await routers.offline.once(read)
    decided = await routers.offline.each(again.decision, reversed(logged))
    pairs = [(asked, new) for asked, new in zip(logged, reversed(decided), strict=True) if new is not None]
    changed = [(asked, new) for asked, new in pairs if asked.row.cohort != new.cohort]
    moves = Counter((asked.row.cohort, new.cohort) for asked, new in changed)
    return {
        "router": router.version,
        "threshold": router.policy.classifier.threshold,
        "n": len(pairs),
        "changed": len(changed),
        "moves": [{"from": old, "to": new, "n": n} for (old, new), n in moves.most_common()],
        "before": dict(Counter(asked.row.cohort for asked, _ in pairs)),
        "after": dict(Counter(new.cohort for _, new in pairs)),
        "examples": [
            {
                "request_id": asked.row.id,
                "text": asked.text[:_LONGEST_SHOWN],
                "from": asked.row.cohort,
                "to": new.cohort,
                "reason": new.reason,
                "confidence": new.confidence,
            }
            for asked, new in changed[:_SHOWN]
        ],
    }


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request's first row, and the text of all of it."""

    row: Interaction
    text: str


def _requests(newest_first: Sequence[Interaction]) -> list[_Asked]:
    """The prompts of one completion are rows of their own, and were decided on together."""
    texts: dict[str, list[str]] = {}
    for row in newest_first:
        texts.setdefault(row.parent_id or row.id, []).insert(0, _text(row))
    first = [row for row in newest_first if row.parent_id is None]
    return [_Asked(row, "\n".join(filter(None, texts[row.id]))) for row in first]


class _Again:
    """Decides requests as live traffic was, if told of them oldest first: with the rights that their keys have now,
    and sessions that go where this router sends them."""

    def __init__(self, keys: Keys, cohorts: Sequence[Cohort], router: FittedRouter) -> None:
        self._keys, self._cohorts, self._router, self._sessions = keys, cohorts, router, Sessions()

    def decision(self, asked: _Asked) -> Decision | None:
        """None of a request that named its cohort: it goes there again."""
        row, caller = asked.row, self._keys.holder(asked.row.key_id)
        decision = None if row.layer == "pinned" else self._by_router(asked, caller)
        cohort = row.cohort if decision is None else decision.cohort
        if cohort != BASE:
            self._sessions.note(caller.partition, row.session, cohort)
        return decision

    def _by_router(self, asked: _Asked, caller: Caller) -> Decision:
        session = self._sessions.cohort(caller.partition, asked.row.session)
        query = Query(asked.text, routing_metadata(asked.row.metadata, caller), None, caller.grant, session)
        return decide(query, self._cohorts, self._router)


async def _router(routers: Routers, wanted: ReplayRequest) -> FittedRouter:
    """A copy with its own threshold, so that live traffic keeps the other."""
    if wanted.router is None:
        found = routers.current
        if found is None:
            raise Conflict("no router is in force: fit one (cohort router fit), or name a version", param="router")
    else:
        try:
            found = await routers.load(routers.get(wanted.router))
        except RouterRefused as error:
            raise Conflict(f"router@{wanted.router} cannot be used: {error}", param="router") from error
    return found if wanted.threshold is None else found.at(wanted.threshold)


def confirmed_rows(database: Database, config: Config) -> list[LabelledText]:
    """Requests whose right cohort somebody named in feedback, the newest word on each. What was said of a cohort that
    is configured no more is left out."""
    with database.read() as connection:
        named = feedback.cohorts(connection)
        known = [(request, cohort) for request, cohort in named if cohort in (*config.cohorts, BASE)]
        found = [(interactions.get(connection, request), cohort) for request, cohort in known]
    return [_row(row, cohort) for row, cohort in found if row is not None]


def _row(row: Interaction, cohort: str) -> LabelledText:
    text = _text(row)
    return LabelledText(cohort, text, text, row.metadata, beside=True)


def _text(row: Interaction) -> str:
    return conversation_text(_turns(row.messages))


def _turns(messages: Sequence[Any]) -> list[tuple[str, str]]:
    """Prompts of the completions endpoint count as the user's words; token ids say nothing to an encoder."""
    return [
        ("user" if message["role"] == "prompt" else message["role"], message["content"])
        for message in messages
        if isinstance(message["content"], str)
    ]
