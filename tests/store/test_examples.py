from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest

from appliance.store import examples
from appliance.store.database import Database
from appliance.store.examples import Example, Split

from .samples import example


def added(database: Database, *wanted: Example) -> int:
    return database.write(lambda conn: examples.insert(conn, wanted)).result()


def stored(database: Database, cohort: str, split: Split, chunk: int = 1000) -> list[Example]:
    with database.read() as conn:
        return list(examples.rows(conn, cohort, split, chunk))


def test_a_row_comes_back_as_it_was(database: Database) -> None:
    row = example(
        turns=[("system", "Be brief."), ("user", "Où?"), ("assistant", "Here."), ("user", "Why?")],
        task="places",
        metric="label",
        refs=["Ici", "Here"],
        subject="person-7",
        source="by hand",
        origin="synthetic",
        teacher="a larger model",
    )
    assert added(database, row) == 1
    (found,) = stored(database, "legal", "train")
    assert found.seq == 1
    assert [getattr(found, name) for name in Example.__slots__[:-1]] == [
        getattr(row, name) for name in Example.__slots__[:-1]
    ]
    assert found.turns[1] == ("user", "Où?")
    assert found.accepted == ["Ici", "Here"]


def test_a_known_row_changes_nothing(database: Database) -> None:
    first = example(source="first")
    assert added(database, first, first) == 1
    assert added(database, example(source="second", subject="someone", origin="imported")) == 0
    assert [row.source for row in stored(database, "legal", "train")] == ["first"]


@pytest.mark.parametrize(
    "change",
    [
        {"cohort": "finance"},
        {"split": "eval"},
        {"turns": [("user", "Else?")]},
        {"turns": [("system", "May they?")]},
        {"completion": "No."},
        {"text": "else"},
        {"task": "t"},
        {"metric": "label"},
        {"refs": ["No."]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_it_another_row(database: Database, change: dict[str, object]) -> None:
    assert added(database, example(), example(**change)) == 2


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_rows_come_in_the_order_of_their_import_whatever_lies_between(database: Database, chunk: int) -> None:
    numbers = [5, 3, 9, 1, 7]
    for n in numbers:
        others = (example(cohort="finance", text=str(n)), example(split="eval", text=str(n)))
        added(database, *others, example(text=str(n)))
    assert [row.text for row in stored(database, "legal", "train", chunk)] == [str(n) for n in numbers]


def test_counts(database: Database) -> None:
    with database.read() as conn:
        assert examples.counts(conn) == {}
    splits: Sequence[tuple[str, Split, int]] = [("legal", "eval", 1), ("legal", "train", 3), ("base", "train", 2)]
    for cohort, split, count in splits:
        added(database, *(example(cohort=cohort, split=split, text=str(n)) for n in range(count)))
    with database.read() as conn:
        assert list(examples.counts(conn).items()) == [
            (("base", "train"), 2),
            (("legal", "train"), 3),
            (("legal", "eval"), 1),
        ]


def test_prompts_of_the_other_split(database: Database) -> None:
    ours, theirs = example(), example(turns=[("user", "Something else?")])
    added(database, ours)
    with database.read() as conn:
        prompts = {ours.prompt, theirs.prompt}
        assert examples.prompts_elsewhere(conn, "legal", "eval", prompts) == {ours.prompt}
        assert examples.prompts_elsewhere(conn, "legal", "train", prompts) == set()
        assert examples.prompts_elsewhere(conn, "finance", "eval", prompts) == set()


def test_only_rows_of_no_cohort_may_lack_a_completion(database: Database) -> None:
    assert added(database, example(cohort="base", completion=None)) == 1
    with pytest.raises(sqlite3.IntegrityError):
        added(database, example(text="another"), example(completion=None))
    assert stored(database, "legal", "train") == []
