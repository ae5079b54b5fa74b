"""Stopping: what runs is finished, what is new is refused, and nothing is left behind."""

from __future__ import annotations

import fcntl
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from .premises import Premises, Served, chat, events, running, until

STREAMS = 4
LONG = 600  # tokens: two and a half seconds of four streams on the slow base


class Stream(threading.Thread):
    """One streamed answer, read to its end."""

    def __init__(self, served: Served, number: int, tokens: int) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self.id = ""
        self._client, self._body = served.client(), chat(f"stream {number}", max_tokens=tokens, stream=True)

    def run(self) -> None:
        with (
            suppress(httpx.TransportError),  # the appliance had no time left to end it
            self._client as client,
            client.stream("POST", "/v1/chat/completions", json=self._body) as response,
        ):
            self.id = response.headers["X-Request-Id"]
            for event in events(response):
                self.events.append(event)

    @property
    def spoke(self) -> bool:
        return len(self.events) > 2

    @property
    def done(self) -> bool:
        return self.events[-1] == {"done": True}

    @property
    def failure(self) -> dict[str, Any]:
        return dict(self.events[-1]["error"])


@pytest.fixture
def slow(premises: Premises, slow_base: Path) -> Premises:
    premises.model = slow_base
    premises.configure()
    return premises.seeded()


@contextmanager
def streaming(premises: Premises, tokens: int = LONG) -> Iterator[tuple[Served, list[Stream]]]:
    """An appliance with live streams, all of which have begun."""
    with running(premises) as served:
        streams = [Stream(served, number, tokens) for number in range(STREAMS)]
        for stream in streams:
            stream.start()
        until(lambda: all(stream.spoke for stream in streams), "stream that began")
        yield served, streams


def joined(streams: list[Stream]) -> None:
    for stream in streams:
        stream.join(120)
        assert not stream.is_alive()


def left_behind(premises: Premises, served: Served) -> list[str]:
    """Processes of the session that was started, and the lock."""
    session = [p for p in psutil.process_iter(["pid", "cmdline"]) if _session(p.pid) == served.process.pid]
    with (premises.home / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError when still held
    return [str(process.info) for process in session]


def _session(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except OSError:
        return 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_streams_finish_and_new_requests_are_refused(slow: Premises, number: int) -> None:
    slow.appliance["drain_seconds"] = 200
    slow.configure()
    with streaming(slow) as (served, streams), served.client() as client:
        served.signal(number)
        refusal = until(lambda: _refusal(client), "refusal")
        assert refusal.json()["error"]["code"] == "draining"
        assert int(refusal.headers["Retry-After"]) >= 1
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert any(stream.is_alive() for stream in streams)
        assert served.ended() == 0
        joined(streams)
    assert [stream.done for stream in streams] == [True] * STREAMS
    rows = {row["id"]: row for row in slow.rows("SELECT * FROM interactions")}
    assert [(rows[stream.id]["status"], rows[stream.id]["completion_tokens"]) for stream in streams] == [
        ("ok", LONG)
    ] * STREAMS
    assert left_behind(slow, served) == []


def _refusal(client: httpx.Client) -> httpx.Response | None:
    response = client.post("/v1/chat/completions", json=chat("too late", max_tokens=1))
    return response if response.status_code == 503 else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(slow: Premises, number: int) -> None:
    with streaming(slow, tokens=1500) as (served, streams):
        served.signal(number)
        until(lambda: "draining" in served.said(), "draining")
        second = time.monotonic()
        served.signal(number)
        code = served.ended()
        took = time.monotonic() - second
        joined(streams)
    if code == 0:
        failed(slow, streams)
    else:  # a machine that is too busy for a clean end
        assert code == 1 and took > 1.4
    assert left_behind(slow, served) == []


def failed(premises: Premises, streams: list[Stream]) -> None:
    """The streams ended with an error event and their rows say so, with the text so far."""
    for stream in streams:
        assert not stream.done
        assert stream.failure["code"] == "stopping"
        (row,) = premises.rows("SELECT status, error, answer FROM interactions WHERE id = ?", stream.id)
        assert row["status"] == "failed"
        assert row["error"].startswith("stopping: ")
        said = "".join(c["delta"].get("content") or "" for e in stream.events for c in e.get("choices", ()))
        assert row["answer"].startswith(said)


def test_the_drain_limit_is_kept(slow: Premises) -> None:
    slow.appliance["drain_seconds"] = 1.0
    slow.configure()
    with streaming(slow, tokens=1500) as (served, streams):
        before = time.monotonic()
        served.signal()
        code = served.ended()
        took = time.monotonic() - before
        joined(streams)
    assert code == 0
    assert took >= 1
    failed(slow, streams)


def handles_signals(served: Served) -> None:
    """Wait for the first line of this life, which follows the handlers."""
    until(lambda: "Started server" in served.said().rpartition("Finished server")[2], "line of the server")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("starts", [2, pytest.param(16, marks=pytest.mark.slow)])
def test_a_signal_at_any_moment_of_the_start(premises: Premises, number: int, starts: int) -> None:
    chance = random.Random(int(number))
    premises.seeded()
    codes = []
    for _ in range(starts):
        with premises.serve() as served:
            served.url()
            handles_signals(served)
            time.sleep(chance.uniform(0, 0.3))  # the moment of the signal
            before = time.monotonic()
            served.process.send_signal(number)
            codes.append((served.ended(), time.monotonic() - before < 20))  # a drain would be 30 s
        assert left_behind(premises, served) == []
    assert codes == [(0, True)] * starts
    assert "Traceback" not in served.log.read_text()
    assert premises.integrity() == "ok"


def test_a_signal_while_formats_are_measured(slow: Premises) -> None:
    """The children end with it, soon, and the next start decides afresh."""
    shutil.rmtree(slow.home)
    slow.base["format"] = "auto"
    slow.configure()
    with slow.serve() as served, served.client() as client:
        until(lambda: "measuring" in client.get("/ready").json()["doing"], "measurement")
        before = time.monotonic()
        served.signal()
        code = served.ended(60)
        took = time.monotonic() - before
    assert code == 0
    assert left_behind(slow, served) == []
    assert took < 20
    slow.base["format"] = "as_is"  # which is measured sooner
    slow.configure()
    with running(slow) as served:
        assert served.stop() == 0


@pytest.fixture
def notified(premises: Premises) -> Iterator[socket.socket]:
    """The socket of a systemd that watches: WatchdogSec=1."""
    path = premises.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(120)
        premises.environment |= {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        yield listening


def test_systemd_is_told(premises: Premises, notified: socket.socket) -> None:
    with premises.seeded().serve() as served:
        heard = [notified.recv(100)]
        while heard[-1] != b"READY=1":
            heard.append(notified.recv(100))
        with served.client() as client:
            assert client.get("/ready").status_code == 200
        pings = [(notified.recv(100), time.monotonic()) for _ in range(4)]
        assert {message for message, _ in pings} == {b"WATCHDOG=1"}
        assert pings[-1][1] - pings[0][1] < 15  # three periods of half a second, and not of ten
        served.signal()
        while heard[-1] != b"STOPPING=1":
            heard.append(notified.recv(100))
        assert served.ended() == 0
    assert heard.count(b"READY=1") == 1
