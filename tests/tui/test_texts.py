"""Texts and figures of the console: harmless, with units, and searched for as typed."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import inert, words
from tui.screens.routes import confusion, prompt
from tui.search import BadSearch, filters
from tui.verdict import verdict

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@given(st.text())
def test_no_text_drives_a_terminal(text: str) -> None:
    for shown in (inert.plain(text), inert.block(text).plain, inert.line(text).plain):
        assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co") for c in shown)


@pytest.mark.parametrize(
    "hostile",
    ["\x1b]52;c;cm0gLXJm\x07", "\x1b[2J", "[bold]no[/bold]", "[@click=app.quit]x[/]", "\u202egnp.exe", "\x9b31m"],
)
def test_hostile_text_is_shown_as_it_stands(hostile: str) -> None:
    shown = inert.block(hostile)
    assert (shown.plain, shown.spans) == (re.sub("[\x1b\x07\u202e\x9b]", "\ufffd", hostile), [])


def test_a_megabyte_is_cut() -> None:
    assert len(inert.plain("x" * 1_000_000)) == 201 and len(inert.block("x" * 1_000_000).plain) == 20_001
    assert inert.plain("one\ntwo") == "one ↵ two" and inert.block("one\ntwo").plain == "one\ntwo"


@pytest.mark.parametrize(("names", "width"), [(5, 54), (9, 78), (9, 60), (3, 120)])
def test_every_column_of_the_confusion_is_in_sight(names: int, width: int) -> None:
    cohorts = [f"cohort{n}" for n in range(names)]
    went = {one: dict.fromkeys(cohorts, 118) for one in cohorts}
    table = confusion({"version": 1, "report": {"confusion": went}}, width)
    _title, *lines = table.plain.split("\n")
    assert len(lines) == names + 1 and max(map(len, lines)) <= width
    assert all(line.count("118") == names for line in lines[1:])


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (words.percent(0.256), "26 %"),
        (words.milliseconds(140.4), "140 ms"),
        (words.milliseconds(12_345), "12.3 s"),
        (words.times(140.0, 420.0, 999.4), "140, 420, 999 ms"),
        (words.times(40.0, 1420.0, None), "0.04, 1.42, - s"),
        (words.times(900.0, 11420.0), "0.9, 11.4 s"),
        (words.times(None, None), "-"),
        (words.size(188_000_000), "188.0 MB"),
        (words.size(12), "12 B"),
        (words.duration(59), "59 s"),
        (words.duration(61), "1 min 1 s"),
        (words.duration(3_700), "1 h 1 min"),
        (words.duration(90_000), "1 d 1 h"),
        (words.rate(0.25), "0.25/s"),
        (words.rate(25), "25/s"),
        (words.age("2026-11-22T11:00:00+00:00", NOW), "1 h"),
        (words.age("2026-11-22T13:00:00+00:00", NOW), "in 1 h"),
        (words.bar(0.5, 4), "██  "),
        (words.points(None), "-"),
    ],
)
def test_figures_have_their_units(shown: str, wanted: str) -> None:
    assert shown == wanted


def test_a_histogram_is_drawn_in_blocks() -> None:
    assert words.columns([0, 1, 2, 4], 1) == [" ▂▄█"]
    assert words.columns([0, 4], 2) == [" █", " █"] and words.columns([], 1) == [""]


def test_a_sparkline_has_gaps_where_nothing_was_measured() -> None:
    assert words.sparkline([0.0, None, 4.0, 8.0], 4) == "▁ ▅█"
    assert words.sparkline([None, None, 1.0, 8.0], 2) == " █", "the largest of each part"
    assert words.sparkline([None] * 4, 2) == "  " and words.sparkline([], 4) == " "
    assert words.sparkline([1.0], 9) == "█"


def test_a_search_is_filters_and_words() -> None:
    assert filters("cohort:legal sublet rating:-1 clause 14.2", NOW) == {
        "cohort": "legal",
        "rating": "-1",
        "text": "sublet clause 14.2",
    }
    assert filters("since:2h", NOW) == {"since": "2026-11-22T10:00:00+00:00"}
    assert filters("until:2026-11-01T00:00+00:00", NOW) == {"until": "2026-11-01T00:00:00+00:00"}
    assert filters("error: x:y", NOW) == {"text": "error: x:y"}, "what is no field is text"
    assert filters("", NOW) == {}


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("rating:5", "-1, 0 or 1"),
        ("status:bad", "ok, cancelled or failed"),
        ("since:yesterday", "2h"),
        ("layer:fall", "classifier or fallback"),
        ("cohort:", "cohort:legal"),
    ],
)
def test_a_search_that_cannot_be_says_what_can(typed: str, says: str) -> None:
    with pytest.raises(BadSearch, match=says):
        filters(typed, NOW)


@pytest.mark.parametrize(
    ("typed", "metadata", "text"),
    [
        ("may we sublet?", {}, "may we sublet?"),
        ("tenant=acme tier=gold may x=1 hold?", {"tenant": "acme", "tier": "gold"}, "may x=1 hold?"),
        ("-- x=1 is what?", {}, "x=1 is what?"),
        ("tenant=acme -- x=1 is what?", {"tenant": "acme"}, "x=1 is what?"),
        ("tenant=acme", {"tenant": "acme"}, ""),
        ("tenant= acme", {}, "tenant= acme"),
        ("  ", {}, ""),
    ],
)
def test_a_prompt_may_have_metadata_before_it(typed: str, metadata: dict[str, str], text: str) -> None:
    assert prompt(typed) == (metadata, text)


@given(st.text())
def test_any_search_is_filters_or_an_error(typed: str) -> None:
    try:
        filters(typed, NOW)
    except BadSearch as error:
        assert str(error)


def test_what_speaks_against_a_verdict_stands_on_lines_of_its_own() -> None:
    says = "keep legal's adapter: it beats the base; for now"
    notes = ["breadth is lost, finance: -7.0 points", "no previous: there was none"]
    one = {"cohort": "legal", "release": "legal@1", "verdict": "keep", "says": says, "notes": notes, "against": []}
    assert [line for line, _ in verdict("attribute", {"cohorts": [one]})] == [
        "legal: keep, release legal@1",
        "  keep legal's adapter: it beats the base; for now",
        "  breadth is lost, finance: -7.0 points",
        "  no previous: there was none",
    ]
