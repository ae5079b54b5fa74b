"""What the confined children of the tests do: `python -m adapters.confine CPU MEMORY tests.adapters.deeds DEED`."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def limits() -> None:
    """Say what holds for this process."""
    report = {
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "expendable": int(Path("/proc/self/oom_score_adj").read_text()),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "cpu": resource.getrlimit(resource.RLIMIT_CPU),
        "memory": resource.getrlimit(resource.RLIMIT_AS),
        "arguments": sys.argv,
        "network": str(Path("/proc/self/ns/net").readlink()),
    }
    say(json.dumps(report))


def connect() -> None:
    """Reach for a port of the parent's loopback."""
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[2])), timeout=5).close()
    except OSError as error:
        say(type(error).__name__)
    else:
        say("reached")


def eat() -> None:
    """Take memory until there is none."""
    try:
        bytearray(int(sys.argv[2]))
    except MemoryError:
        say("refused")


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    say(os.getpid())
    time.sleep(60)


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def parent() -> None:
    """Start a confined sleeper, pass its id on, and be killed."""
    import subprocess

    command = [sys.executable, "-m", "adapters.confine", "60", str(1 << 30), __spec__.name, "sleep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        say(child.stdout.readline().strip())
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    {deed.__name__: deed for deed in (limits, connect, eat, spin, sleep, crash, parent)}[sys.argv[1]]()
