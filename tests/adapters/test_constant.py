"""One answer to everything: what it scores, and where it says nothing."""

from __future__ import annotations

from statistics import fmean

import pytest

from adapters import constant
from adapters.slice import Row


def row(number: int, task: str, completion: str, metric: str = "", refs: tuple[str, ...] = ()) -> Row:
    return Row(
        digest=f"{task}{number}",
        cohort="legal",
        turns=(("user", f"question {number}"),),
        completion=completion,
        text=f"question {number}",
        task=task,
        metric=metric,
        refs=refs,
    )


LABELS = [row(n, "clause", "term" if n % 3 else "rent") for n in range(9)]
OBJECTS = [row(n, "terms", f'{{"who": "tenant", "days": {n % 2}}}') for n in range(6)]
SAME = [row(n, "greeting", "hello") for n in range(5)]


def test_the_most_common_answer_of_each_task() -> None:
    train = [*LABELS, *OBJECTS, *SAME]
    found = constant.of(train, train)
    assert found.answers["clause"] == "term" and found.answers["terms"] in {one.completion for one in OBJECTS}
    assert "greeting" not in found.answers, "where all answers are the same nothing else can be learned"
    assert "cannot be beaten" in found.left_out["greeting"]


def test_it_is_scored_as_an_answer_is() -> None:
    asked = [row(20, "clause", "Term."), row(21, "clause", "rent"), row(22, "clause", "rent", refs=("term",))]
    assert list(constant.of(LABELS, asked).scores.values()) == [1.0, 0.0, 1.0]
    (half,) = constant.of(OBJECTS, [row(23, "terms", '{"who": "tenant", "days": 7}')]).scores.values()
    assert half == 0.5


def test_one_answer_to_learn_from_is_compared_where_another_is_wanted() -> None:
    asked = [row(40, "greeting", "hello"), row(41, "greeting", "goodbye"), row(42, "greeting", "Hello!")]
    assert list(constant.of(SAME, asked).scores.values()) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("backwards", [False, True])
def test_of_answers_that_are_equally_common_the_best_counts(backwards: bool) -> None:
    train = [row(n, "clause", label) for n, label in enumerate(["rent", "term", "notice"])]
    asked = [row(50, "clause", "term"), row(51, "clause", "term"), row(52, "clause", "rent")]
    found = constant.of(train[::-1] if backwards else train, asked)
    assert found.answers == {"clause": "term"} and fmean(found.scores.values()) == pytest.approx(2 / 3)


def test_of_very_many_the_same_ones_are_tried_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant, "TRIED", 3)
    train = [row(n, "clause", f"label {n}") for n in range(20)]
    asked = [row(100 + n, "clause", f"label {n} of {n % 3}", "f1") for n in range(20)]
    assert constant.of(train, asked) == constant.of(train[::-1], asked)


def test_rows_that_it_cannot_be_compared_on_are_left_out() -> None:
    asked = [row(30, "clause", "a whole sentence", "none"), row(31, "unknown", "x"), row(32, "greeting", "hello")]
    found = constant.of([*LABELS, *SAME], asked)
    assert found.scores == {}
    assert {task: why.split()[0] for task, why in found.left_out.items()} == {
        "clause": "it",
        "unknown": "no",
        "greeting": "the",
    }
