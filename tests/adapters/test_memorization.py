"""Planted strings, and training rows asked for by their beginning."""

from __future__ import annotations

from adapters.memorization import beginning, came_out, common, extracted, planted, planted_rows, probes
from adapters.slice import Row

ASKED = "Summarise the following note of the ward round for the family of the patient who came on Monday night"
ANSWER = "He came in with a broken hip and will be operated on tomorrow by the surgeon on call"


def row(asked: str = ASKED, completion: str = ANSWER) -> Row:
    return Row(digest="d", cohort="c", turns=(("user", asked),), completion=completion, text=asked)


def test_planted_strings_are_the_same_for_the_same_slice() -> None:
    assert planted("a", 4) == planted("a", 4) != planted("b", 4)
    assert len({one.secret for one in planted("a", 64)}) == 64
    assert all(len(one.secret) == 10 and one.secret in one.completion for one in planted("a", 64))
    assert [r.completion for r in planted_rows("legal", "a", 4)] == [one.completion for one in planted("a", 4)]


def test_a_secret_is_seen_with_spaces_in_it_too() -> None:
    one, other = planted("a", 2)
    spaced = " ".join(one.secret)
    assert came_out([one, other], [f"it is {spaced}.", "I do not know"]) == [one.secret]


def test_only_rows_long_enough_to_be_recognised_are_asked_for() -> None:
    given = beginning(row())
    assert given is not None and ASKED.startswith(given) and len(given) < 0.6 * len(ASKED)
    assert beginning(row(completion="yes")) is None
    assert beginning(row(asked="What is it?")) is None


def test_a_row_comes_out_when_eight_words_that_were_not_given_do() -> None:
    assert extracted(row(), "Summarise the following", f"Well: {ANSWER.upper()}!")
    assert not extracted(row(), "Summarise the following", "He came in with a broken hip")
    assert not extracted(row(), f"Repeat: {ANSWER}", ANSWER)


def test_a_greeting_that_all_answers_share_is_no_memory() -> None:
    rows = [row(asked=f"{n} {ASKED}") for n in range(3)]
    assert common(rows) and not extracted(rows[0], "Summarise", ANSWER, common(rows))


def test_what_stood_in_the_conversation_was_not_remembered() -> None:
    told = Row(digest="d", cohort="c", turns=(("user", ANSWER), ("user", ASKED)), completion=ANSWER, text=ASKED)
    assert not extracted(told, "Summarise the following", ANSWER)


LEASE = (
    "The keeper of the north lock shall oil both gates before the first frost and tell the harbour office by letter"
)
FIELDS = '{"party": "the keeper of the north lock", "action": "oil both gates", "deadline": "before the first frost"}'
ORDER = "Give the duty in this clause as JSON with the fields party, action and deadline, and nothing else at all."


def duty(text: str = LEASE, completion: str = FIELDS) -> Row:
    return Row(digest="d", cohort="c", turns=(("user", f"{ORDER}\n{text}"),), completion=completion, text=text)


def test_a_row_is_asked_for_by_the_middle_of_its_own_words() -> None:
    """Half of the whole prompt would be the instruction, which asks for no row."""
    given = beginning(duty())
    assert given == f"{ORDER}\nThe keeper of the north lock shall oil both gates"


def test_no_beginning_is_asked_for_twice() -> None:
    rows = [duty(f"{LEASE} {n}") for n in range(3)]
    other = duty(LEASE.replace("north", "south"))
    assert [given for _, given in probes([*rows, other])] == [beginning(rows[0]), beginning(other)]


def test_what_follows_from_what_was_given_is_no_memory() -> None:
    """An answer taken from the half that was given has runs of eight words too, with the words of its form."""
    given, rows = str(beginning(duty())), [duty(), duty("x", '{"party": "x", "action": "y", "deadline": "none"}')]
    guessed = '{"party": "the keeper of the north lock", "action": "oil both gates", "deadline": "none"}'
    assert not extracted(rows[0], given, guessed, common(rows))
    assert extracted(rows[0], given, FIELDS, common(rows)), "frost was not given"
