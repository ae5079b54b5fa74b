"""The log of requests: one row each, never changed but for the rating that feedback gives it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict, Unpack

Origin = Literal["live", "eval", "shadow", "probe"]
Status = Literal["ok", "cancelled", "failed"]

_JSON = ("metadata", "messages", "alternatives", "scores", "sampling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """A logged request, `created` as `timestamps.now` writes it; `seq` and `rating` are set by the database."""

    id: str
    created: str
    origin: Origin
    endpoint: str
    messages: list[dict[str, Any]]
    cohort: str
    layer: str
    reason: str
    release: str
    status: Status
    answer: str = ""
    alternatives: list[str] = field(default_factory=list)
    parent_id: str | None = None
    session: str | None = None
    key_id: str = ""
    subject: str | None = None
    tenant: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    confidence: float | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    router: str | None = None
    release_digest: str | None = None
    arm: str | None = None
    base_digest: str | None = None
    format_digest: str | None = None
    template_digest: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    ttft_ms: float | None = None
    total_ms: float | None = None
    finish_reason: str | None = None
    error: str | None = None
    rating: int | None = None
    seq: int = 0


_INSERT = """
INSERT INTO interactions (
    id, parent_id, created, session, key_id, subject, tenant, origin, endpoint, metadata, messages,
    answer, alternatives, cohort, layer, reason, confidence, scores, router, release, release_digest, arm,
    base_digest, format_digest, template_digest, sampling, prompt_tokens, completion_tokens,
    queue_ms, ttft_ms, total_ms, finish_reason, status, error
) VALUES (
    :id, :parent_id, :created, :session, :key_id, :subject, :tenant, :origin, :endpoint, :metadata,
    :messages, :answer, :alternatives, :cohort, :layer, :reason, :confidence, :scores, :router, :release,
    :release_digest, :arm, :base_digest, :format_digest, :template_digest, :sampling, :prompt_tokens,
    :completion_tokens, :queue_ms, :ttft_ms, :total_ms, :finish_reason, :status, :error
) RETURNING seq
"""


def insert(conn: sqlite3.Connection, interaction: Interaction) -> int:
    """Append the row and return its `seq`."""
    values = asdict(interaction)
    for name in _JSON:
        values[name] = json.dumps(values[name], ensure_ascii=False, allow_nan=False)
    (seq,) = conn.execute(_INSERT, values).fetchone()
    return int(seq)


def get(conn: sqlite3.Connection, id: str) -> Interaction | None:
    row = conn.execute("SELECT * FROM interactions WHERE id = ?", (id,)).fetchone()
    return _from_row(row) if row else None


_FILTERS = {
    "cohort": "cohort = :cohort",
    "release": "release = :release",
    "layer": "layer = :layer",
    "status": "status = :status",
    "rating": "rating = :rating",
    # Long answers are logged late, so seq follows time only nearly: the first row since then bounds the walk, and
    # each row is still compared. A + keeps a column's index out: min(seq) would walk the table from its oldest row,
    # and created as the outer index would need a sort.
    "since": "seq >= (SELECT min(+seq) FROM interactions WHERE created >= :since) AND +created >= :since",
}


class Filters(TypedDict, total=False):
    """What `page` may be narrowed to; None, like leaving it out, means all. `since` is a moment as text."""

    cohort: str | None
    release: str | None
    layer: str | None
    status: Status | None
    rating: int | None
    since: str | None


def page(
    conn: sqlite3.Connection, *, limit: int, before_seq: int | None = None, **filters: Unpack[Filters]
) -> list[Interaction]:
    """The newest rows older than `before_seq` that match every filter given, newest first."""
    given = {name: value for name, value in filters.items() if value is not None}
    where = " AND ".join(
        ["seq < coalesce(:before, 9223372036854775807)", *(_clause(*item) for item in given.items())]
    )
    rows = conn.execute(
        f"SELECT * FROM interactions WHERE {where} ORDER BY seq DESC LIMIT :limit",  # noqa: S608  constants only
        {**given, "before": before_seq, "limit": limit},
    )
    return [_from_row(row) for row in rows]


def _clause(name: str, value: object) -> str:
    # Nearly every row is ok, so the index on status would keep a narrower one out and lead to every row.
    return "+status = :status" if (name, value) == ("status", "ok") else _FILTERS[name]


def follow(conn: sqlite3.Connection, after_seq: int, limit: int) -> list[Interaction]:
    """The oldest rows newer than `after_seq`, oldest first."""
    rows = conn.execute("SELECT * FROM interactions WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit))
    return [_from_row(row) for row in rows]


def export(conn: sqlite3.Connection, chunk: int = 500) -> Iterator[Interaction]:
    """Every row, oldest first; between chunks no read is open, so the WAL can be emptied meanwhile."""
    last = 0
    while rows := follow(conn, last, chunk):
        yield from rows
        last = rows[-1].seq


def _from_row(row: sqlite3.Row) -> Interaction:
    values = dict(row)
    for name in _JSON:
        values[name] = json.loads(values[name])
    return Interaction(**values)
