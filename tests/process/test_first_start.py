"""A first start that is cut short, by a kill or a full disk, leaves a home that the next start can use."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from .conftest import mounted
from .premises import Premises, descendants, starts, until

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def tampered(premises: Premises, file: str, injection: str) -> Sequence[str]:
    """In front of the command: do `injection` to system calls on this file of the home."""
    path = str(premises.home / file)
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", f"inject={injection}"]


@needs_strace
@pytest.mark.parametrize(
    ("file", "call"),
    [
        ("lock", "pwrite64"),
        ("admin.tmp", "write"),
        ("appliance.db-wal", "pwrite64"),
        ("appliance.db-wal", "fdatasync"),
    ],
)
def test_killed_at_a_system_call(premises: Premises, file: str, call: str) -> None:
    before = tampered(premises, file, f"{call}:signal=KILL:error=EINTR:when=1")
    with premises.serve("--port", "0", before=before) as served:
        assert served.ended(60) in (-signal.SIGKILL, 128 + signal.SIGKILL), served.said()
    starts(premises)
    assert premises.integrity() == "ok"
    assert premises.cohort("status").returncode == 0


def test_killed_while_it_measures(premises: Premises, measured_base: Path) -> None:
    """The child dies with its parent, and what it left half done is done again."""
    premises.model, premises.base = measured_base, {"format": "auto", "threads": 1}
    premises.configure()
    with premises.serve() as served:
        until(lambda: "as q8_0" in served.said(), "second measurement")
        children = descendants(served.pid)
        assert children
        served.signal(signal.SIGKILL)
        assert served.ended() == -signal.SIGKILL
        until(lambda: not any(psutil.pid_exists(child) for child in children), "end of the children", 60)
    assert not list(premises.home.glob("base/*/base.json"))
    starts(premises)
    (record,) = premises.home.glob("base/*/base.json")
    assert len(list(record.parent.iterdir())) <= 2


@needs_strace
def test_an_operator_who_comes_before_the_key_is_written(premises: Premises) -> None:
    before = tampered(premises, "admin.tmp", "openat:delay_enter=3s:when=1")
    with premises.serve("--port", "0", before=before) as served:
        served.url()
        early = premises.cohort("status")
        served.ready()
        assert premises.cohort("status").returncode == 0
        served.stop()
    assert "Traceback" not in early.stderr
    assert early.returncode == 0 or "may be starting for the first time" in early.stderr


def test_two_first_starts_at_once(premises: Premises) -> None:
    """One gets the home, the other says who has it."""
    with premises.serve() as one, premises.serve() as two:
        until(lambda: one.process.poll() is not None or two.process.poll() is not None, "end of one")
        loser, winner = (one, two) if one.process.poll() is not None else (two, one)
        assert loser.ended() == 1
        assert f"is in use by process {winner.process.pid} at http://127.0.0.1:" in loser.said()
        assert winner.ready().stop() == 0


@pytest.mark.parametrize("free_pages", [0, 1, 80])
@pytest.mark.parametrize("verb", [("serve", "--port", "0"), ("status",)])
def test_a_full_disk(premises: Premises, free_pages: int, verb: tuple[str, ...]) -> None:
    with mounted(premises.folder / "disk", "-o", "size=16m") as disk:
        premises.home = disk / "home"
        fill(disk / "ballast", leaving=free_pages * os.sysconf("SC_PAGE_SIZE"))
        done = premises.cohort(*verb)
        (disk / "ballast").unlink()
        starts(premises)
        assert premises.integrity() == "ok"
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "full" in done.stderr or "No space left" in done.stderr


def fill(path: Path, leaving: int) -> None:
    space = os.statvfs(path.parent)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leaving)
