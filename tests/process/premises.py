"""A home and a configuration of their own, the command run on them, and the appliance as a process."""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import httpx
import psutil

from tests.prepared import seed

T = TypeVar("T")
Completed: TypeAlias = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parent.parent.parent
COHORT = (sys.executable, "-m", "appliance.cli.main")
LOOPBACK = "127.0.0.1"
HANGS = 300.0  # seconds that nothing takes, however slow and busy the machine
Values = Mapping[str, object]


def until(condition: Callable[[], T | None], what: str, seconds: float = HANGS) -> T:
    """The first thing `condition` gives that is true. Fails when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"after {seconds:g} s there is no {what}")


@dataclass
class Premises:
    """`appliance` and `base` are what those sections of cohorts.toml hold; `longest` is how many tokens of an answer
    to a pattern its commands wait for, where the tiny model would never end one."""

    folder: Path
    model: Path | None
    appliance: dict[str, object] = field(default_factory=dict)
    base: dict[str, object] = field(default_factory=lambda: {"format": "as_is", "threads": 1})
    cohorts: Sequence[str] = ("legal", "finance", "support")
    environment: dict[str, str] = field(default_factory=dict)
    longest: int | None = None

    def __post_init__(self) -> None:
        self.home = self.folder / "home"
        self.config = self.folder / "cohorts.toml"
        self.configure()

    def seeded(self) -> Premises:
        """Its base is known already."""
        assert self.model is not None
        seed(self.home, self.model)
        return self

    @property
    def database(self) -> Path:
        return self.home / "appliance.db"

    def configure(self) -> None:
        """Write the configuration as the fields say now."""
        base = self.base | ({"path": str(self.model)} if self.model else {})
        parts = [_section("appliance", self.appliance), _section("base", base)]
        for name in self.cohorts:
            values = {"description": f"about {name}", "owner": f"{name}@example.org"}
            parts.append(_section(f"cohorts.{name}", values))
        self.config.write_text("\n".join(parts), encoding="utf-8")

    def environ(self) -> dict[str, str]:
        own = {"COHORT_HOME": str(self.home), "COHORT_CONFIG": str(self.config), "COLUMNS": "200"}
        return {**os.environ, **own, **self.environment}

    def cohort(self, *arguments: str, seconds: float = 2 * HANGS) -> Completed:
        """Run the command to its end, in a process that has imported it before, but in an environment of its own."""
        if not self.environment:
            return forked(arguments, self.environ(), self.folder, seconds, self.longest)
        return self.afresh(*arguments, seconds=seconds)

    def afresh(self, *arguments: str, seconds: float = 2 * HANGS) -> Completed:
        """The same in a process of its own, as it is typed."""
        return subprocess.run(
            [*COHORT, *arguments],
            env=self.environ(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def serve(self, *arguments: str, before: Sequence[str] = ()) -> Served:
        """Start the appliance on a free port; `before` goes in front of the command (strace, unshare)."""
        log = self.folder / "serve.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*before, *COHORT, "serve", *(arguments or ("--port", "0"))],
                env=self.environ(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return Served(process, log, self.home)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a read-only stranger reads from the database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def integrity(self) -> str:
        return str(self.rows("PRAGMA integrity_check")[0]["integrity_check"])

    def admin(self) -> dict[str, str]:
        """The headers of an operator."""
        return {"Authorization": f"Bearer {(self.home / 'admin.key').read_text().strip()}"}


_one_at_a_time = threading.Lock()


@functools.cache
def _commands() -> subprocess.Popen[str]:
    """Of this process, and ended with it."""
    helper = subprocess.Popen(
        [sys.executable, "-m", "tests.process.commands"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(helper.__exit__, None, None, None)
    return helper


def forked(
    arguments: Sequence[str], environment: Values, folder: Path, seconds: float, longest: int | None = None
) -> Completed:
    """The command in a fork of a process that has imported it."""
    command, late = [*COHORT, *arguments], threading.Event()

    def end(pid: int) -> None:
        late.set()
        os.kill(pid, signal.SIGKILL)

    with tempfile.TemporaryDirectory() as texts, _one_at_a_time:
        out, err = Path(texts, "out"), Path(texts, "err")
        order = {"arguments": arguments, "environment": environment, "folder": str(folder), "longest": longest}
        helper = _commands()
        assert helper.stdin is not None and helper.stdout is not None
        pid = 0
        try:
            print(json.dumps({**order, "out": str(out), "err": str(err)}), file=helper.stdin, flush=True)
            pid = int(helper.stdout.readline())
            patience = threading.Timer(seconds, end, [pid])
            patience.start()
            code = os.waitstatus_to_exitcode(int(helper.stdout.readline()))
            patience.cancel()
        except BaseException:  # as of a test's own time limit: what it was to answer must not answer another
            helper.kill()
            _commands.cache_clear()
            if pid:
                patience.cancel()
                end(pid)
            raise
        said = out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
    if late.is_set():
        raise subprocess.TimeoutExpired(command, seconds, *said)
    return subprocess.CompletedProcess(command, code, *said)


class Served:
    """A serving process, killed at the end of the block if it still runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, home: Path) -> None:
        self.process, self.log, self.home = process, log, home

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @property
    def pid(self) -> int:
        """Of the process that holds the home's lock: under strace it is not the one that was started."""
        return int(self._note()["pid"])

    def url(self) -> str:
        """Where it listens, from the lock file."""
        return str(until(self._note, f"url of the appliance\n{self.said()}")["url"])

    def _note(self) -> dict[str, Any]:
        self.alive()
        try:
            note = json.loads((self.home / "lock").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        held = note.get("pid") == self.process.pid or note.get("pid") in descendants(self.process.pid)
        return dict(note) if held else {}

    def alive(self) -> None:
        code = self.process.poll()
        assert code is None, f"the appliance ended with {code}: {self.said()}"

    def ready(self, seconds: float = HANGS) -> Served:
        """Wait until /ready is 200."""
        with httpx.Client(base_url=self.url()) as client:
            until(lambda: self._is_ready(client), f"ready appliance\n{self.said()}", seconds)
        return self

    def _is_ready(self, client: httpx.Client) -> bool:
        self.alive()
        with suppress(httpx.TransportError):  # it may be ending: then the next look finds it ended
            return client.get("/ready").status_code == 200
        return False

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url(), timeout=60, headers=headers)

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def signal(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.pid, number)

    def ended(self, seconds: float = HANGS) -> int:
        """The exit code, once it has ended."""
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.signal()
        return self.ended()


def chat(text: str, model: str = "base", **fields: object) -> dict[str, object]:
    """A chat request that gives as many tokens as asked for."""
    wanted = {"max_tokens": 8, "ignore_eos": True, "temperature": 1.0} | fields
    return {"model": model, "messages": [{"role": "user", "content": text}], **wanted}


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream; [DONE] becomes {"done": True}."""
    for line in response.iter_lines():
        if line.startswith("data: "):
            data = line.removeprefix("data: ")
            yield {"done": True} if data == "[DONE]" else json.loads(data)


@contextmanager
def running(premises: Premises, *arguments: str, before: Sequence[str] = ()) -> Iterator[Served]:
    """An appliance that is ready."""
    with premises.serve(*arguments, before=before) as served:
        yield served.ready()


def starts(premises: Premises) -> None:
    """It can be served from, and stopped."""
    with running(premises) as served:
        assert served.stop() == 0


def descendants(pid: int) -> list[int]:
    """Children and theirs, whichever thread started them."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _section(name: str, values: Values) -> str:
    """TOML: JSON's strings, numbers, booleans and lists are also TOML's."""
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])
