"""What people said about answers."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, fields
from typing import Literal

from appliance.errors import Conflict, NotFound

from . import sql

Use = Literal["for", "against", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One judgement of the answer to `request_id`; `cohort` is the right one, `body_digest` that of the request.
    None is what was not said; the `use` "none" takes an earlier one back."""

    id: str
    request_id: str
    created: str
    body_digest: str
    key_id: str = ""
    rating: int | None = None
    correction: str | None = None
    comment: str | None = None
    cohort: str | None = None
    use: Use | None = None
    idempotency_key: str | None = None


_INSERT = sql.insert("feedback", [column.name for column in fields(Feedback)])

# Kept in the request's row so that listings find it; a comment alone judges nothing.
_REVIEW = """
UPDATE interactions SET rating = coalesce(:rating, rating),
    reviewed = reviewed OR coalesce(:rating, :correction, :cohort, :use) IS NOT NULL
WHERE id = :request_id
"""


def record(conn: sqlite3.Connection, feedback: Feedback) -> Feedback:
    """Store it once for each idempotency key of a caller, and return what is stored.

    Raises NotFound for an unknown request, Conflict when the key was used for another body.
    """
    if earlier := _with_same_key(conn, feedback):
        if earlier.body_digest != feedback.body_digest:
            raise Conflict(
                "this Idempotency-Key was used for other feedback: repeat that, or send a new key",
                param="Idempotency-Key",
            )
        return earlier
    if conn.execute(_REVIEW, asdict(feedback)).rowcount == 0:
        raise NotFound(f"no request {feedback.request_id} is logged here", param="request_id")
    conn.execute(_INSERT, asdict(feedback))
    return feedback


def last(column: str, request: str) -> str:
    """SQL: what people said last under `column` of a request, whose id is the SQL `request`; null if nothing."""
    return f"""(
        SELECT feedback.{column} FROM feedback
        WHERE feedback.request_id = {request} AND feedback.{column} IS NOT NULL ORDER BY feedback.rowid DESC LIMIT 1
    )"""  # noqa: S608 - of names in the code


def cohorts(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    """Requests whose right cohort was named, with the one named last."""
    rows = conn.execute(
        "SELECT request_id, cohort FROM feedback WHERE rowid IN "
        "(SELECT max(rowid) FROM feedback WHERE cohort IS NOT NULL GROUP BY request_id)"
    )
    return [(row["request_id"], row["cohort"]) for row in rows]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What people said last of an answer that they did not like: its right cohort, and the right answer if given."""

    request_id: str
    cohort: str
    correction: str | None


def complaints(conn: sqlite3.Connection, limit: int) -> list[Complaint]:
    """Of the newest live requests that were rated -1 or corrected, and whose right cohort was named."""
    rows = conn.execute(_COMPLAINTS, {"limit": limit})
    return [Complaint(**row) for row in rows]


_COMPLAINTS = f"""
WITH named AS (
    SELECT interactions.id AS request_id, seq, interactions.rating,
        {last("cohort", "interactions.id")} AS cohort, {last("correction", "interactions.id")} AS correction
    FROM interactions
    WHERE origin = 'live' AND id IN (SELECT request_id FROM feedback WHERE cohort IS NOT NULL)
)
SELECT request_id, cohort, correction FROM named
WHERE rating = -1 OR correction IS NOT NULL ORDER BY seq DESC LIMIT :limit
"""  # noqa: S608 - of names above


@dataclass(frozen=True, slots=True)
class Approved:
    """A live request that people marked for training: its answer, or the correction that replaces it; `cut`: that
    answer had no room to end."""

    request_id: str
    subject: str | None
    endpoint: str
    messages: str  # JSON
    answer: str
    cut: bool


def approved(conn: sqlite3.Connection, cohort: str) -> list[Approved]:
    """Of a cohort, oldest first; the cohort that people named counts before the one that was decided."""
    found = conn.execute(_APPROVED, {"cohort": cohort})
    return [Approved(**{**row, "cut": bool(row["cut"])}) for row in found]


_APPROVED = f"""
WITH said AS (
    SELECT request_id, {last("use", "one.request_id")} AS use, {last("cohort", "one.request_id")} AS cohort,
        {last("correction", "one.request_id")} AS correction
    FROM (SELECT DISTINCT request_id FROM feedback WHERE use = 'for') AS one
)
SELECT id AS request_id, subject, endpoint, messages, coalesce(said.correction, answer) AS answer,
    said.correction IS NULL AND finish_reason IS 'length' AS cut
FROM said JOIN interactions ON id = request_id
WHERE use = 'for' AND coalesce(said.cohort, interactions.cohort) = :cohort AND origin = 'live'
    AND (status = 'ok' OR said.correction IS NOT NULL)
ORDER BY seq
"""  # noqa: S608 - of names above


def _with_same_key(conn: sqlite3.Connection, feedback: Feedback) -> Feedback | None:
    row = conn.execute(
        "SELECT * FROM feedback WHERE key_id = ? AND idempotency_key = ?",
        (feedback.key_id, feedback.idempotency_key),
    ).fetchone()
    return Feedback(**row) if row else None
