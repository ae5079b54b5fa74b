"""The log of requests: one row each, never changed but for what feedback says of it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, Unpack

from . import sql
from .feedback import last

Origin = Literal["live", "eval", "shadow", "probe"]
Status = Literal["ok", "cancelled", "failed"]

BRIEF = 300  # characters, or token ids
_JSON = ("metadata", "messages", "alternatives", "scores", "sampling")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """A logged request, `created` as `timestamps.now` writes it. `seq` is set by the database. So is what people said
    last of the answer, from `rating` on: is it one to train on, what it should have been, where it should have gone;
    and `reviewed`, whether anybody said any of it."""

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
    use: Literal["for", "against"] | None = None
    correction: str | None = None
    right_cohort: str | None = None
    comment: str | None = None
    reviewed: bool = False
    seq: int = 0

    def columns(self) -> dict[str, Any]:
        """By name. Not `asdict`, which copies whatever a column holds and takes ten times as long."""
        return {name: getattr(self, name) for name in _COLUMNS}

    def brief(self) -> Interaction:
        """For a line of a list: of the messages the user's last one (without any, the last), of every text the first
        `BRIEF` characters, and no JSON schema."""
        asked = [message for message in self.messages if message["role"] == "user"] or self.messages
        return replace(
            self,
            messages=[{**message, "content": message["content"][:BRIEF]} for message in asked[-1:]],
            answer=self.answer[:BRIEF],
            alternatives=[text[:BRIEF] for text in self.alternatives],
            sampling={name: value for name, value in self.sampling.items() if name != "response_format"},
            correction=self.correction and self.correction[:BRIEF],
            comment=self.comment and self.comment[:BRIEF],
        )


_COLUMNS = tuple(column.name for column in fields(Interaction))

_SAID = ("rating", "use", "correction", "right_cohort", "comment", "reviewed", "seq")  # set by the database
_INSERT = sql.insert("interactions", [name for name in _COLUMNS if name not in _SAID]) + " RETURNING seq"

# Constants only go into the texts here; what a caller gives is bound.

# Rows with what people said last of them; "none" takes back what they said on `use`.
_ROWS = f"""
SELECT interactions.*, nullif({last("use", "interactions.id")}, 'none') AS use,
    {last("correction", "interactions.id")} AS correction, {last("cohort", "interactions.id")} AS right_cohort,
    {last("comment", "interactions.id")} AS comment
FROM interactions
"""  # noqa: S608


def insert(conn: sqlite3.Connection, interaction: Interaction) -> int:
    """Append the row and return its `seq`."""
    values = interaction.columns()
    for name in _JSON:
        values[name] = json.dumps(values[name], ensure_ascii=False, allow_nan=False)
    (seq,) = conn.execute(_INSERT, values).fetchone()
    return int(seq)


def get(conn: sqlite3.Connection, id: str) -> Interaction | None:
    row = conn.execute(f"{_ROWS} WHERE id = ?", (id,)).fetchone()
    return _from_row(row) if row else None


class Filters(TypedDict, total=False):
    """What `page` may be narrowed to; None, like leaving it out, means all. `since` and `until` are moments as text;
    `code` is that of the error, `text` stands in the messages or the answer, in any case of ASCII letters."""

    cohort: str | None
    release: str | None
    layer: str | None
    status: Status | None
    origin: Origin | None
    reviewed: bool | None
    rating: int | None
    since: str | None
    until: str | None
    code: str | None
    text: str | None


_KIND = ("cohort", "layer", "release", "status", "origin", "reviewed")
_WITHIN = {
    "rating": "rating = :rating",
    # Rows before the log reached that minute are older; later ones may be too, since long answers are logged late.
    "since": "seq >= coalesce((SELECT seq FROM moments WHERE minute <= substr(:since, 1, 16) "
    "ORDER BY minute DESC LIMIT 1), 0) AND created >= :since",
    # An answer is logged at most so long after it was asked for: an hour is the longest deadline. Unless the clock
    # had been ahead: of what was logged then, the newest row is known.
    "until": "created <= :until AND seq <= max((SELECT seq FROM setback), coalesce((SELECT seq FROM moments WHERE "
    "minute > strftime('%Y-%m-%dT%H:%M', :until, '+61 minutes') ORDER BY minute LIMIT 1), 9223372036854775807))",
    "code": "substr(error, 1, length(:code) + 1) = :code || ':'",
    "text": "(answer LIKE :in_text ESCAPE char(92) OR (messages LIKE :in_json ESCAPE char(92) AND EXISTS ("
    "SELECT 1 FROM json_each(messages) WHERE value ->> 'content' LIKE :in_text ESCAPE char(92))))",
}


def page(
    conn: sqlite3.Connection, *, limit: int, before_seq: int | None = None, **filters: Unpack[Filters]
) -> list[Interaction]:
    """The newest rows older than `before_seq` that match every filter given, newest first."""
    given = {name: value for name, value in filters.items() if value is not None}
    if "code" in given:
        given.setdefault("status", "failed")  # the others have no error: these few are looked through
    kinds = " AND ".join(f"{name} = :{name}" for name in _KIND if name in given) or "TRUE"
    within = " AND ".join(clause for name, clause in _WITHIN.items() if name in given) or "TRUE"
    query = _merged(kinds, within) if given.keys() & {*_KIND, "rating"} else _newest(within)
    before = (1 << 63) - 1 if before_seq is None else before_seq
    if (text := filters.get("text")) is not None:
        given |= {"in_text": _pattern(text), "in_json": _pattern(json.dumps(text, ensure_ascii=False)[1:-1])}
    rows = conn.execute(query, {**given, "before": before, "limit": limit})
    return sorted(map(_from_row, rows), key=lambda row: -row.seq)


def _pattern(text: str) -> str:
    """For LIKE: what holds the text."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _newest(within: str) -> str:
    return f"{_ROWS} WHERE {within} AND seq < :before ORDER BY seq DESC LIMIT :limit"


def _merged(kinds: str, within: str) -> str:
    """The newest row of each kind; then, again and again, the newest of these, and the next one of its kind: a
    recursive SELECT with ORDER BY is a priority queue. It looks up as many rows as there are kinds and results,
    however many the log has."""
    return f"""
    WITH RECURSIVE walk (seq, {_names()}) AS (
        SELECT ({_next("kinds", ":before", within)}), {_names()} FROM kinds WHERE {kinds}
        UNION ALL
        SELECT ({_next("walk", "walk.seq", within)}), {_names()} FROM walk WHERE seq IS NOT NULL
        ORDER BY 1 DESC LIMIT :limit
    )
    {_ROWS} WHERE seq IN (SELECT seq FROM walk)
    """  # noqa: S608


def _names(of: str = "") -> str:
    return ", ".join(of + name for name in _KIND)


def _next(of: str, before: str, within: str) -> str:
    """The newest row of the kind of `of`."""
    return f"""
        SELECT seq FROM interactions
        WHERE ({_names()}) = ({_names(f"{of}.")})
            AND {within} AND seq < {before}
        ORDER BY seq DESC LIMIT 1
    """  # noqa: S608


def follow(conn: sqlite3.Connection, after_seq: int, limit: int) -> list[Interaction]:
    """The oldest rows newer than `after_seq`, oldest first."""
    rows = conn.execute(f"{_ROWS} WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit))
    return [_from_row(row) for row in rows]


def _from_row(row: sqlite3.Row) -> Interaction:
    values = dict(row)
    for name in _JSON:
        values[name] = json.loads(values[name])
    values["reviewed"] = bool(values["reviewed"])
    return Interaction(**values)
