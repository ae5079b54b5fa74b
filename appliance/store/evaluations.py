"""How good an arm was on a set of rows, and every answer it gave."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .timestamps import now


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationKey:
    """What makes an evaluation the same one: who answered (`arm`, a digest), what (`slice`), on which weights."""

    arm: str
    slice: str
    base_digest: str
    format_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One answer: `score` as gates compare it, `scores` all of them; `error` says why there is none."""

    row: str
    task: str
    metric: str
    answer: str
    score: float
    scores: dict[str, float]
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """`name` is the arm for people, like legal@3; `cohort` whose rows they were."""

    key: EvaluationKey
    name: str
    cohort: str
    seconds: float
    results: Sequence[Result]


def find(conn: sqlite3.Connection, key: EvaluationKey) -> Evaluation | None:
    row = conn.execute(
        "SELECT * FROM evaluations WHERE arm = ? AND slice = ? AND base_digest = ? AND format_digest = ?",
        (key.arm, key.slice, key.base_digest, key.format_digest),
    ).fetchone()
    if row is None:
        return None
    found = conn.execute(
        "SELECT row, task, metric, answer, score, scores, error FROM evaluation_results "
        "WHERE evaluation = ? ORDER BY position",
        (row["id"],),
    )
    results = [Result(**{**dict(r), "scores": json.loads(r["scores"])}) for r in found]
    return Evaluation(key=key, name=row["name"], cohort=row["cohort"], seconds=row["seconds"], results=results)


def insert(conn: sqlite3.Connection, evaluation: Evaluation) -> None:
    """Keep it, in place of an earlier one of the same key."""
    key = evaluation.key
    named = (key.arm, key.slice, key.base_digest, key.format_digest)
    conn.execute(
        "DELETE FROM evaluations WHERE arm = ? AND slice = ? AND base_digest = ? AND format_digest = ?", named
    )
    number = conn.execute(
        "INSERT INTO evaluations (arm, slice, base_digest, format_digest, name, cohort, seconds, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*named, evaluation.name, evaluation.cohort, evaluation.seconds, now()),
    ).lastrowid
    conn.executemany(
        "INSERT INTO evaluation_results (evaluation, position, row, task, metric, answer, score, scores, error) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (number, n, r.row, r.task, r.metric, r.answer, r.score, json.dumps(r.scores), r.error)
            for n, r in enumerate(evaluation.results)
        ),
    )


def listing(conn: sqlite3.Connection, limit: int) -> list[dict[str, Any]]:
    """The newest, without their answers."""
    rows = conn.execute(
        "SELECT name, cohort, arm, slice, base_digest, format_digest, seconds, created, "
        "(SELECT count(*) FROM evaluation_results WHERE evaluation = evaluations.id) AS n, "
        "(SELECT avg(score) FROM evaluation_results WHERE evaluation = evaluations.id) AS score "
        "FROM evaluations ORDER BY id DESC LIMIT ?",
        (limit,),
    )
    return [dict(row) for row in rows]
