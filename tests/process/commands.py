"""`python -m tests.process.commands`: has imported the command and forks one run of it for each line of stdin.

A line is {"arguments", "environment", "folder", "longest", "out", "err"}; the answer is the child's pid, and once it
is dead its wait status. It starts no thread and no llama backend itself, so that what it forks is as good as a fresh
process, only a second sooner.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, NoReturn

from appliance.cli.main import main as cohort
from appliance.evaluation import harness
from tests.process import zygote


def main() -> None:
    importlib.import_module("appliance.app")  # which a verb imports when no appliance runs
    zygote.check_alone()
    protocol = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line))
        print(pid, file=protocol, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, file=protocol, flush=True)


def _run(order: dict[str, Any]) -> NoReturn:
    code: object = 1
    try:
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, order["out"]), (2, order["err"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        harness.LONGEST = order["longest"] or harness.LONGEST
        sys.argv = ["cohort", *order["arguments"]]
        cohort()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
