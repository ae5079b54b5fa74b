"""Somebody else's work on the same processors."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Products in all threads, as a trainer's, if in less memory: numpy's BLAS starts one for each processor.
_BUSY = "import numpy as n; a = n.ones((768, 768), n.float32)\nwhile True: a @ a"
KINDS: dict[str, list[str]] = {
    "quiet": [],
    "niced threads": ["nice", "-n", "19"],
    "idle-class threads": ["chrt", "--idle", "0"],
    "stranger": ["env"],
}


@contextmanager
def beside(kind: str) -> Iterator[None]:
    if not KINDS[kind]:
        yield
        return
    child = subprocess.Popen([*KINDS[kind], sys.executable, "-c", _BUSY])
    try:
        time.sleep(0.5)  # it imports numpy first
        yield
    finally:
        child.kill()
        child.wait()
