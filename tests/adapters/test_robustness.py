"""The same task in other forms: the text and the wanted answer stay whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from adapters.robustness import FORMS, MOST, Parts, forms
from adapters.slice import Row
from tests.adapters.test_slice import row

TEXT = "The tenant shall pay on Monday."
LINE = st.from_regex(r"[a-z]{2,8}( [a-z]{2,8}){1,5}\.?", fullmatch=True)
ASKED = "Classify this sentence. Answer with one word: yes or no."


def asked(turn: str, text: str = TEXT, completion: str = "yes") -> Row:
    return replace(row(turn), turns=(("user", turn),), text=text, completion=completion)


def turns(one: Row) -> dict[str, str]:
    return {name: made[0].row.turns[-1][1] for name, made in forms([one]).items() if made}


def test_each_form_says_the_same_otherwise() -> None:
    found = turns(asked(f"{ASKED}\n{TEXT}"))
    assert found == {
        "paraphrased": f"Here is a task for you. Categorise this sentence. Reply with one word: yes or no.\n{TEXT}",
        "reordered": f"{TEXT}\n\n{ASKED}",
        "reformatted": f"### Instruction\n{ASKED}\n\n### Input\n{TEXT}\n\n### Answer",
    }


def test_an_instruction_that_stands_behind_is_found() -> None:
    assert turns(asked(f"{TEXT}\n\n{ASKED}")) == {
        "paraphrased": f"{TEXT}\n\nHere is a task for you. Categorise this sentence. Reply with one word: yes or no.",
        "reordered": f"{ASKED}\n{TEXT}",
        "reformatted": f"### Instruction\n{ASKED}\n\n### Input\n{TEXT}\n\n### Answer",
    }


def test_labels_stay_with_their_fields_and_what_asks_for_the_answer_stays_last() -> None:
    assert turns(asked(f"{ASKED}\nSentence: {TEXT}\nAnswer:")) == {
        "paraphrased": f"Here is a task for you. Categorise this sentence. Reply with one word: yes or no.\n"
        f"Sentence: {TEXT}\nAnswer:",
        "reordered": f"Sentence: {TEXT}\n\n{ASKED}\nAnswer:",
        "reformatted": f"### Instruction\n{ASKED}\n\n### Input\nSentence: {TEXT}\n\n### Answer",
    }
    assert turns(asked(f"{TEXT}\n{ASKED}\nJSON:"))["reordered"] == f"{ASKED}\n{TEXT}\nJSON:"


def test_a_label_alone_is_no_instruction() -> None:
    assert turns(asked(f"Sentence: {TEXT}\n{ASKED}"))["reordered"] == f"{ASKED}\nSentence: {TEXT}"
    assert turns(asked(f"Translate this:\n{TEXT}"))["reordered"] == f"{TEXT}\n\nTranslate this"


def test_a_short_text_is_not_found_in_the_instruction() -> None:
    assert turns(asked("Say this in French.\nWord: i\nFrench:", "i"))["reordered"] == (
        "Word: i\n\nSay this in French.\nFrench:"
    )


def test_several_fields_are_reordered() -> None:
    turn = "Write one SQL query.\nTable columns: rank, venue\nQuestion: Who came first?\nSQL:"
    found = turns(asked(turn, "rank, venue\nWho came first?"))
    assert found["reordered"] == (
        "Question: Who came first?\nTable columns: rank, venue\n\nWrite one SQL query.\nSQL:"
    )
    assert found["reformatted"].endswith(
        "### Input\nTable columns: rank, venue\nQuestion: Who came first?\n\n### SQL"
    )


def test_words_that_are_labels_stay() -> None:
    found = turns(asked(f"Classify or extract?\n{TEXT}", completion="extract"))
    assert found["paraphrased"].startswith("Here is a task for you. Categorise or extract?")


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        (TEXT, TEXT),
        ("Something else", TEXT),
        (TEXT, ""),
        (f"Sentence: {TEXT}\nAnswer:", TEXT),
        (f'{ASKED} The sentence is "{TEXT}"', TEXT),
        (f"{ASKED}\n{TEXT}\nWrite the word in capitals, please.", TEXT),
    ],
)
def test_rows_without_an_instruction_have_no_forms(turn: str, text: str) -> None:
    assert turns(asked(turn, text)) == {}


def test_a_form_is_another_row_with_the_same_judgement() -> None:
    one = asked(f"{ASKED}\n{TEXT}")
    for made in forms([one]).values():
        (form,) = made
        assert form.of == one and form.row.digest != one.digest
        assert (form.row.completion, form.row.metric, form.row.text) == (one.completion, one.metric, one.text)


def test_as_many_rows_as_are_worth_asking() -> None:
    many = [replace(asked(f"{ASKED}\n{TEXT} {n}", f"{TEXT} {n}"), digest=f"{n:064x}") for n in range(MOST + 20)]
    assert {len(made) for made in forms(many).values()} == {MOST}
    assert [form.of for form in forms(many)["reordered"]] == [form.of for form in forms(many[::-1])["reordered"]]


@given(st.text(min_size=1), st.text(min_size=1), st.text(), st.booleans(), st.text(), st.text())
def test_any_text_survives_every_form(
    instruction: str, text: str, completion: str, leads: bool, label: str, cue: str
) -> None:
    for form in FORMS.values():
        assert text in form(Parts(instruction, ((label, text),), completion, leads, cue))


@given(st.text(), st.text(), st.text(), st.sampled_from(["", "\n"]))
def test_any_turn_has_forms_or_none(before: str, text: str, behind: str, line: str) -> None:
    made = forms([asked(before + line + text + behind, text)])
    event(f"{sum(map(len, made.values()))} forms")
    assert all(
        " ".join(text.split()) in " ".join(form.row.turns[-1][1].split()) for one in made.values() for form in one
    )


@given(LINE, LINE)
def test_a_text_on_its_own_line_has_every_form(instruction: str, text: str) -> None:
    assume(instruction != text)
    made = forms([asked(f"{instruction}\n{text}", text)])
    assert {name: len(rows) for name, rows in made.items()} == dict.fromkeys(FORMS, 1)
    for (form,) in made.values():
        assert " ".join(text.split()) in " ".join(form.row.turns[-1][1].split())
