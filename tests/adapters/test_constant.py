"""One answer to everything: what it scores, and where it says nothing."""

from __future__ import annotations

from adapters.constant import answers, scores
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
    found = answers([*LABELS, *OBJECTS, *SAME])
    assert found["clause"] == "term" and found["terms"] in {one.completion for one in OBJECTS}
    assert "greeting" not in found, "where all answers are the same nothing else can be learned"


def test_it_is_scored_as_an_answer_is() -> None:
    asked = [row(20, "clause", "Term."), row(21, "clause", "rent"), row(22, "clause", "rent", refs=("term",))]
    assert list(scores(LABELS, asked).values()) == [1.0, 0.0, 1.0]
    (half,) = scores(OBJECTS, [row(23, "terms", '{"who": "tenant", "days": 7}')]).values()
    assert half == 0.5


def test_rows_that_it_cannot_be_compared_on_are_left_out() -> None:
    asked = [row(30, "clause", "a whole sentence", "none"), row(31, "unknown", "x"), row(32, "greeting", "hello")]
    assert scores([*LABELS, *SAME], asked) == {}
