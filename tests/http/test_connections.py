"""Connections that dawdle, stop half way or say two things at once: they end, and nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from appliance import serve
from appliance.config import Appliance
from tests.http.raw import connect, exchange, head, read, request_of
from tests.http.running import Json, Running, chat, until

CHAT = "/v1/chat/completions"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SCRIPT = b"GET /static-offline-docs/redoc.standalone.js HTTP/1.1\r\nHost: localhost\r\n\r\n"  # about a megabyte
LONG: Json = chat(max_tokens=60_000, ignore_eos=True)
QUESTION = json.dumps(chat(max_tokens=1)).encode()
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def key(busy: Running) -> Iterator[str]:
    yield busy.key(name="dawdler")
    until(busy.idle)


def status_of(busy: Running, key: str) -> str:
    """Of the key's newest row; empty while there is none."""
    rows = busy.rows("SELECT status FROM interactions WHERE key_id = ? ORDER BY seq DESC", key.split("_")[1])
    return str(rows[0]["status"]) if rows else ""


def ended(connection: socket.socket) -> bool:
    """By the other side. What it had sent before is read and dropped."""
    connection.settimeout(0.01)
    try:
        while connection.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def held(connection: socket.socket) -> bool:
    """The appliance, which runs in this process, has its end of it open."""
    return any(other.raddr == connection.getsockname() for other in psutil.Process().net_connections())


def chunks(body: bytes, size: int) -> bytes:
    """In the chunked coding, without its end."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts)


# Requests that never get whole.


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /heal",
        b"GET /health HTTP/1.1\r\nHost: local",
        head("Content-Length: 100") + b"{",
        head(CHUNKED) + b"5\r\n{    \r\n",
        head("Content-Length: 100000000") + b"{",  # refused at once, and the rest never comes
    ],
)
def test_a_request_that_does_not_arrive_is_let_go(
    served: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("appliance.http.connection.ARRIVAL_SECONDS", 0.2)
    with connect(served) as connection:
        connection.sendall(sent)
        until(lambda: ended(connection))


@pytest.mark.parametrize("begun", [b"GET /health HTTP/1.1\r\nX: ", head("Content-Length: 100000000")])
def test_dribbling_does_not_prolong_it(served: Running, monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr("appliance.http.connection.ARRIVAL_SECONDS", 0.3)
    with connect(served) as connection:
        connection.sendall(begun)

        def dribble() -> bool:
            try:
                connection.sendall(b"x")
            except ConnectionError:
                return True
            return ended(connection)

        until(dribble)


def test_hundreds_that_do_not_arrive_keep_nobody_waiting(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        with monkeypatch.context() as patched:
            patched.setattr("appliance.http.connection.ARRIVAL_SECONDS", 2)
            slow = [stack.enter_context(connect(served)) for _ in range(200)]
            for connection in slow:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: local")
            until(lambda: held(slow[-1]) or ended(slow[-1]))
        with served.http() as client:
            assert client.post(CHAT, json=chat(max_tokens=1)).status_code == 200
        until(lambda: all(ended(connection) for connection in slow))


def test_many_bodies_that_do_not_end_are_refused_together(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has looked at a key yet: what has come of them may not fill the memory."""
    monkeypatch.setattr("appliance.http.edge.ARRIVING", 0)
    room = served.box.config.appliance.max_body_bytes
    with ExitStack() as stack:
        half = [stack.enter_context(connect(served)) for _ in range(3)]
        for connection in half:
            connection.sendall(head(f"Content-Length: {room}") + b" " * (room // 2))
        until(lambda: any(ended(connection) for connection in half))
        with served.http() as client:
            assert client.post(CHAT, json=chat(max_tokens=1)).status_code == 200


def test_a_body_that_takes_too_long_is_told_so(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.http.edge.BODY_SECONDS", 0.2)
    answer = exchange(served, head("Content-Length: 100") + b"{")
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["code"] == "body_timeout"


@pytest.mark.parametrize("framing", ["Content-Length: 9999", CHUNKED])
def test_a_body_cut_in_the_middle_is_no_request(busy: Running, key: str, framing: str) -> None:
    """Even if what came is a whole question by itself."""
    body = chunks(QUESTION, 1000) if framing == CHUNKED else QUESTION
    before = gone(busy)
    with connect(busy) as connection:
        connection.sendall(head(framing, f"Authorization: Bearer {key}") + body)
    until(lambda: gone(busy) == before + 1)
    assert status_of(busy, key) == ""


def gone(busy: Running) -> float:
    with busy.http() as client:
        lines = client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith('cohort_errors_total{code="client_gone"}')]
    return sum(float(line.split()[-1]) for line in counted)


# Requests that get whole in unusual ways.


def test_a_request_byte_by_byte_is_answered(served: Running) -> None:
    with connect(served) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in head(f"Content-Length: {len(QUESTION)}") + QUESTION:
            connection.sendall(bytes([byte]))
        assert read(connection).status == 200


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"000;name=value\r\nX-Trailer: 1\r\n\r\n"])
def test_a_chunked_body_is_answered(served: Running, size: int, end: bytes) -> None:
    assert exchange(served, head(CHUNKED) + chunks(QUESTION, size) + end).status == 200


