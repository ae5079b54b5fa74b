"""Labelled examples through the operator API: all of a file or nothing, each row once, no prompt in both splits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from appliance import import_file
from appliance.store.examples import Example, Split
from tests.http.running import COHORTS, Json, Running, running

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("examples"), tiny_base, "context = 1024") as appliance:
        yield appliance


def written(path: Path, *rows: Json) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(n: int, word: str = "Question") -> Json:
    return {"prompt": f"{word} {n}?", "completion": f"Answer {n}."}


def post(ours: Running, path: Path, cohort: str, split: str = "train") -> httpx.Response:
    return ours.operator("POST", "/examples", {"path": str(path), "cohort": cohort, "split": split})


def imported(ours: Running, path: Path, cohort: str, split: str = "train") -> tuple[int, int, int]:
    """How many were read, added, and known."""
    reply = post(ours, path, cohort, split)
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert (told["cohort"], told["split"]) == (cohort, split)
    return told["read"], told["added"], told["known"]


def count(ours: Running, cohort: str, split: str = "train") -> int:
    listed = ours.operated("GET", "/examples")
    return sum(entry["rows"] for entry in listed if (entry["cohort"], entry["split"]) == (cohort, split))


def test_a_file_twice_and_a_longer_version_of_it(ours: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *map(row, range(5)), row(0))
    assert imported(ours, file, "legal") == (6, 5, 1)
    before = ours.rows("SELECT * FROM examples WHERE cohort = 'legal'")
    assert imported(ours, file, "legal") == (6, 0, 6)
    assert ours.rows("SELECT * FROM examples WHERE cohort = 'legal'") == before
    assert imported(ours, written(file, *map(row, range(7))), "legal") == (7, 2, 5)
    assert count(ours, "legal") == 7
    trail = [entry for entry in ours.operated("GET", "/audit") if entry["action"] == "examples.import"]
    assert [entry["after"]["added"] for entry in trail if entry["object"] == "legal"] == [2, 0, 5]
    assert trail[0]["key_id"] == "admin"
    assert trail[0]["after"] == {
        "path": str(file),
        "cohort": "legal",
        "split": "train",
        "read": 7,
        "added": 2,
        "known": 5,
    }


def test_a_prompt_is_in_one_split_only(ours: Running, tmp_path: Path) -> None:
    """Whatever it is answered there; other cohorts do not matter."""
    imported(ours, written(tmp_path / "train.jsonl", *map(row, range(10))), "finance")
    answers = ({**row(n), "completion": "Otherwise."} for n in range(3, 10))
    mixed = written(tmp_path / "eval.jsonl", row(50), *answers, row(51))
    reply = post(ours, mixed, "finance", "eval")
    assert reply.status_code == 409
    assert f"{mixed}, line 2, 3, 4, 5, 6 and 2 more, field prompt: " in reply.json()["error"]["message"]
    assert count(ours, "finance", "eval") == 0
    assert imported(ours, mixed, "coding", "eval") == (9, 9, 0)
    assert imported(ours, written(mixed, row(50), row(51)), "finance", "eval") == (2, 2, 0)
    assert imported(ours, written(mixed, row(50), row(51)), "finance", "eval") == (2, 0, 2)
    back = post(ours, written(tmp_path / "more.jsonl", row(51)), "finance")
    assert back.status_code == 409
    assert "line 1, field prompt: it is in the eval examples of finance" in back.json()["error"]["message"]


def test_a_fault_in_the_last_line_leaves_nothing(ours: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", *map(row, range(2000)), {"prompt": "x"})
    audited = ours.operated("GET", "/audit")
    reply = post(ours, file, "support")
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("path", "invalid_value")
    assert error["message"] == f"{file}, line 2001, field completion: is missing or empty"
    assert count(ours, "support") == 0
    assert ours.operated("GET", "/audit") == audited


def test_rows_of_no_cohort(ours: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", {"prompt": "hello"}, {"prompt": "hello", "completion": "Hello."})
    assert imported(ours, file, "base") == (2, 2, 0)
    assert post(ours, file, "support").status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"cohort": "lawyers"}, 404, "cohort"),
        ({"cohort": "general"}, 404, "cohort"),
        ({"split": "test"}, 400, "split"),
        ({"path": "rows.jsonl"}, 400, "path"),
        ({"path": ""}, 400, "path"),
        ({"path": "/"}, 400, "path"),
        ({"path": "/a\0b"}, 400, "path"),
        ({"path": "/nowhere/rows.jsonl"}, 400, "path"),
        ({"path": "/dev/zero"}, 400, "path"),
        ({"rows": []}, 400, "rows"),
    ],
    ids=str,
)
def test_what_is_asked_wrongly(ours: Running, body: Json, status: int, param: str) -> None:
    reply = ours.operator("POST", "/examples", {"path": "/x", "cohort": "legal", "split": "train", **body})
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["param"] == param


def test_reading_holds_up_nobody(ours: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, go_on = threading.Event(), threading.Event()
    read = import_file.read

    def slow(path: Path, cohort: str, split: Split) -> dict[int, Example]:
        reading.set()
        assert go_on.wait(60)
        return read(path, cohort, split)

    monkeypatch.setattr(import_file, "read", slow)
    file = written(tmp_path / "rows.jsonl", row(1, "Slow question"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(imported, ours, file, "healthcare")
        assert reading.wait(60)
        assert ours.operator("GET", "/status").status_code == 200
        assert not waiting.done()
        go_on.set()
        assert waiting.result(60) == (1, 1, 0)


def test_the_demo_cohorts_fit_together(tmp_path: Path, tiny_base: Path) -> None:
    """Every file of every cohort, as a newcomer imports them."""
    with running(tmp_path, tiny_base, "context = 1024") as fresh:
        for cohort in (*COHORTS, "base"):
            for split in ("train", "eval"):
                read, added, _ = imported(fresh, ROOT / "examples" / cohort / f"{split}.jsonl", cohort, split)
                assert read == added == count(fresh, cohort, split)
