"""Labelled examples: what routing and training learn from (`train`), and are judged by (`eval`)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from . import sql
from .timestamps import now

Split = Literal["train", "eval"]
Origin = Literal["human", "imported", "interaction", "synthetic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A row as it is stored: `prompt` and `refs` are JSON, decoded by `turns` and `accepted`.

    `cohort` is "base" for a row of no cohort; only there may `completion` be None. `new` makes one.
    """

    digest: str
    cohort: str
    split: Split
    prompt: str
    completion: str | None
    text: str
    task: str | None
    metric: str | None
    refs: str
    subject: str | None
    source: str | None
    origin: Origin
    teacher: str | None
    created: str
    seq: int = 0

    @property
    def turns(self) -> list[tuple[str, str]]:
        """The conversation that `completion` answers: role and content of each message."""
        return [(message["role"], message["content"]) for message in json.loads(self.prompt)]

    @property
    def accepted(self) -> list[str]:
        """Answers that count as right beside `completion`."""
        return list(json.loads(self.refs))


_COLUMNS = tuple(column.name for column in fields(Example) if column.name != "seq")
_INSERT = sql.insert("examples", _COLUMNS) + " ON CONFLICT (digest) DO NOTHING"


def new(
    cohort: str,
    split: Split,
    turns: Sequence[tuple[str, str]],
    completion: str | None,
    text: str,
    *,
    task: str | None = None,
    metric: str | None = None,
    refs: Sequence[str] = (),
    subject: str | None = None,
    source: str | None = None,
    origin: Origin = "human",
    teacher: str | None = None,
) -> Example:
    """Its digest is over what is asked, answered and judged; where it comes from does not make it another row."""
    prompt = json.dumps([{"role": role, "content": content} for role, content in turns], ensure_ascii=False)
    accepted = json.dumps(refs, ensure_ascii=False)
    identity = json.dumps([cohort, split, prompt, completion, text, task, metric, accepted])
    return Example(
        digest=hashlib.sha256(identity.encode()).hexdigest(),
        cohort=cohort,
        split=split,
        prompt=prompt,
        completion=completion,
        text=text,
        task=task,
        metric=metric,
        refs=accepted,
        subject=subject,
        source=source,
        origin=origin,
        teacher=teacher,
        created=now(),
    )


def insert(conn: sqlite3.Connection, examples: Iterable[Example]) -> int:
    """Add those that are not there yet, and say how many that were."""
    # ON CONFLICT and not OR IGNORE, which would pass over rows that a CHECK refuses.
    rows = ({name: getattr(example, name) for name in _COLUMNS} for example in examples)
    return conn.executemany(_INSERT, rows).rowcount


def forget_withdrawn(conn: sqlite3.Connection, cohort: str, approved: Sequence[str]) -> None:
    """Remove rows taken from requests that people marked for training and no longer do. A row that was imported with
    such a request's id is nobody's mark, and stays."""
    conn.execute(
        "DELETE FROM examples WHERE cohort = ? AND split = 'train' AND origin = 'interaction' "
        "AND source IN (SELECT request_id FROM feedback WHERE use = 'for') "
        "AND source NOT IN (SELECT value FROM json_each(?))",
        (cohort, json.dumps(approved)),
    )


def insert_newest(conn: sqlite3.Connection, cohort: str, examples: Sequence[Example]) -> None:
    """Add those that are not there yet, and move those that are behind later ones of the same request: of a
    correction taken back for the one before, that one counts."""
    rows = conn.execute(
        "SELECT source, digest FROM examples WHERE cohort = ? AND split = 'train' AND origin = 'interaction' "
        "ORDER BY seq",
        (cohort,),
    )
    newest = dict(rows.fetchall())
    stale = [one.digest for one in examples if newest.get(one.source, one.digest) != one.digest]
    conn.execute("DELETE FROM examples WHERE digest IN (SELECT value FROM json_each(?))", (json.dumps(stale),))
    insert(conn, examples)


def unknown(conn: sqlite3.Connection, examples: Iterable[Example]) -> list[Example]:
    """Those that are not there yet."""
    asked = {example.digest: example for example in examples}
    rows = conn.execute(
        "SELECT digest FROM examples WHERE digest IN (SELECT value FROM json_each(?))", (json.dumps(list(asked)),)
    )
    known = {digest for (digest,) in rows}
    return [example for digest, example in asked.items() if digest not in known]


def prompts_elsewhere(conn: sqlite3.Connection, cohort: str, split: Split, prompts: Container[str]) -> set[str]:
    """Which of these prompts the cohort has in its other split."""
    rows = conn.execute("SELECT prompt FROM examples WHERE cohort = ? AND split <> ?", (cohort, split))
    return {prompt for (prompt,) in rows if prompt in prompts}


def rows(conn: sqlite3.Connection, cohort: str, split: Split, chunk: int = 1000) -> Iterator[Example]:
    """In the order of their import; between chunks no read is open, so the WAL can be emptied meanwhile."""
    last = 0
    while found := page(conn, cohort, split, last, chunk):
        yield from found
        last = found[-1].seq


def page(conn: sqlite3.Connection, cohort: str, split: Split, after_seq: int, limit: int) -> list[Example]:
    """The oldest rows newer than `after_seq`, oldest first."""
    found = conn.execute(
        "SELECT * FROM examples WHERE cohort = ? AND split = ? AND seq > ? ORDER BY seq LIMIT ?",
        (cohort, split, after_seq, limit),
    )
    return [Example(**row) for row in found]


def counts(conn: sqlite3.Connection) -> dict[tuple[str, Split], int]:
    """How many rows each cohort has in each split, by cohort; none is left out."""
    found = conn.execute("SELECT cohort, split, count(*) FROM examples GROUP BY cohort, split ORDER BY 1, 2 DESC")
    return {(cohort, split): count for cohort, split, count in found}
