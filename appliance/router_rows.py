"""The labelled texts that a router is fitted to and judged by, from where they lie to one form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from appliance import jsonl
from appliance.chat import Turn, conversation_text
from appliance.errors import InvalidRequest
from appliance.store import examples
from appliance.store.database import Database
from appliance.store.examples import Example, Split
from router.cohort import BASE

_METADATA = ("tenant", "tier", "locale", "vertical")
_NONE = ("none", BASE)


@dataclass(frozen=True, slots=True)
class Row:
    """`prompt` is what a caller would send, `text` the user's own words in it; `cohort` "base" for neither."""

    cohort: str
    prompt: str
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def shipped(folder: Path, cohorts: Iterable[str], split: str) -> Iterator[Row]:
    """The examples beside the configuration, NAME/train.jsonl and NAME/eval.jsonl. Raises InvalidRequest."""
    for cohort in cohorts:
        path = folder / cohort / f"{split}.jsonl"
        if path.exists():
            yield from (Row(cohort, row.prompt, row.text) for row in from_file(path, [cohort], cohort))


def from_file(path: Path, cohorts: Iterable[str], cohort: str | None = None) -> Iterator[Row]:
    """JSON lines with `prompt` (or `text`) and `cohort` (one of `cohorts`; "none" is the base; by default `cohort`),
    top-level tenant, tier, locale and vertical as metadata. Raises InvalidRequest naming the line."""
    known = {*cohorts, BASE}
    try:
        for number, line in jsonl.lines(path):
            row = _row(line, cohort, f"{path}, line {number}")
            if row.cohort not in known:
                raise InvalidRequest(
                    f"{path}, line {number} is of cohort {row.cohort!r}, which the configuration has not"
                )
            yield row
    except InvalidRequest as error:
        error.param = "paths"
        raise


def _row(line: bytes, cohort: str | None, where: str) -> Row:
    try:
        given: Any = from_json(line)  # as strict as requests are: UTF-8, no lone surrogates, bounded nesting
    except ValueError as error:
        raise InvalidRequest(f"{where} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise InvalidRequest(f"{where} is not a JSON object")
    texts = [given.get("prompt"), given.get("text"), given.get("cohort", cohort)]
    prompt, text, gold = [value if isinstance(value, str) else None for value in texts]
    if prompt is None and text is None:
        raise InvalidRequest(f"{where} has neither prompt nor text")
    if gold is None:
        raise InvalidRequest(f"{where} has no cohort")
    metadata = {name: given[name] for name in _METADATA if isinstance(given.get(name), str)}
    gold = BASE if gold in _NONE else gold
    return Row(
        gold, prompt if prompt is not None else text or "", text if text is not None else prompt or "", metadata
    )


def imported(database: Database, cohorts: Iterable[str], split: Split) -> list[Row]:
    """The examples of these cohorts that `cohort import` took in."""
    with database.read() as connection:
        found = [row for cohort in cohorts for row in examples.rows(connection, cohort, split)]
    return [Row(row.cohort, conversation_text(_turns(row)), row.text) for row in found]


def _turns(example: Example) -> list[Turn]:
    return [(message["role"], message["content"]) for message in example.messages]


def with_shipped(
    folder: Path, cohorts: Iterable[str], split: str, more: Sequence[Row], trained: Sequence[Row]
) -> list[Row]:
    """`more`, and the shipped examples of cohorts that have no rows of their own among `trained`: they only show how
    it works. Those of no cohort stay: noise, chat and other languages are the same everywhere."""
    own = {row.cohort for row in trained}
    return [*more, *shipped(folder, [*(name for name in cohorts if name not in own), BASE], split)]


def apart(judged: Iterable[Row], train: Iterable[Row]) -> list[Row]:
    """Of the rows to judge by, those that nothing was learned from."""
    seen = {text for row in train for text in (row.text, row.prompt)}
    return [row for row in judged if not seen & {row.text, row.prompt}]


def texts(rows: Iterable[Row]) -> Iterator[dict[str, str]]:
    """For the fit: each row's text and its prompt, as one group that no fold parts; every text once, as the first row
    that has it says."""
    seen: set[str] = set()
    for row in rows:
        for text in dict.fromkeys((row.text, row.prompt)):
            if text.strip() and text not in seen:
                seen.add(text)
                yield {"text": text, "cohort": row.cohort, "group": row.text}
