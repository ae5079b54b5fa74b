"""Short jobs in processes of their own, confined (`adapters.confine`), talking in lines on stdout."""

from __future__ import annotations

import json
import logging
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger(__name__)
_running: set[subprocess.Popen[str]] = set()
_ended = threading.Event()
_MISSING = re.compile(r"No module named '([\w.]+)'")  # in Python's own words


class ChildFailed(Exception):
    """The child did not end well; the message is its last words, or how it died. `signal`: what ended it;
    `lacks`: the package that it wanted and that is not installed."""

    def __init__(self, message: str, *, signal: signal.Signals | None = None) -> None:
        super().__init__(message)
        self.signal = signal
        missing = _MISSING.search(message)
        self.lacks = missing[1] if missing else None


class Cancellation:
    """Ends a child from any thread, and one that is not there yet as soon as it is."""

    def __init__(self) -> None:
        self.cancelled = False
        self._child: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def hold(self, child: subprocess.Popen[str]) -> None:
        with self._lock:
            self._child = child
            if self.cancelled:
                child.kill()

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._child is not None:
                self._child.kill()


def run(
    module: str,
    *arguments: str,
    cpu_seconds: int,
    memory_bytes: int,
    timeout_s: float,
    cancellation: Cancellation | None = None,
) -> Generator[str, None, None]:
    """Yield the child's lines as they come. Raises ChildFailed when it fails, dies or outlives its time.

    Closing the iterator, or cancelling, kills the child.
    """
    if _ended.is_set():
        raise ChildFailed("the appliance is stopping")
    command = [sys.executable, "-m", "adapters.confine", str(cpu_seconds), str(memory_bytes), module, *arguments]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
        ) as child,
        _reading(child) as complaints,
        _alive(child, timeout_s) as overdue,
    ):
        if cancellation is not None:
            cancellation.hold(child)
        last = ""
        assert child.stdout is not None  # noqa: S101 - asked for above
        for line in child.stdout:
            last = line.strip()
            yield last
        code = child.wait()
    if overdue.is_set():
        raise ChildFailed(f"it took longer than {timeout_s:.0f} s")
    if cancellation is not None and cancellation.cancelled:
        raise ChildFailed("it was cancelled")
    if code < 0:
        killed = signal.Signals(-code)
        raise ChildFailed(f"it was ended by signal {-code} ({killed.name})", signal=killed)
    for complaint in complaints:
        _log.warning("%s: %s", module, complaint.strip())
    if code > 0:
        said = ["" if last.startswith("{") else last, complaints[-1].strip() if complaints else ""]  # JSON: progress
        raise ChildFailed("; ".join(filter(None, said)) or f"it ended with code {code}")


def parse_line(line: str) -> dict[str, Any]:
    """A child's line as JSON: progress or result. Empty for what some library prints."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def kill_all() -> None:
    """End every child now and start no more: the process is stopping and nobody waits for their results."""
    _ended.set()
    for child in list(_running):
        child.kill()


@contextmanager
def _alive(child: subprocess.Popen[str], timeout_s: float) -> Iterator[threading.Event]:
    """Know the child while it runs; the event is set when it had to be killed for its time."""
    overdue = threading.Event()

    def kill() -> None:
        overdue.set()
        child.kill()

    timer = threading.Timer(timeout_s, kill)
    timer.daemon = True  # of a child that nobody closed: the process may end before
    timer.start()
    _running.add(child)
    try:
        yield overdue
    finally:
        _running.discard(child)
        timer.cancel()
        if child.poll() is None:
            child.kill()


@contextmanager
def _reading(child: subprocess.Popen[str]) -> Iterator[list[str]]:
    """Drain stderr beside stdout, so that a talkative child never blocks."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(child.stderr or ()), daemon=True)
    reader.start()
    try:
        yield lines
    finally:
        reader.join(timeout=5)
