"""A file of labelled examples: every form of a row, and every fault named by file, line and field."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from appliance import import_file, jsonl
from appliance.errors import InvalidRequest
from appliance.store.examples import Example

ROOT = Path(__file__).parent.parent
GOOD = b'{"prompt": "Name the clause.", "completion": "warranty"}'


def taken(folder: Path, *rows: object, cohort: str = "legal") -> list[Example]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return list(import_file.read(path, cohort, "train").values())


def refused(path: Path, cohort: str = "legal") -> str:
    with pytest.raises(InvalidRequest) as caught:
        import_file.read(path, cohort, "train")
    assert caught.value.param == "path"
    assert str(path) in caught.value.message
    assert len(caught.value.message) < 500
    return caught.value.message.replace(str(path), "FILE")


def turn(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


def test_a_row_with_everything(tmp_path: Path) -> None:
    row = {
        "prompt": "Name the clause.\nIt is mended free of charge.",
        "completion": "warranty",
        "text": "It is mended free of charge.",
        "task": "clause",
        "metric": "label",
        "refs": ["guarantee"],
        "subject": "person-7",
        "source": "by hand",
        "origin": "human",
        "id": 5,
        "split": ["ignored"],
    }
    (found,) = taken(tmp_path, row)
    assert found.turns == [("user", row["prompt"])]
    assert found.accepted == ["guarantee"]
    for name in ("completion", "text", "task", "metric", "subject", "source", "origin"):
        assert getattr(found, name) == row[name]
    assert (found.cohort, found.split, found.teacher) == ("legal", "train", None)


def test_what_is_left_out(tmp_path: Path) -> None:
    empty = dict.fromkeys(("text", "task", "metric", "subject", "source"), " ")
    null = dict.fromkeys((*empty, "refs", "origin", "messages"))
    for more in ({}, empty, null):
        (found,) = taken(tmp_path, {"prompt": "Why?", "completion": "So.", **more})
        assert (found.text, found.accepted, found.origin) == ("Why?", [], "imported")
        assert (found.task, found.metric, found.subject, found.source) == (None,) * 4


def test_messages(tmp_path: Path) -> None:
    turns = [turn("system", "Be brief."), turn("user", [{"type": "text", "text": "Where?"}], name="x")]
    turns += [turn("assistant", "Here.", weight=0), turn("user", "Why?")]
    (found,) = taken(tmp_path, {"messages": [*turns, turn("assistant", "So.")]})
    assert found.turns == [
        *(("system", "Be brief."), ("user", "Where?")),
        *(("assistant", "Here."), ("user", "Why?")),
    ]
    assert found.completion == "So."
    assert found.text == "Why?\nWhere?", "what routing reads of it"
    (open_ended,) = taken(tmp_path, {"messages": turns}, cohort="base")
    assert (open_ended.prompt, open_ended.completion) == (found.prompt, None)


def test_one_message_is_a_prompt(tmp_path: Path) -> None:
    forms = {"prompt": "Why?", "completion": "So."}, {"messages": [turn("user", "Why?"), turn("assistant", "So.")]}
    one, other = (taken(tmp_path, form)[0] for form in forms)
    assert one.digest == other.digest


@pytest.mark.parametrize("row", [{"prompt": "hello"}, {"prompt": "hello", "completion": ""}], ids=["none", "empty"])
def test_rows_of_no_cohort_need_no_completion(tmp_path: Path, row: dict[str, str]) -> None:
    assert taken(tmp_path, row, cohort="base")[0].completion is None
    assert re.fullmatch("FILE, line 1, field completion: .*", refused(tmp_path / "rows.jsonl"))


def test_a_row_of_the_guard_set_needs_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "hello", "task": "general"}))
    assert import_file.read(path, "base", "train"), "for the router it needs none"
    with pytest.raises(InvalidRequest, match=r"field completion: .* a row of the guard set"):
        import_file.read(path, "base", "eval")


def test_lines(tmp_path: Path) -> None:
    """A mark at the start, other line ends, blank lines and a last line without end are no faults."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n   \n" + GOOD)
    assert list(import_file.read(path, "legal", "train")) == [1, 4]


MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, r"FILE, line 3: give prompt .*or messages"),
    "only a completion": ({"completion": "x"}, r"FILE, line 3: give prompt .*"),
    "both forms": ({"prompt": "x", "messages": [turn("user", "x")]}, r"FILE, line 3: give prompt .*"),
    "two completions": ({"messages": [turn("user", "x")], "completion": "x"}, r"FILE, line 3: completion .*"),
    "no completion": ({"prompt": "x"}, r"FILE, line 3, field completion: is missing or empty"),
    "null completion": ({"prompt": "x", "completion": None}, r"FILE, line 3, field completion: is missing or .*"),
    "empty prompt": ({"prompt": "", "completion": "x"}, r"FILE, line 3, field prompt: is empty"),
    "blank prompt": ({"prompt": " \n", "completion": "x"}, r"FILE, line 3, field prompt: is empty"),
    "blank completion": ({"prompt": "x", "completion": " "}, r"FILE, line 3, field completion: is missing or .*"),
    "a number": ({"prompt": 5, "completion": "x"}, r"FILE, line 3, field prompt: .*valid string"),
    "a list": ({"prompt": "x", "completion": ["x"]}, r"FILE, line 3, field completion: .*valid string"),
    "refs a string": ({"prompt": "x", "completion": "x", "refs": "x"}, r"FILE, line 3, field refs: .*array"),
    "a ref a number": ({"prompt": "x", "completion": "x", "refs": ["x", 1]}, r"FILE, line 3, field refs\.1: .*"),
    "origin": ({"prompt": "x", "completion": "x", "origin": "heaven"}, r"FILE, line 3, field origin: .*'human'.*"),
    "no messages": ({"messages": []}, r"FILE, line 3, field messages: .*at least 1.*"),
    "messages a string": ({"messages": "x"}, r"FILE, line 3, field messages: .*array"),
    "a role": ({"messages": [turn("user", "x"), turn("tool", "x")]}, r"FILE, line 3, field messages\.1\.role: .*"),
    "no role": ({"messages": [{"content": "x"}]}, r"FILE, line 3, field messages\.0\.role: .*"),
    "a picture": (
        {"messages": [turn("user", [{"type": "image_url"}])]},
        r"FILE, line 3, field messages\.0\.content: only text.*",
    ),
    "a tool": (
        {"messages": [turn("user", "x"), turn("assistant", "x", tool_calls=[{"id": 1}])]},
        r"FILE, line 3, field messages\.1\.tool_calls: .*",
    ),
    "no answer": ({"messages": [turn("user", "x")]}, r"FILE, line 3, field messages: .*answer.*"),
    "an empty answer": (
        {"messages": [turn("user", "x"), turn("assistant", "")]},
        r"FILE, line 3, field messages: .*",
    ),
    "no turn before the answer": (
        {"messages": [turn("assistant", "x")], "text": "x"},
        r"FILE, line 3, field messages: nothing stands before the answer",
    ),
    "no regular expression": (
        {"prompt": "x", "completion": "(a", "metric": "regex"},
        r"FILE, line 3, field metric: '\(a' is no regular expression: .*",
    ),
    "no regular expression among the others": (
        {"prompt": "x", "completion": "a", "refs": ["(a"], "metric": "regex"},
        r"FILE, line 3, field metric: '\(a' is no regular expression: .*",
    ),
    "no question": ({"messages": [turn("assistant", "x")]}, r"FILE, line 3, field messages: nothing is asked.*"),
    "a system alone": (
        {"messages": [turn("system", "x"), turn("assistant", "x")]},
        r"FILE, line 3, field messages: nothing is asked.*",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_row_with_a_fault(tmp_path: Path, name: str) -> None:
    row, message = MESSAGES[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n\n" + json.dumps(row).encode() + b"\n" + GOOD)
    assert re.fullmatch(message, refused(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"FILE, line 2: Invalid JSON: .* at column 1; a line is one JSON object"),
        (b"prompt,completion", r"FILE, line 2: Invalid JSON: .*"),
        (GOOD + GOOD, r"FILE, line 2: Invalid JSON: .*"),
        (b"[" * 5000, r"FILE, line 2: Invalid JSON: .*"),
        (b"[" + GOOD + b"]", r"FILE, line 2: Input should be an object; a line is one JSON object"),
        (b"5", r"FILE, line 2: Input should be an object; a line is one JSON object"),
        (b'{"prompt": "\\ud800", "completion": "x"}', r"FILE, line 2: Invalid JSON: .*"),
        (
            b'{"prompt": "caf\xe9", "completion": "x"}',
            r"FILE, line 2: it is not UTF-8 \(byte 16\): save the file as UTF-8",
        ),
        (GOOD.decode().encode("utf-16"), r"FILE, line 2: it is not UTF-8 \(byte 1\): save the file as UTF-8"),
        (b'{"prompt": "' + b"x" * (1 << 20) + b'"}', r"FILE, line 2: it is longer than 1 MiB.*"),
    ],
    ids=["cut", "csv", "two", "deep", "list", "number", "surrogate", "latin-1", "utf-16", "long"],
)
def test_a_line_that_is_no_row(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n" + GOOD)
    assert re.fullmatch(message, refused(path))


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    assert refused(path).startswith("FILE, line 1: it is longer than 1 MiB")


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "there is no file" in refused(tmp_path / "gone.jsonl")
    assert "there is no file" in refused(tmp_path / "a\0b")
    assert refused(tmp_path) == "FILE is a folder, no file"
    assert "cannot be read" in refused(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "FILE is a device or pipe, no file"
    huge = tmp_path / "huge.jsonl"
    with huge.open("wb") as file:
        file.truncate(jsonl.MAX_FILE + 1)
    assert refused(huge) == "FILE is larger than 128 MiB: split it"
    for content in (b"", b"\n \n"):
        (tmp_path / "empty.jsonl").write_bytes(content)
        assert refused(tmp_path / "empty.jsonl") == "FILE holds no rows"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples").glob("*/*.jsonl")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_the_demo_cohorts(path: Path) -> None:
    cohort = "base" if path.parent.name == "general" else path.parent.name
    found = import_file.read(path, cohort, "train")
    assert len({example.digest for example in found.values()}) == len(path.read_bytes().splitlines())
