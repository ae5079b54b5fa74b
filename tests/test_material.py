"""Which rows a cohort is trained on and judged by: its own, or the shipped ones, never some of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from appliance.evaluation.material import Material, harvest
from appliance.store import examples, interactions
from appliance.store import feedback as feedback_rows
from appliance.store.database import Connection, Database
from appliance.store.examples import Split
from appliance.store.feedback import Use
from tests.store.samples import feedback, interaction

SHIPPED = {
    "legal": ("train", "eval"),
    "base": ("train",),
    "general": ("eval",),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path / "appliance.db")
    yield opened
    opened.close()


@pytest.fixture
def material(tmp_path: Path, database: Database) -> Material:
    for cohort, splits in SHIPPED.items():
        for split in splits:
            path = tmp_path / "examples" / cohort / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            row = {"prompt": f"shipped {cohort} {split}", "completion": "yes", "task": cohort}
            path.write_text(json.dumps(row), encoding="utf-8")
    return Material(database, tmp_path / "examples")


def imported(database: Database, cohort: str, split: Split, text: str, task: str | None = None) -> None:
    row = examples.new(cohort, split, [("user", text)], "no", text, task=task)
    database.write(lambda connection: examples.insert(connection, [row])).result()


def texts(material: Material, cohort: str, split: Split) -> list[str]:
    return [row.text for row in material.rows(cohort, split)]


def test_the_shipped_rows_stand_in_for_a_cohort_without_any(material: Material) -> None:
    assert texts(material, "legal", "train") == ["shipped legal train"]
    assert texts(material, "legal", "eval") == ["shipped legal eval"]
    assert texts(material, "finance", "train") == []


@pytest.mark.parametrize(("own", "other"), [("train", "eval"), ("eval", "train")])
def test_rows_of_its_own_are_not_mixed_with_the_shipped(
    material: Material, database: Database, own: Split, other: Split
) -> None:
    imported(database, "legal", own, "mine")
    assert texts(material, "legal", own) == ["mine"]
    assert texts(material, "legal", other) == []


@pytest.mark.parametrize("second", ["none", "against"])
def test_a_row_of_the_log_goes_with_its_mark(database: Database, second: Use) -> None:
    def marked(connection: Connection, use: Use) -> int:
        feedback_rows.record(connection, feedback(f"fb_{use}", use=use))
        harvest(connection, "legal")
        return len(list(examples.rows(connection, "legal", "train")))

    database.write(lambda connection: interactions.insert(connection, interaction("req_1", endpoint="chat"))).result()
    assert [database.write(partial(marked, use=use)).result() for use in ("for", second)] == [1, 0]


def test_a_row_that_was_imported_with_a_request_stays(database: Database) -> None:
    """As of a log that was exported, looked through, and imported again: nobody marked it here."""
    row = examples.new("legal", "train", [("user", "x")], "no", "x", source="req_1", origin="interaction")

    def kept(connection: Connection) -> int:
        interactions.insert(connection, interaction("req_1", endpoint="chat"))
        examples.insert(connection, [row])
        harvest(connection, "legal")
        return len(list(examples.rows(connection, "legal", "train")))

    assert database.write(kept).result() == 1


def test_an_answer_that_had_no_room_to_end_is_no_row_unless_it_is_corrected(
    material: Material, database: Database
) -> None:
    def marked(connection: Connection, correction: str | None) -> list[str | None]:
        feedback_rows.record(connection, feedback(f"fb_{correction}", use="for", correction=correction))
        harvest(connection, "legal")
        return [row.completion for row in examples.rows(connection, "legal", "train")]

    cut = interaction("req_1", endpoint="chat", finish_reason="length")
    database.write(lambda connection: interactions.insert(connection, cut)).result()
    assert database.write(partial(marked, correction=None)).result() == []
    assert [row.source for row in material.cut("legal")] == ["req_1"]
    mended = examples.new("legal", "train", [("user", "x")], "mended", "x", source="req_1", origin="interaction")
    database.write(lambda connection: examples.insert(connection, [mended])).result()
    assert database.write(lambda connection: harvest(connection, "legal")).result() is None
    assert [row.completion for row in material.rows("legal", "train")] == ["mended"], "imported by hand instead"
    assert database.write(partial(marked, correction="whole")).result() == ["mended", "whole"]
    assert material.cut("legal") == []


def test_the_last_correction_is_the_newest_row(database: Database) -> None:
    """Also when it is an earlier one again: of rows that ask the same, the newest is trained on."""

    def corrected(connection: Connection, number: int, right: str) -> str:
        feedback_rows.record(connection, feedback(f"fb_{number}", use="for", correction=right))
        harvest(connection, "legal")
        harvest(connection, "legal")
        return list(examples.rows(connection, "legal", "train"))[-1].completion or ""

    database.write(lambda connection: interactions.insert(connection, interaction("req_1", endpoint="chat"))).result()
    said = ["A", "B", "A", "A"]
    assert [database.write(partial(corrected, number=n, right=r)).result() for n, r in enumerate(said)] == said


def test_a_guard_set_of_ones_own_leaves_the_rows_of_no_cohort(material: Material, database: Database) -> None:
    assert [row.text for row in material.guard()] == ["shipped general eval"]
    imported(database, "base", "eval", "my general question", task="general")
    assert [row.text for row in material.guard()] == ["my general question"]
    assert texts(material, "base", "train") == ["shipped base train"]
