"""The console in a real terminal, used as a person would: keys sent with tmux, and what is then to be seen."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.http.learnable import SETTINGS, material, text
from tests.http.routed import written
from tests.http.running import Running, chat, running

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 400.0  # a training is among what is waited for, and may have only the time that other tests leave it
TABS = ("1 Live", "2 Cohorts", "3 Routes", "4 Interactions", "5 Jobs", "6 System")

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is missing: apt-get install tmux")


class Terminal:
    """One pane of a tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str, check: bool = True) -> str:
        # Without the variables of a terminal that the tests themselves may run in, or that a picture of one left.
        alien = ("TMUX", "COLUMNS", "LINES")
        own = {name: value for name, value in os.environ.items() if not name.startswith(alien)}
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
        return subprocess.run(
            command, check=check, capture_output=True, text=True, env={**own, "LC_ALL": "C.UTF-8"}
        ).stdout

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def press_until(self, key: str, wanted: str) -> None:
        """Again and again: where the keys go is not to be seen."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and wanted not in self.screen():
            self.press(key)
            time.sleep(2.0)
        self.sees(wanted)

    def type(self, words: str) -> None:
        self.tmux("send-keys", "-l", words)

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", check=False)

    def sees(self, *wanted: str, without: str = "no such thing") -> None:
        """Wait until all of it is there, as a person would before the next key."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            shown = self.screen()
            if all(one in shown for one in wanted) and without not in shown:
                return
            time.sleep(0.1)
        missing = [one for one in wanted if one not in shown]
        raise AssertionError(f"{missing} not seen, or {without!r} is, in\n{shown}")

    def gone(self) -> bool:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            if not self.tmux("list-panes", check=False):
                return True
            time.sleep(0.1)
        return False


@contextmanager
def console(folder: Path, appliance: Running, width: int, height: int) -> Iterator[Terminal]:
    """`cohort tui`, open in a terminal of that size."""
    terminal = Terminal(folder / "tmux")
    command = shlex.join([sys.executable, "-m", "appliance.cli.main", "tui", "--url", appliance.url])
    given = [f"COHORT_KEY={appliance.admin}", f"PYTHONPATH={ROOT}", "TERM=xterm-256color", "TEXTUAL_ANIMATIONS=none"]
    size = ("-x", str(width), "-y", str(height))
    variables = [word for one in given for word in ("-e", one)]
    terminal.tmux("new-session", "-d", *size, "-c", str(ROOT), *variables, command)
    try:
        yield terminal
    finally:
        terminal.tmux("kill-server", check=False)


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    """Three requests are logged, and legal can be trained."""
    folder = tmp_path_factory.mktemp("terminal")
    for (cohort, split), lines in material().items():
        written(folder / "examples" / cohort / f"{split}.jsonl", lines)
    with running(folder, tiny_base, SETTINGS) as served:
        with served.http() as client:
            for number in range(3):
                asked = chat(text(number), model="support", metadata={"matter": f"lease {number}"})
                client.post("/v1/chat/completions", json=asked).raise_for_status()
        yield served


def test_a_person_walks_through_all_screens(appliance: Running, tmp_path: Path) -> None:
    with console(tmp_path, appliance, 80, 24) as terminal:
        terminal.sees("● " + appliance.url, "support", *TABS)
        terminal.press("2")
        terminal.sees("Tests of legal", "train it: t", "⏎ Open", "jk Move", "tab Next", "/ Find", "q Quit")
        terminal.press("3")
        terminal.sees("try a prompt", "t Try a prompt", "jk Move")
        terminal.press("t")
        terminal.sees("try a prompt", without="jk Move")  # the keys are the line's now
        terminal.type("vertical=legal may we sublet?")
        terminal.press("Enter")
        terminal.sees("legal, answered by base; layer metadata", "vertical legal\n")
        terminal.press("4")
        terminal.sees("3 requests", "support", "⏎ Open", "c Fix", "w Where")
        terminal.press("+")
        terminal.sees("rating 1")
        terminal.press("Enter")
        terminal.sees("Request req_", "matter lease 1", "esc Back")
        terminal.press("p")
        terminal.sees("+ good", "matter lease 2")
        terminal.press("Escape")
        terminal.sees("3 requests", *TABS)
        terminal.press("5")
        terminal.sees("none yet")
        terminal.press("6")
        terminal.sees("versions", "python", "database")
        terminal.press("?")
        terminal.sees("to 6           Live, Cohorts")
        terminal.press("Escape")
        terminal.sees("versions", without="to 6  ")
        terminal.press("q")
        assert terminal.gone()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_person_retrains_and_promotes(appliance: Running, tmp_path: Path) -> None:
    with console(tmp_path, appliance, 140, 60) as terminal:
        terminal.sees("● " + appliance.url)
        terminal.tmux("resize-window", "-x", "141", "-y", "61")  # once it believed 80 columns of 24 lines
        terminal.press("5")
        terminal.sees("none yet", "t Train")
        terminal.press("t")
        terminal.sees("of which cohort?", "legal")
        terminal.press("Enter")
        terminal.sees("Retrain legal on its own rows", "At most so many minutes")
        terminal.type("6")
        terminal.press_until("Enter", "if it passes the gate?")  # from field to field, and on
        terminal.press("Enter")
        terminal.sees("legal: pass, release legal@1", "gain, points")  # checks and log may be further down
        terminal.press("2")
        terminal.sees("judge @1: p, or Enter")
        terminal.press("p")
        terminal.sees("legal@1 goes live", "the base.", "Type legal")
        terminal.type("legl")
        terminal.press("Enter")
        terminal.sees("that is not legal")
        terminal.press("BSpace")
        terminal.type("al")
        terminal.press("Enter")
        terminal.sees("legal: legal@1 is live")
        terminal.press("Enter")
        terminal.sees("Cohort legal", "● live", "begun from the base", "64 rows")
        terminal.tmux("resize-window", "-x", "80", "-y", "24")
        terminal.sees("Cohort legal", "● live", "esc Back")
