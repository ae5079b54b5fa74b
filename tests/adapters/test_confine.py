"""A confined child can do no harm: not to the machine's time and memory, not over the network, not after us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

DEEDS = "tests.adapters.deeds"
MEMORY = 1 << 30
KEEPS_NETWORK = "keeps its network"


def confined(*deed: str, cpu: int = 20, memory: int = MEMORY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "adapters.confine", str(cpu), str(memory), DEEDS, *deed]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    done = confined("limits", "one", "two words")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_is_niced(facts: dict[str, Any]) -> None:
    assert facts["nice"] == 19


def test_it_goes_first_when_memory_runs_out(facts: dict[str, Any]) -> None:
    assert facts["expendable"] == 1000


def test_it_is_bounded(facts: dict[str, Any]) -> None:
    assert facts["core"] == [0, 0]
    assert facts["cpu"] == [20, 20]
    assert facts["memory"] == [MEMORY, MEMORY]


def test_the_module_sees_its_arguments_as_if_run_alone(facts: dict[str, Any]) -> None:
    assert facts["arguments"][1:] == ["limits", "one", "two words"]


def test_it_cannot_reach_the_parents_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = confined("connect", str(port))
        if KEEPS_NETWORK in done.stderr:
            pytest.skip("the system allows no network namespace; the child said so")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "OSError"  # not ConnectionRefusedError: there is nothing to ask


def test_a_child_that_keeps_its_network_says_so() -> None:
    done = confined("limits")
    kept = json.loads(done.stdout)["network"] == str(Path("/proc/self/ns/net").readlink())
    assert kept == (KEEPS_NETWORK in done.stderr)


def test_without_root_too() -> None:
    """Then the namespace needs a user namespace of its own, where the system allows one."""
    if os.geteuid() != 0:
        pytest.skip("already without root")
    if not os.access("/proc/self/exe", os.X_OK):
        pytest.skip("this Python cannot be run by others")
    command = [sys.executable, "-m", "adapters.confine", "20", str(MEMORY), DEEDS, "limits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, user=65534, group=65534)
    except PermissionError:
        pytest.skip("another user cannot run this Python")
    if done.returncode != 0 and "Permission denied" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout)["network"] == str(Path("/proc/self/ns/net").readlink())
    assert kept == (KEEPS_NETWORK in done.stderr)


def test_memory_beyond_the_limit_is_not_given() -> None:
    assert confined("eat", str(2 * MEMORY)).stdout.strip() == "refused"


def test_processor_time_beyond_the_limit_ends_it() -> None:
    started = time.monotonic()
    assert confined("spin", cpu=1).returncode in (-signal.SIGKILL, -signal.SIGXCPU)
    assert time.monotonic() - started < 200  # of a niced child


def test_a_crash_is_an_exit_code_and_leaves_no_core() -> None:
    assert confined("crash").returncode == -signal.SIGSEGV


def test_it_dies_with_its_parent() -> None:
    done = subprocess.run([sys.executable, "-m", DEEDS, "parent"], capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL
    orphan = int(done.stdout)
    deadline = time.monotonic() + 10
    while _lives(orphan):
        assert time.monotonic() < deadline, f"process {orphan} outlived its parent"
        time.sleep(0.02)


def test_a_module_that_is_not_there_fails() -> None:
    command = [sys.executable, "-m", "adapters.confine", "20", str(MEMORY), "no.such.module"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "No module named" in done.stderr


def _lives(pid: int) -> bool:
    """Running, and not a zombie that its new parent has yet to bury."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
