from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.engine.sampling import TokenScore
from appliance.engine.text import Delta, TextStream

ALPHABET = st.text("aab bé✓\n", max_size=30)
STOPS = st.lists(st.text("abé✓", min_size=1, max_size=4), max_size=3)


def feed(pieces: Sequence[bytes], stops: Sequence[str]) -> tuple[TextStream, list[Delta]]:
    """Feed until stopped, as the engine does; token i has the score i."""
    stream = TextStream(stops)
    deltas = []
    for i, piece in enumerate(pieces):
        deltas.append(stream.feed(piece, TokenScore(i, 0.0)))
        if stream.stopped:
            break
    return stream, [*deltas, stream.end()]


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(ALPHABET, STOPS, st.lists(st.integers(0, 200), max_size=20))
def test_the_text_ends_before_the_first_stop_however_it_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    stream, deltas = feed(cut(text.encode(), cuts), stops)
    sent = "".join(delta.text for delta in deltas)
    assert text.startswith(sent)
    assert not any(stop in sent for stop in stops)
    assert stream.stopped == any(stop in text for stop in stops)
    if stream.stopped:
        assert text[len(sent) :].startswith(tuple(stops))
    else:
        assert sent == text


@given(ALPHABET, STOPS)
def test_only_what_may_begin_a_stop_is_held_back(text: str, stops: list[str]) -> None:
    stream = TextStream(stops)
    sent = ""
    for n, character in enumerate(text, 1):
        sent += stream.feed(character.encode(), None).text
        if stream.stopped:
            break
        held = text[len(sent) : n]
        assert not held or any(stop.startswith(held) and stop != held for stop in stops)


def test_a_character_is_sent_with_its_last_byte() -> None:
    _, deltas = feed([bytes([byte]) for byte in "✓é".encode()], [])
    assert [delta.text for delta in deltas] == ["", "", "✓", "", "é", ""]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [([b"\xff", b"a"], "\ufffda"), ([b"a", b"\xe2\x9c"], "a\ufffd"), ([b"\xe2", b"a"], "\ufffda")],
    ids=["invalid", "cut off at the end", "cut off within"],
)
def test_broken_characters_are_replaced(pieces: list[bytes], text: str) -> None:
    _, deltas = feed(pieces, [])
    assert "".join(delta.text for delta in deltas) == text


def test_a_held_beginning_is_sent_when_it_comes_to_nothing() -> None:
    _, deltas = feed([b"a##", b"# b", b"##"], ["####"])
    assert [delta.text for delta in deltas] == ["a", "### b", "", "##"]


@pytest.mark.parametrize(("stop", "text", "scored"), [("cd", "ab", [0]), ("bc", "a", [0]), ("de", "abc", [0, 1])])
def test_a_stops_own_tokens_have_no_scores(stop: str, text: str, scored: list[int]) -> None:
    _, deltas = feed([b"ab", b"cd", b"ef"], [stop])
    assert "".join(delta.text for delta in deltas) == text
    assert [score.token for delta in deltas for score in delta.scores] == scored


@given(ALPHABET, STOPS, st.lists(st.integers(0, 200), max_size=20))
def test_every_sent_tokens_score_is_sent_once_and_in_order(text: str, stops: list[str], cuts: list[int]) -> None:
    pieces = cut(text.encode(), cuts)
    stream, deltas = feed(pieces, stops)
    scored = [score.token for delta in deltas for score in delta.scores]
    if not stream.stopped:
        assert scored == list(range(len(pieces)))
    assert scored == list(range(len(scored)))
    covered = b"".join(pieces[: len(scored)])
    assert len(covered) >= len("".join(delta.text for delta in deltas).encode())
    assert sum(delta.tokens for delta in deltas) == len(deltas) - 1