def test_a_client_that_waits_for_leave_to_send_gets_it(served: Running) -> None:
    with connect(served) as connection:
        connection.sendall(head(f"Content-Length: {len(QUESTION)}", "Expect: 100-continue"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(QUESTION)
        assert read(connection).status == 200


@pytest.mark.parametrize(
    "lines",
    [("Content-Length: 5", CHUNKED), (CHUNKED, "Content-Length: 5"), ("Transfer-Encoding: gzip, chunked",)],
)
def test_a_body_framed_in_two_ways_is_refused_and_nothing_behind_it_read(
    served: Running, lines: tuple[str, ...]
) -> None:
    """A proxy that believes the other header would take what follows for part of the body, or the reverse."""
    start = b"\r\n".join([b"POST /v1/feedback HTTP/1.1", b"Host: localhost", b"Content-Type: application/json"])
    request = start + b"".join(b"\r\n" + line.encode() for line in lines) + b"\r\n\r\n0\r\n\r\n" + LAST
    with connect(served) as connection:
        connection.sendall(request)
        answer = read(connection)
    assert answer.status in (400, 501)
    assert b"200 OK" not in answer.body


def test_requests_behind_each_other_are_answered_in_order(served: Running) -> None:
    question = request_of(CHAT, chat(max_tokens=2))
    with connect(served) as connection:
        connection.sendall(GET + question + GET + question + LAST)
        answer = read(connection)
    assert answer.status == 200
    kinds = [b"chat.completion" in part for part in answer.body.split(b"HTTP/1.1 200 OK")]
    assert kinds == [False, True, False, True, False]


# Clients that go, and readers that do not read.


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_ends_its_side_is_gone(busy: Running, key: str, stream: bool, how: int) -> None:
    """One that only stops sending looks like one that left: neither is answered to the end."""
    with connect(busy) as connection:
        connection.sendall(request_of(CHAT, {**LONG, "stream": stream}, key))
        until(lambda: busy.lane()["running"] == 1)
        connection.shutdown(how)
        until(busy.idle)
        assert until(lambda: status_of(busy, key)) == "cancelled"
        assert b"[DONE]" not in read(connection).body


@pytest.mark.parametrize("behind", [b"\r\n", GET])
def test_a_client_that_goes_with_more_behind_its_question(busy: Running, key: str, behind: bytes) -> None:
    connection = connect(busy)
    connection.sendall(request_of(CHAT, LONG, key))
    until(lambda: busy.lane()["running"] == 1)
    connection.sendall(behind)
    time.sleep(0.05)
    connection.close()
    until(busy.idle)
    assert until(lambda: status_of(busy, key)) == "cancelled"


@pytest.mark.parametrize("taken", [0, 10])
def test_a_reader_that_takes_next_to_nothing_is_let_go(
    served: Running, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Of replies that are no streams, too; another client is served meanwhile."""
    monkeypatch.setattr("appliance.http.connection.SEND_SECONDS", 0.5)
    with connect(served, receive_buffer=4096) as stalled:
        stalled.sendall(SCRIPT * 20)
        assert stalled.recv(1, socket.MSG_PEEK)
        with served.http() as client:
            while held(stalled):
                assert len(stalled.recv(taken)) == taken
                assert client.get("/health").status_code == 200


def test_what_nobody_takes_is_dropped_by_the_system() -> None:
    """A reply small enough to leave to the system may be left untaken, too."""
    with serve._listen(Appliance(port=0)) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == serve.UNTAKEN_SECONDS * 1000
