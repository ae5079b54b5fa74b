"""Appends rows as fast as it can and gets killed for it: `appender.py DATABASE KILLS` prints every acknowledged id.

The children are forks of a process that has only imported the store (0.2 s), and that opens no database itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

from appliance.store import interactions, timestamps
from appliance.store.database import Database

AT_ONCE = 8


def append(path: Path, life: int, acknowledged: int) -> None:
    database = Database.open(path)
    for start in count(step=AT_ONCE):
        ids = [f"req_{life}_{start + n}" for n in range(AT_ONCE)]
        futures = [database.write(partial(interactions.insert, interaction=row(id))) for id in ids]
        for id, future in zip(ids, futures, strict=True):
            future.result()
            os.write(acknowledged, f"{id}\n".encode())


def row(id: str) -> interactions.Interaction:
    return interactions.Interaction(
        id=id,
        created=timestamps.now(),
        origin="live",
        endpoint="/v1/completions",
        messages=[{"role": "user", "content": "x" * random.randrange(2_000)}],
        cohort="legal",
        layer="pinned",
        reason="pinned",
        release="legal@1",
        status="ok",
    )


def kill_one(path: Path, life: int) -> str:
    """The ids a child acknowledged before it was killed; two of three lives have acknowledged one before their time
    begins to run, since a slow machine opens no database in it."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            append(path, life, write_end)
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end) as acknowledged:
        first = acknowledged.readline() if life % 3 else ""
        time.sleep(random.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"child {life} died by itself: see above")
        return first + acknowledged.read()


if __name__ == "__main__":
    random.seed(5)
    for life in range(int(sys.argv[2])):
        sys.stdout.write(kill_one(Path(sys.argv[1]), life))
