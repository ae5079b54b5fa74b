"""Short jobs in processes of their own: their lines come as they are said, and their end is named."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator, Iterator
from typing import cast

import pytest

from appliance import children
from appliance.children import ChildFailed

TALKERS = "tests.talkers"


def talk(*talk: str, timeout_s: float = 60.0, module: str = TALKERS) -> Iterator[str]:
    return children.run(module, *talk, cpu_seconds=60, memory_bytes=1 << 30, timeout_s=timeout_s)


def test_every_line_arrives() -> None:
    assert list(talk("lines")) == ["line 0", "line 1", "line 2"]


def test_arguments_arrive_as_given() -> None:
    given = ["one", "two words", "--three", "vier ⚙", ""]
    assert list(talk("arguments", *given)) == given


def test_a_line_arrives_before_the_child_ends() -> None:
    running = cast(Generator[str], talk("slowly"))
    started = time.monotonic()
    assert next(running) == "first"
    assert time.monotonic() - started < 30
    running.close()


def test_closing_kills_the_child_at_once() -> None:
    running = cast(Generator[str], talk("slowly"))
    assert next(running) == "first"
    started = time.monotonic()
    running.close()
    assert time.monotonic() - started < 20


def test_a_child_that_nobody_closed_keeps_the_process_from_no_end() -> None:
    before = set(threading.enumerate())
    running = cast(Generator[str], talk("slowly"))
    assert next(running) == "first"
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    running.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("last_words",), "the adapter is of no use"),
        (("complains",), "it went wrong"),
        (("code", "7"), "7|keeps its network"),
        (("killed", "SIGSEGV"), r"signal 11 \(SIGSEGV\)"),
        (("killed", "SIGABRT"), r"signal 6 \(SIGABRT\)"),
        (("killed", "SIGKILL"), r"signal 9 \(SIGKILL\)"),
        (("killed", "SIGRTMAX"), "signal 64"),
    ],
)
def test_a_bad_end_is_named(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(ChildFailed, match=says):
        list(talk(*words))


def test_an_exception_is_named_although_lines_came_before() -> None:
    """Its last words are on stderr; the line of progress before them says nothing."""
    with pytest.raises(ChildFailed, match="the middle is missing"):
        list(talk("raises"))


def test_a_module_that_is_not_there_is_a_bad_end() -> None:
    with pytest.raises(ChildFailed, match=r"No module named.*no_such"):
        list(talk(module="no_such.module"))


def test_lines_before_a_bad_end_arrive() -> None:
    running = talk("last_words")
    assert [next(running), next(running)] == ["working", "the adapter is of no use"]
    with pytest.raises(ChildFailed):
        next(running)


def test_a_child_that_takes_too_long_is_killed() -> None:
    started = time.monotonic()
    with pytest.raises(ChildFailed, match="longer than 2 s"):
        list(talk("slowly", timeout_s=2.0))
    assert time.monotonic() - started < 15


def test_a_talkative_child_does_not_block() -> None:
    assert list(talk("talkative")) == ["done"]


def test_bytes_that_are_no_text_do_not_block_either() -> None:
    """llama.cpp prints whatever a file holds; the reader of stderr must outlive it."""
    assert list(talk("bytes_on_stderr", timeout_s=60.0)) == ["done"]


def test_a_line_that_is_no_text_is_still_a_line() -> None:
    (line,) = talk("bytes_on_stdout")
    assert line.startswith("caf")


def test_nothing_is_left_running() -> None:
    before = set(threading.enumerate())
    list(talk("lines"))
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=10)
        assert not thread.is_alive()


def test_when_the_process_stops_every_child_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_ended", threading.Event())  # the tests' own process goes on
    running = talk("slowly")
    assert next(running) == "first"
    children.kill_all()
    with pytest.raises(ChildFailed, match="SIGKILL") as failed:
        list(running)
    assert failed.value.signal is signal.SIGKILL
