"""COHORT_HOME: the folder of all that changes, and the lock that says which process owns it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.errors import HomeInUse, SetupError

from .mounts import network_filesystem

_REMEDY = "set COHORT_HOME to a folder of your own on a local disk"
_AS_OWNER = "run this as the user that the folder belongs to, or " + _REMEDY
_LOCK_TRIES = 5  # 20 ms apart: `owner` of another process holds the lock for microseconds


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a home, and where it serves; 0 and '' in the instant before it has said so."""

    pid: int = 0
    url: str = ""


class Home:
    """The folder tree, created with mode 0700 where missing. Raises SetupError when it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.database = self.path / "appliance.db"
        self.releases = self.path / "releases"
        self.base = self.path / "base"
        self.router = self.path / "router"
        self.jobs = self.path / "jobs"
        self._lock: int | None = None
        self._create()

    def lock(self, url: str) -> None:
        """Own this home until `close` or the end of the process. Raises HomeInUse naming who has it."""
        descriptor = self._open_lock()
        for _ in range(_LOCK_TRIES):
            if _flock(descriptor, fcntl.LOCK_EX):
                break
            time.sleep(0.02)
        else:
            owner = _read(descriptor)
            os.close(descriptor)
            raise HomeInUse(f"{self.path} is in use by process {owner.pid} {_told(owner)}")
        note = json.dumps(asdict(Owner(os.getpid(), url))).encode()
        os.ftruncate(descriptor, os.pwrite(descriptor, note, 0))  # over the old note: it may be a full disk
        self._lock = descriptor

    def owner(self) -> Owner | None:
        """Who holds the lock; None when it is free."""
        descriptor = self._open_lock()
        try:
            # Shared, so that two who ask at once do not take each other for the owner.
            return None if _flock(descriptor, fcntl.LOCK_SH) else _read(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _create(self) -> None:
        try:
            for folder in (self.path, self.releases, self.base, self.router, self.jobs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except PermissionError as error:
            raise SetupError(f"{error.filename} cannot be made a folder ({error.strerror}): {_AS_OWNER}") from error
        except OSError as error:
            raise SetupError(f"{error.filename} cannot be made a folder ({error.strerror}): {_REMEDY}") from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise SetupError(f"{self.path} is not writable for this user: {_AS_OWNER}")
        if kind := network_filesystem(self.path):
            raise SetupError(f"{self.path} is on a network disk ({kind}), where SQLite is not safe: {_REMEDY}")

    def _open_lock(self) -> int:
        return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _told(owner: Owner) -> str:
    if owner.url:
        return f"at {owner.url}: stop that process or set COHORT_HOME to another folder"
    return "(a command): wait until it ends, or stop it"


def _flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Owner:
    with suppress(ValueError, TypeError):
        return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
    return Owner()
