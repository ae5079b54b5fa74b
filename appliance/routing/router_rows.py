"""The labelled texts that a router is fitted to and judged by, from where they lie to one form."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from appliance import jsonl
from appliance.chat import conversation_text
from appliance.errors import InvalidRequest
from appliance.store import examples
from appliance.store.database import Database
from appliance.store.examples import Split
from router.cohort import BASE, FEWEST_TEXTS

_METADATA = ("tenant", "tier", "locale", "vertical")
_NONE = ("none", BASE)
_HELD, _MOST_HELD = 51, 100  # a text is held back if its digest's first byte is below: a fifth; that many at most


@dataclass(frozen=True, slots=True)
class LabelledText:
    """`prompt` is what a caller would send, `text` the user's own words in it; `cohort` "base" for neither. `beside`:
    taken from traffic, so it joins the shipped examples of its cohort; other rows take their place."""

    cohort: str
    prompt: str
    text: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    beside: bool = False


def shipped(folder: Path, cohorts: Iterable[str], split: str) -> Iterator[LabelledText]:
    """The examples beside the configuration, NAME/train.jsonl and NAME/eval.jsonl. Raises InvalidRequest."""
    for cohort in cohorts:
        path = folder / cohort / f"{split}.jsonl"
        if path.exists():
            yield from (LabelledText(cohort, row.prompt, row.text) for row in from_file(path, [cohort], cohort))


def from_file(path: Path, cohorts: Iterable[str], cohort: str | None = None) -> Iterator[LabelledText]:
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


def _row(line: bytes, cohort: str | None, where: str) -> LabelledText:
    try:
        line.decode()
        given: Any = from_json(line)  # as strict as requests are: UTF-8, no lone surrogates, bounded nesting
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{where} is not UTF-8 (byte {error.start + 1}): save the file as UTF-8") from error
    except ValueError as error:
        raise InvalidRequest(f"{where} is not JSON, one object a line: {error}") from error
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
    return LabelledText(
        gold, prompt if prompt is not None else text or "", text if text is not None else prompt or "", metadata
    )


def imported(database: Database, cohorts: Iterable[str], split: Split) -> list[LabelledText]:
    """The examples of these cohorts that `cohort import` took in."""
    with database.read() as connection:
        found = [row for cohort in cohorts for row in examples.rows(connection, cohort, split)]
    return [
        LabelledText(row.cohort, conversation_text(row.turns), row.text, beside=row.origin == "interaction")
        for row in found
    ]


@dataclass(frozen=True, slots=True)
class FitData:
    """`train` to fit on, and `judged`, of which nothing is learned, to judge by."""

    train: list[LabelledText]
    judged: list[LabelledText]


def material(
    folder: Path, cohorts: Sequence[str], own: Sequence[LabelledText], eval_rows: Sequence[LabelledText]
) -> FitData:
    """`own` rows to learn from, and the shipped examples in `folder` of cohorts that have none: those only show how
    it works. A cohort is judged by its rows of the `eval_rows`, else by a part of its own that is held back, so by
    its own kind; or by the shipped ones if they stand in. Of no cohort the shipped ones always count, since noise,
    chat and other languages are the same everywhere, and all own ones are learned from: of them there are never
    enough. Raises InvalidRequest for a damaged file."""
    replaced = {row.cohort for row in own if not row.beside} - {BASE}
    stand_in = [name for name in (*cohorts, BASE) if name not in replaced]
    held = _held_back(own, {BASE, *(row.cohort for row in eval_rows)})
    train = [row for row in own if row.text not in held.get(row.cohort, ())]
    kept = [row for row in own if row.text in held.get(row.cohort, ())]
    train += shipped(folder, stand_in, "train")
    return FitData(train, apart([*eval_rows, *kept, *shipped(folder, stand_in, "eval")], train))


def _held_back(own: Iterable[LabelledText], judged_by: Container[str]) -> dict[str, set[str]]:
    """Texts by cohort, of those not `judged_by` otherwise, unless too few were left to fit on. By their digests, so
    that the next fit holds the same ones back: the router in force has not seen them either."""
    texts: dict[str, set[str]] = {}
    for row in own:
        if row.cohort not in judged_by:
            texts.setdefault(row.cohort, set()).add(row.text)
    drawn = {cohort: _drawn(found) for cohort, found in texts.items()}
    return {cohort: held for cohort, held in drawn.items() if len(texts[cohort]) - len(held) >= FEWEST_TEXTS}


def _drawn(texts: Iterable[str]) -> set[str]:
    ranked = sorted((hashlib.sha256(text.encode()).digest(), text) for text in texts)
    return {text for digest, text in ranked[:_MOST_HELD] if digest[0] < _HELD}


def unjudged(judged: Iterable[LabelledText], cohorts: Sequence[str]) -> list[str]:
    """The cohorts, and "base", of which there is no row to judge by."""
    seen = {row.cohort for row in judged}
    return [name for name in (*cohorts, BASE) if name not in seen]


def apart(judged: Iterable[LabelledText], train: Iterable[LabelledText]) -> list[LabelledText]:
    """Of the rows to judge by, those that nothing was learned from."""
    seen = {text for row in train for text in (row.text, row.prompt)}
    return [row for row in judged if not seen & {row.text, row.prompt}]


def texts(rows: Iterable[LabelledText]) -> Iterator[dict[str, str]]:
    """For the fit: each row's text and its prompt, as one group that no fold parts; every text once, as the first row
    that has it says."""
    seen: set[str] = set()
    for row in rows:
        for text in dict.fromkeys((row.text, row.prompt)):
            if text.strip() and text not in seen:
                seen.add(text)
                yield {"text": text, "cohort": row.cohort, "group": row.text}
