"""Clients that go, stall or lose patience: the slot is free again, and the log says what happened."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

from tests.http.raw import connect, request_of, reset
from tests.http.running import Json, Running, chat, until

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
NEWEST = "SELECT * FROM interactions WHERE key_id = ? ORDER BY seq DESC LIMIT 1"
CANCELLED = "SELECT count(*) AS n FROM interactions WHERE key_id = ? AND status = 'cancelled'"
LONG_ANSWER = chat(max_tokens=60_000, ignore_eos=True)
LONG_PROMPT: Json = {"model": "base", "prompt": [70, 80, 90] * 20_000, "max_tokens": 100, "ignore_eos": True}
CLOSE: dict[str, Callable[[socket.socket], None]] = {"fin": socket.socket.close, "rst": reset}


@pytest.fixture
def keys(busy: Running) -> Iterator[list[str]]:
    """Each may have one request at a time, so a test has one for every request it holds."""
    yield [busy.key(name=f"client {i}") for i in range(6)]
    until(busy.idle)


def newest(busy: Running, key: str) -> Json:
    """The last row of a key."""
    found = busy.rows(NEWEST, key.split("_")[1])
    return found[0] if found else {}


@pytest.mark.parametrize("how", CLOSE)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_while_it_is_answered(busy: Running, keys: list[str], stream: bool, how: str) -> None:
    connection = connect(busy)
    connection.sendall(request_of(CHAT, {**LONG_ANSWER, "stream": stream}, keys[0]))
    until(lambda: busy.lane()["running"] == 1)
    if stream:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    CLOSE[how](connection)
    until(lambda: busy.lane()["running"] == 0)
    row = until(lambda: newest(busy, keys[0]))
    assert (row["status"], row["finish_reason"], row["error"]) == ("cancelled", None, None)
    assert row["completion_tokens"] < 60_000
    if stream:
        assert row["answer"] and row["completion_tokens"] > 0


@pytest.mark.parametrize("how", CLOSE)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_while_its_prompt_is_read(busy: Running, keys: list[str], stream: bool, how: str) -> None:
    connection = connect(busy)
    connection.sendall(request_of(COMPLETIONS, {**LONG_PROMPT, "stream": stream}, keys[0]))
    until(lambda: busy.lane()["running"] == 1)
    CLOSE[how](connection)
    until(lambda: busy.lane()["running"] == 0)
    row = until(lambda: newest(busy, keys[0]))
    assert (row["status"], row["ttft_ms"], row["completion_tokens"]) == ("cancelled", None, 0)
    assert row["prompt_tokens"] == 60_000


def fill(busy: Running, keys: list[str], holding: ExitStack) -> None:
    """Two answers that run for long."""
    for key in keys[:2]:
        client = holding.enter_context(busy.http(key))
        holding.enter_context(client.stream("POST", CHAT, json={**LONG_ANSWER, "stream": True}))


def wait_in_line(busy: Running, key: str, stack: ExitStack, number: int) -> socket.socket:
    connection = stack.enter_context(connect(busy))
    connection.sendall(request_of(CHAT, chat(), key))
    until(lambda: busy.lane()["waiting"] == number)
    return connection


def test_a_client_that_goes_while_it_waits(busy: Running, keys: list[str]) -> None:
    with ExitStack() as stack:
        fill(busy, keys, stack)
        connection = wait_in_line(busy, keys[2], stack, 1)
        connection.close()
        until(lambda: busy.lane()["waiting"] == 0)
        row = until(lambda: newest(busy, keys[2]))
        assert (row["status"], row["completion_tokens"], row["queue_ms"]) == ("cancelled", 0, None)
        assert busy.lane()["running"] == 2


def test_a_full_queue_refuses_at_once(busy: Running, keys: list[str]) -> None:
    """With an honest Retry-After; what the engine refuses is a row, too."""
    with ExitStack() as stack:
        fill(busy, keys, stack)
        for number, key in enumerate(keys[2:5], start=1):
            wait_in_line(busy, key, stack, number)
        with busy.http(keys[5]) as client:
            refusals = [client.post(CHAT, json=chat(stream=stream)) for stream in (False, True)]
        for reply in refusals:
            assert reply.status_code == 503
            assert reply.json()["error"]["code"] == "overloaded"
            assert 1 <= int(reply.headers["retry-after"]) <= 120
        refused = busy.rows("SELECT * FROM interactions WHERE key_id = ?", keys[5].split("_")[1])
        assert [(row["status"], row["error"].partition(":")[0], row["answer"]) for row in refused] == [
            ("failed", "overloaded", "")
        ] * 2
        assert busy.operated("GET", "/status")["waiting_requests"] == 3


def test_a_full_queue_is_said_before_anything_is_decided(busy: Running, keys: list[str]) -> None:
    """The base must not be decided on, or refused to a key that lacks it, because nobody read the text."""
    narrow = busy.key(cohorts=["finance"])
    with ExitStack() as stack:
        fill(busy, keys, stack)
        for number, key in enumerate(keys[2:5], start=1):
            wait_in_line(busy, key, stack, number)
        for key in (narrow, keys[5]):
            with busy.http(key) as client:
                reply = client.post(CHAT, json=chat(model="auto"))
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "overloaded")
            assert 1 <= int(reply.headers["retry-after"]) <= 120
            assert "x-cohort" not in reply.headers and newest(busy, key) == {}
    until(busy.idle)
    with busy.http(narrow) as client:
        assert client.post(CHAT, json=chat(model="auto")).status_code == 403, "there is room, and no base for it"


def test_those_who_wait_are_served_when_there_is_room(busy: Running, keys: list[str]) -> None:
    with ExitStack() as waiting:
        with ExitStack() as stack:
            fill(busy, keys, stack)
            connection = wait_in_line(busy, keys[2], waiting, 1)
        until(lambda: newest(busy, keys[2]))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_deadline_while_answering(busy: Running, keys: list[str]) -> None:
    with busy.http(keys[0]) as client:
        reply = client.post(CHAT, json=LONG_ANSWER, headers={"X-Request-Timeout": "0.3"})
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "deadline_exceeded"
    assert busy.lane()["running"] == 0
    row = newest(busy, keys[0])
    assert (row["status"], row["error"].partition(":")[0]) == ("failed", "deadline_exceeded")
    assert 300 <= row["total_ms"] < 20_000


def test_a_deadline_while_waiting(busy: Running, keys: list[str]) -> None:
    with ExitStack() as stack:
        fill(busy, keys, stack)
        with busy.http(keys[2]) as client:
            reply = client.post(CHAT, json=chat(), headers={"X-Request-Timeout": "0.2"})
        assert reply.status_code == 504
        assert busy.lane() == {"release": "base", "running": 2, "waiting": 0}
        assert newest(busy, keys[2])["completion_tokens"] == 0


def test_a_reader_that_takes_nothing_loses_its_slot(
    busy: Running, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its limit is shortened, nothing else; another client's stream goes on meanwhile."""
    monkeypatch.setattr("appliance.http.connection.SEND_SECONDS", 1)
    ask = {**LONG_ANSWER, "stream": True, "logprobs": True, "top_logprobs": 20}
    with connect(busy, receive_buffer=4096) as stalled, busy.http(keys[1]) as client:
        stalled.sendall(request_of(CHAT, ask, keys[0]))
        assert client.post(CHAT, json=chat(max_tokens=200)).status_code == 200
        until(busy.idle)
        row = until(lambda: newest(busy, keys[0]))
    assert row["status"] == "cancelled"
    assert 0 < row["completion_tokens"] < 60_000


def test_many_that_go_leave_no_slot_taken(busy: Running, keys: list[str]) -> None:
    def cancelled() -> int:
        return sum(int(busy.rows(CANCELLED, key.split("_")[1])[0]["n"]) for key in keys)

    for number in range(400):  # on a slow machine most go before their request is read, and leave no row
        if number >= 40 and cancelled() > 20:
            break
        ask, patience = {**LONG_ANSWER, "stream": number % 3 > 0}, 0.02 * (number % 5 + 1)
        with (
            busy.http(keys[number % 6]) as client,
            suppress(httpx.TimeoutException),
            client.stream("POST", CHAT, json=ask, timeout=patience),
        ):
            pass
        until(busy.idle)
    room = busy.operated("GET", "/status")
    assert (room["waiting_requests"], room["waiting_tokens"]) == (0, 0)
    assert cancelled() > 20
