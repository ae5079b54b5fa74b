"""What a router is fitted to and judged by, from the rows there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.routing.router_rows import _MOST_HELD, LabelledText, material, unjudged
from router.cohort import FEWEST_TEXTS

COHORTS = ("legal", "coding")


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Two rows of each in each split."""
    for name in (*COHORTS, "base"):
        for split in ("train", "eval"):
            path = tmp_path / name / f"{split}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps({"prompt": f"shipped {name} {split} {n}"}) + "\n" for n in range(2)))
    return tmp_path


def rows(cohort: str, count: int, *, beside: bool = False, start: int = 0) -> list[LabelledText]:
    texts = [f"{cohort} {n}" for n in range(start, start + count)]
    return [LabelledText(cohort, f"Answer: {text}", text, beside=beside) for text in texts]


def of(cohort: str, found: list[LabelledText]) -> list[LabelledText]:
    return [row for row in found if row.cohort == cohort]


def test_without_own_rows_the_shipped_ones_stand_in(shipped: Path) -> None:
    found = material(shipped, COHORTS, [], [])
    assert [row.prompt for row in of("legal", found.train)] == ["shipped legal train 0", "shipped legal train 1"]
    assert [row.prompt for row in of("base", found.judged)] == ["shipped base eval 0", "shipped base eval 1"]
    assert unjudged(found.judged, COHORTS) == []


def test_a_cohort_with_own_rows_is_judged_by_some_that_nothing_was_learned_from(shipped: Path) -> None:
    own = rows("legal", 100)
    found = material(shipped, COHORTS, own, [])
    held = of("legal", found.judged)
    assert 10 <= len(held) <= 30, "about a fifth, and none of the shipped ones"
    assert sorted(row.text for row in [*held, *of("legal", found.train)]) == sorted(row.text for row in own)
    assert of("coding", found.judged) and of("base", found.judged)


def test_what_was_held_back_once_is_held_back_by_the_next_fit(shipped: Path) -> None:
    first = {row.text for row in of("legal", material(shipped, COHORTS, rows("legal", 100), []).judged)}
    second = {row.text for row in of("legal", material(shipped, COHORTS, rows("legal", 200), []).judged)}
    assert first < second
    assert {text for text in second if int(text.split()[1]) < 100} == first


def test_of_many_rows_no_more_are_held_back_than_tell(shipped: Path) -> None:
    found = material(shipped, COHORTS, rows("legal", 3000), [])
    assert len(of("legal", found.judged)) == _MOST_HELD


def test_with_own_rows_to_judge_by_all_others_are_learned(shipped: Path) -> None:
    eval_rows = rows("legal", 3, start=900)
    found = material(shipped, COHORTS, rows("legal", 100), eval_rows)
    assert of("legal", found.judged) == eval_rows and len(of("legal", found.train)) == 100


def test_a_row_is_never_both_learned_and_judged_by(shipped: Path) -> None:
    """Nor one whose text is another one's prompt."""
    learned = rows("legal", 100)
    eval_rows = [learned[0], LabelledText("legal", learned[1].text, "another"), LabelledText("legal", "new", "new")]
    assert of("legal", material(shipped, COHORTS, learned, eval_rows).judged) == eval_rows[2:]


def test_rows_too_few_to_part_with_any_leave_their_cohort_unjudged(shipped: Path) -> None:
    own = rows("legal", FEWEST_TEXTS)
    found = material(shipped, COHORTS, own, [])
    assert of("legal", found.train) == own
    assert unjudged(found.judged, COHORTS) == ["legal"]


def test_what_traffic_confirmed_joins_the_shipped_rows(shipped: Path) -> None:
    confirmed = rows("legal", 3, beside=True)
    found = material(shipped, COHORTS, confirmed, [])
    assert of("legal", found.train)[:3] == confirmed and len(of("legal", found.train)) == 5
    assert len(of("legal", found.judged)) == 2
    beside_own = material(shipped, COHORTS, [*rows("legal", 100, start=100), *confirmed], [])
    assert not [row for row in (*beside_own.train, *beside_own.judged) if row.text.startswith("shipped legal")]


def test_own_rows_of_no_cohort_join_the_shipped_ones(shipped: Path) -> None:
    found = material(shipped, COHORTS, rows("base", 100), [])
    assert len(of("base", found.train)) == 102, "all of them: outliers are what there is too little of"
    assert len(of("base", found.judged)) == 2
