"""`python -m tests.process.zygote`: has imported the appliance and forks one life of it for each line of stdin.

A line is {"home", "config", "port", "log"}; the answer is the child's pid, and once it is dead its wait status. It
starts no thread and no llama backend itself, so that what it forks is as good as a fresh process, only sooner.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from appliance import config as configuration
from appliance import serve
from appliance.cli import show

# What a life would import only when it starts.
for _late in ("uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.off", "llguidance", "llama_cpp"):
    importlib.import_module(_late)


def check_alone() -> None:
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise SystemExit(f"a process with {threads} threads cannot be forked safely")


def main() -> None:
    check_alone()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _live(json.loads(line))
        print(pid, flush=True)  # noqa: T201 - the protocol
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)  # noqa: T201


def _live(order: dict[str, str]) -> NoReturn:
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        path = Path(order["config"])
        config = configuration.load(path)
        limits = config.appliance.model_copy(update={"port": int(order["port"])})
        config = config.model_copy(update={"appliance": limits})
        serve.run(config, path, Path(order["home"]), show.log_progress(), show.served)
    except BaseException as error:
        print(f"this life failed: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
