from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import HomeInUse, SetupError
from appliance.store.home import Home, Owner

HOLD = """
import sys, time
from pathlib import Path
from appliance.store.home import Home
Home(Path(sys.argv[1])).lock("http://127.0.0.1:8080")
print("locked", flush=True)
time.sleep(60)
"""


def test_the_tree_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "home")
    for folder in (home.path, home.releases, home.base, home.jobs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert home.database == home.path / "appliance.db"
    (home.releases / "kept").touch()
    assert (Home(home.path).releases / "kept").exists()


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(SetupError, match=r"home cannot be made a folder \(File exists\): set COHORT_HOME"):
        Home(tmp_path / "home")
    with pytest.raises(SetupError, match=r"Not a directory.*set COHORT_HOME"):
        Home(tmp_path / "home" / "below")


def test_an_unwritable_home(small_disk: Path) -> None:
    Home(small_disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(SetupError, match="is not writable for this user: run this as the user that the folder"):
        Home(small_disk / "home")
    with pytest.raises(SetupError, match=r"Read-only file system.*set COHORT_HOME"):
        Home(small_disk / "other")


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    assert second.owner() is None
    first.lock("http://127.0.0.1:8080")
    assert second.owner() == Owner(os.getpid(), "http://127.0.0.1:8080")
    with pytest.raises(
        HomeInUse, match=rf"process {os.getpid()} at http://127.0.0.1:8080: stop .* or set COHORT_HOME"
    ):
        second.lock("http://127.0.0.1:9090")
    first.close()
    assert second.owner() is None
    second.lock("http://127.0.0.1:9")
    assert first.owner() == Owner(os.getpid(), "http://127.0.0.1:9")
    second.close()


def test_two_homes_do_not_meet(tmp_path: Path) -> None:
    one, two = Home(tmp_path / "one"), Home(tmp_path / "two")
    one.lock("http://127.0.0.1:1")
    two.lock("http://127.0.0.1:2")
    assert one.owner() == Owner(os.getpid(), "http://127.0.0.1:1")
    assert two.owner() == Owner(os.getpid(), "http://127.0.0.1:2")
    one.close()
    assert one.owner() is None
    assert two.owner() == Owner(os.getpid(), "http://127.0.0.1:2")
    two.close()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the home."""
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_the_lock_ends_with_its_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    home = Home(tmp_path)
    assert home.owner() == Owner(holder.pid, "http://127.0.0.1:8080")
    with pytest.raises(HomeInUse, match=str(holder.pid)):
        home.lock("http://127.0.0.1:9090")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert home.owner() is None
    home.lock("http://127.0.0.1:9090")
    home.close()


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.lock("")
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        home.close()
        assert home.owner() is None
        child.kill()


def test_an_owner_that_has_not_said_who_it_is(tmp_path: Path) -> None:
    first, second = Home(tmp_path), Home(tmp_path)
    first.lock("")
    (tmp_path / "lock").write_text("")
    assert second.owner() == Owner()
    first.close()
