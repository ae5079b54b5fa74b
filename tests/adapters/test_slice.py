"""What is trained on and what is left out."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapters.curate import NEAR, Near, pieces
from adapters.slice import Row, Slice, freeze

LONG = "The supplier shall deliver the goods to the warehouse in Lisbon before the end of the month"


def row(text: str, completion: str = "yes", **more: str) -> Row:
    digest = hashlib.sha256(f"{text}/{completion}".encode()).hexdigest()
    return Row(digest=digest, cohort="legal", turns=(("user", text),), completion=completion, text=text, **more)  # type: ignore[arg-type]


def frozen(rows: list[Row], judged: list[Row] | None = None, longest: int = 1000) -> Slice:
    return freeze("legal", rows, judged or [], lambda r: "too long" if len(r.text.split()) > longest else None)


def distinct(count: int) -> list[Row]:
    return [row(hashlib.sha256(str(n).encode()).hexdigest()) for n in range(count)]


def why(found: Slice) -> list[str]:
    return [dropped.why for dropped in found.dropped]


def test_rows_keep_their_part_when_others_come() -> None:
    few, many = frozen(distinct(50)), frozen(distinct(100))
    assert {r.digest for r in few.validation} == {r.digest for r in many.validation} & {
        r.digest for r in distinct(50)
    }
    assert 3 <= len(many.validation) <= 20


def test_the_same_rows_have_the_same_digest_and_another_row_another() -> None:
    assert frozen(distinct(20)).digest == frozen(distinct(20)).digest != frozen(distinct(21)).digest


def test_of_rows_that_ask_the_same_the_newest_stays() -> None:
    found = frozen([row("What is it?", "old"), row("What  is it", "new"), *distinct(5)])
    kept = {r.completion for r in (*found.train, *found.validation)}
    assert "new" in kept and "old" not in kept
    assert why(found) == ["asked again by a newer row"]


def test_a_near_duplicate_goes_and_one_with_another_answer_stays() -> None:
    found = frozen([row(f"{LONG}."), row(f"{LONG}s."), row(f"{LONG} now.", "no")])
    assert why(found) == ["nearly the same as another row"]


def test_what_an_eval_set_holds_is_not_trained_on() -> None:
    found = frozen([row(LONG), row(f"{LONG}, too", "no"), *distinct(3)], judged=[row(LONG.upper())])
    assert why(found) == ["in an eval set, or nearly"] * 2
    assert len(found.train) + len(found.validation) == 3


def test_traffic_that_asks_an_eval_row_word_for_word_is_not_trained_on() -> None:
    """Of a logged prompt the whole is its text, of an imported row the part without its instruction."""
    order = "Name the type of this contract clause, in one word and without any other, as it stands in our list:"
    asked = Row(digest="e", cohort="legal", turns=(("user", f"{order}\n{LONG}"),), completion="yes", text=LONG)
    logged = replace(asked, digest="t", text=f"{order}\n{LONG}", turns=(("system", "Be brief."), *asked.turns))
    found = frozen([logged, *distinct(3)], judged=[asked])
    assert why(found) == ["in an eval set, or nearly"]


def test_traffic_that_asks_an_eval_row_nearly_is_not_trained_on() -> None:
    """Of traffic the instruction is not told apart, and a client may send a system prompt of its own."""
    asked = "Name the type of this contract clause: confidentiality, termination, indemnity or warranty.\n"
    judged = [replace(row(LONG), turns=(("user", asked + LONG),))]
    system = ("system", "You help lawyers with contracts. Be brief, and quote the clause. " * 3)

    def traffic(said: str) -> Row:
        return replace(row(said, origin="interaction"), turns=(system, ("user", said)))

    other = "Either party may end this agreement by a letter that arrives ninety days before the year is over"
    found = frozen([traffic(f"{asked}{LONG}. Please."), traffic(asked + other)], judged)
    assert why(found) == ["in an eval set, or nearly"]
    assert [r.text for r in (*found.train, *found.validation)] == [asked + other]


def test_long_rows_go_by_name() -> None:
    found = frozen([row("one two three"), *distinct(2)], longest=2)
    assert [(d.row.text, d.why) for d in found.dropped] == [("one two three", "too long")]


def test_one_row_is_trained_on_and_none_is_none() -> None:
    assert len(frozen(distinct(1)).train) == 1 and not frozen(distinct(1)).validation
    assert not frozen([]).train
    two = frozen(distinct(2))
    assert len(two.train) == len(two.validation) == 1


def test_the_mix_counts_tasks_and_origins() -> None:
    mix = frozen([row("a b c", task="x"), row("d e f", task="x", origin="interaction")]).mix()
    assert mix == {"task": {"x": 2}, "origin": {"imported": 1, "interaction": 1}}


@given(st.text(max_size=60), st.text(max_size=60))
def test_near_is_what_counting_says(one: str, other: str) -> None:
    """MinHash only proposes: no text is called near that is not, and an equal one is never missed."""
    known = Near()
    known.add(one)
    a, b = pieces(one), pieces(other)
    overlap = len(a & b) / len(a | b)
    assert not known.like(other) or overlap >= NEAR
    assert known.like(one)


def test_what_shares_four_fifths_of_its_pieces_is_near_and_with_less_is_not() -> None:
    known = Near()
    known.add(LONG)
    assert known.like(f"{LONG} of March at noon")  # 0.83
    assert not known.like(f"{LONG} of March at noon sharp")  # 0.79


def test_a_tenth_is_kept_for_validation() -> None:
    assert 80 <= len(frozen(distinct(1000)).validation) <= 130


def test_questions_that_differ_in_a_sign_are_two() -> None:
    texts = ["What is 3 + 4?", "What is 3 - 4?", "Which compiler for C?", "Which compiler for C++?"]
    assert why(frozen([row(text, str(n)) for n, text in enumerate(texts)])) == []
