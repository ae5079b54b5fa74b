"""A JSONL file of labelled examples, read within limits; the first fault names file, line and field."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from pydantic import BaseModel, ValidationError

from adapters.metrics import judge, metric_of
from appliance import jsonl
from appliance.chat import conversation_text
from appliance.errors import InvalidRequest
from appliance.store import examples
from appliance.store.examples import Example, Split
from appliance.wire.examples import ExampleRow, Turn
from appliance.wire.requests import TextPart
from router.cohort import BASE

GENERAL = "general"  # the task of those that are the guard set
_FORMS: tuple[type[BaseModel], ...] = (ExampleRow, Turn, TextPart)
_FIELDS = {name for form in _FORMS for name in form.model_fields}


def read(path: Path, cohort: str, split: Split) -> dict[int, Example]:
    """The examples by their line numbers; blank lines are passed over. Raises InvalidRequest."""
    lines = jsonl.lines(path)
    found = {number: _example(path, number, _row(path, number, line), cohort, split) for number, line in lines}
    if not found:
        raise InvalidRequest(f"{path} holds no rows", param="path")
    return found


def _row(path: Path, number: int, line: bytes) -> ExampleRow:
    try:
        return ExampleRow.model_validate_json(line.decode().rstrip())
    except UnicodeDecodeError as error:
        _refuse(path, number, None, f"it is not UTF-8 (byte {error.start + 1}): save the file as UTF-8")
    except ValidationError as error:
        _refuse(path, number, *_fault(error))


def _example(path: Path, number: int, row: ExampleRow, cohort: str, split: Split) -> Example:
    turns, answer = row.conversation()
    text = row.text or conversation_text(turns)
    if answer is None and cohort != BASE:
        lacks = "is missing or empty" if row.messages is None else "the last one is not an answer of the assistant"
        _refuse(path, number, "completion" if row.messages is None else "messages", lacks)
    if not text.strip():
        _refuse(path, number, "messages", "nothing is asked: there is no text of a user")
    if not turns:
        _refuse(path, number, "messages", "nothing stands before the answer")
    if answer is None and (split, row.task) == ("eval", GENERAL):
        _refuse(path, number, "completion", f"is missing or empty: a row of the guard set (task {GENERAL}) needs one")
    _check_metric(path, number, row, answer or "")
    return examples.new(
        cohort,
        split,
        turns,
        answer,
        text,
        task=row.task,
        metric=row.metric,
        refs=row.refs or (),
        subject=row.subject,
        source=row.source,
        origin=row.origin or "imported",
    )


def _check_metric(path: Path, number: int, row: ExampleRow, answer: str) -> None:
    """A pattern that cannot be read would keep every cohort from being judged."""
    try:
        if metric_of(row.metric or "", answer) == "regex":
            judge("regex", "", answer, row.refs or ())
    except ModuleNotFoundError as error:
        _refuse(path, number, "metric", f"regex wants {error.name}: make train-tools")
    except ValueError as error:
        _refuse(path, number, "metric", str(error))


def _fault(error: ValidationError) -> tuple[str | None, str]:
    """Field and message of the fault that lies deepest: of a union's branches the one that was meant."""
    fault = max(error.errors(include_url=False, include_input=False), key=lambda fault: len(fault["loc"]))
    field = ".".join(str(part) for part in fault["loc"] if isinstance(part, int) or part in _FIELDS)
    message = fault["msg"].removeprefix("Value error, ").replace(" at line 1 column ", " at column ")
    whole = fault["type"] in ("json_invalid", "model_type")
    return field or None, f"{message}; a line is one JSON object" if whole else message


def _refuse(path: Path, line: int, field: str | None, why: str) -> NoReturn:
    where = f"{path}, line {line}" + (f", field {field}" if field else "")
    raise InvalidRequest(f"{where}: {why}", param="path")
