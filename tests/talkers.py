"""What the children of test_children do: one talk each, `python -m tests.talkers NAME [ARGUMENT ...]`."""

from __future__ import annotations

import os
import signal
import sys
import time


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def lines() -> int:
    for n in range(3):
        say(f"line {n}")
    return 0


def slowly() -> int:
    """A line, then a long silence."""
    say("first")
    time.sleep(60)
    return 0


def arguments() -> int:
    for given in sys.argv[2:]:
        say(given)
    return 0


def code() -> int:
    return int(sys.argv[2])


def last_words() -> int:
    say("working")
    say("the adapter is of no use")
    return 1


def complains() -> int:
    sys.stderr.write("it went wrong\n")
    return 3


def raises() -> int:
    say('{"progress": 0.5}')
    raise ValueError("the middle is missing")


def killed() -> int:
    say("working")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    return 0


def talkative() -> int:
    """More on stderr than a pipe holds, before the answer."""
    for _ in range(20_000):
        sys.stderr.write("x" * 99 + "\n")
    say("done")
    return 0


def bytes_on_stderr() -> int:
    """What no UTF-8 reader takes, then more than a pipe holds."""
    sys.stderr.buffer.write(b"\xff\xfe\n" + b"x" * (1 << 20) + b"\n")
    sys.stderr.flush()
    say("done")
    return 0


def bytes_on_stdout() -> int:
    sys.stdout.buffer.write(b"caf\xe9\n")
    return 0


if __name__ == "__main__":
    talks = (lines, slowly, arguments, code, last_words, complains, raises, killed, talkative)
    sys.exit({talk.__name__: talk for talk in (*talks, bytes_on_stderr, bytes_on_stdout)}[sys.argv[1]]())
