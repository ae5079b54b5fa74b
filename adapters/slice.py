"""A slice: the frozen rows of one cohort that an adapter is trained on, and what was left out and why. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from adapters.curate import Near, normal

VALIDATION = 0.1  # share of the rows that training watches itself by


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A conversation (role, text) with its wanted answer. `digest` names the row, `source` where it came from."""

    digest: str
    cohort: str
    turns: tuple[tuple[str, str], ...]
    completion: str
    text: str
    task: str = ""
    metric: str = ""
    refs: tuple[str, ...] = ()
    subject: str | None = None
    source: str | None = None
    origin: str = "imported"

    @property
    def asked(self) -> str:
        """Without case and repeated spaces; C and C++ are two questions."""
        return _normal(self.turns)

    @property
    def said(self) -> str:
        """The same without system prompts, which a client may send or leave to the cohort."""
        return _normal(turn for turn in self.turns if turn[0] != "system")


def _normal(turns: Iterable[tuple[str, str]]) -> str:
    return "\n".join(" ".join(text.lower().split()).rstrip(" .?!") for _, text in turns)


@dataclass(frozen=True, slots=True)
class Dropped:
    row: Row
    why: str


@dataclass(frozen=True, slots=True)
class Slice:
    """`digest` is over cohort, rows and parts: the same rows give the same slice."""

    cohort: str
    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    dropped: tuple[Dropped, ...] = field(default=())

    @property
    def digest(self) -> str:
        parts = [[row.digest for row in part] for part in (self.train, self.validation)]
        return hashlib.sha256(json.dumps([self.cohort, *parts]).encode()).hexdigest()

    def mix(self) -> dict[str, Counter[str]]:
        """How many rows by task and by origin."""
        rows = [*self.train, *self.validation]
        return {"task": Counter(r.task or "-" for r in rows), "origin": Counter(r.origin for r in rows)}

    def reasons(self) -> Counter[str]:
        return Counter(dropped.why for dropped in self.dropped)


def freeze(cohort: str, rows: Sequence[Row], judged: Iterable[Row], fault: Callable[[Row], str | None]) -> Slice:
    """The slice of these rows (oldest first). Left out: rows with a `fault` (they are too long), all but the newest
    of those that ask the same, near duplicates, and what stands in or nearly in `judged`, the rows of every eval
    set."""
    dropped: list[Dropped] = []

    def keep(row: Row, why: str | None) -> bool:
        if why is not None:
            dropped.append(Dropped(row, why))
        return why is None

    short = [row for row in rows if keep(row, fault(row))]
    newest = {row.asked: row for row in short}
    once = [row for row in short if keep(row, None if newest[row.asked] is row else "asked again by a newer row")]
    eval_rows = NearDuplicates(judged)
    clean = [row for row in once if keep(row, "in an eval set, or nearly" if eval_rows.has(row) else None)]
    seen: dict[str, NearDuplicates] = defaultdict(NearDuplicates)
    kept = []
    for row in clean:
        near = seen[normal(row.completion)]
        if keep(row, "nearly the same as another row" if near.has(row) else None):
            near.add(row)
            kept.append(row)
    return _split(cohort, kept, dropped)


class NearDuplicates:
    """Rows to which others may be near: by the user's own words and by all that was asked, since a document in the
    conversation tells rows apart that ask the same of it, and an instruction makes rows alike that do not. A row that
    was asked word for word is one of them, whatever its own words are taken to be: of traffic nobody knows which part
    is an instruction, so there it is enough that the others' own words stand in it."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._words, self._whole, self._turns = Near(), Near(), Near()
        self._said: dict[str, set[int]] = {}
        self._rows: list[Row] = []
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        self._words.add(row.text)
        self._whole.add(row.asked)
        self._turns.add(row.said)
        self._said.setdefault(row.said, set()).add(len(self._rows))
        self._rows.append(row)

    def has(self, row: Row) -> bool:
        return bool(self.like(row))

    def like(self, row: Row) -> list[Row]:
        """Those that it is near."""
        found = self._said.get(row.said, set()) | self._alike(row)
        return [self._rows[number] for number in sorted(found)]

    def _alike(self, row: Row) -> set[int]:
        words = self._words.like(row.text)
        if words and (whole := self._whole.like(row.asked)):
            return words & whole or words
        if row.origin == "interaction" and self._turns.like(row.said):
            return self._words.inside(row.text)
        return set()


def _split(cohort: str, rows: Sequence[Row], dropped: Sequence[Dropped]) -> Slice:
    """By a stable hash, so that a row keeps its part as others come and go; at least one row on each side."""
    ordered = sorted(rows, key=lambda row: _position(row))
    n = min(max(1, sum(_position(row) < VALIDATION for row in ordered)), len(ordered) - 1) if ordered else 0
    aside = set(map(id, ordered[:n]))
    train = tuple(row for row in rows if id(row) not in aside)
    return Slice(cohort, train, tuple(row for row in rows if id(row) in aside), tuple(dropped))


def _position(row: Row) -> float:
    """From 0 to 1, of what is asked alone: two answers to one question never part."""
    return int(hashlib.sha256(row.asked.encode()).hexdigest()[:8], 16) / 0x1_0000_0000
