"""Decode steps on command, in a process of its own: python -m rig.steps BASE ADAPTER THREADS SEQUENCES (ADAPTER
may be "-" for none).

For each line "N" on its standard input it runs N steps of SEQUENCES tokens and answers with a JSON list of their
milliseconds. How libgomp's threads wait is decided by the environment it was started with.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Model

_PREFIX = 32  # tokens of each sequence before the measured ones


class Steps:
    """The parent's side: a context manager; `run(n)` gives the milliseconds of n steps."""

    def __init__(
        self, base: Path, adapter: Path | None, threads: int, sequences: int, policy: Mapping[str, str]
    ) -> None:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
        path = os.pathsep.join(sys.path)
        command = [sys.executable, "-m", "rig.steps", str(base), str(adapter or "-"), str(threads), str(sequences)]
        environment = {**keep, "PYTHONPATH": path, **policy}
        self._child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, steps: int) -> list[float]:
        assert self._child.stdin and self._child.stdout  # noqa: S101 - both are pipes
        self._child.stdin.write(f"{steps}\n")
        self._child.stdin.flush()
        return [float(ms) for ms in json.loads(self._child.stdout.readline())]

    def __enter__(self) -> Steps:
        self.run(4)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()


def main() -> None:
    base, adapter = Path(sys.argv[1]), sys.argv[2]
    threads, sequences = map(int, sys.argv[3:])
    llama.start()
    model = Model(base)
    lora = None if adapter == "-" else Adapter(model, Path(adapter))
    context = Context(model, lora, n_ctx=4096, n_seq=sequences, n_batch=512, n_outputs=64, threads=threads)
    for line in sys.stdin:
        print(json.dumps(_steps(context, sequences, int(line))), flush=True)


def _steps(context: Context, sequences: int, count: int) -> list[float]:
    context.clear()
    for sequence in range(sequences):
        context.decode([100] * _PREFIX, range(_PREFIX), [sequence] * _PREFIX, [False] * _PREFIX)
    context.decode([200] * sequences, [_PREFIX] * sequences, range(sequences), [True] * sequences)  # reserves
    times = []
    for step in range(count):
        started = time.perf_counter()
        context.decode([200] * sequences, [_PREFIX + 1 + step] * sequences, range(sequences), [True] * sequences)
        context.logits(0)
        times.append((time.perf_counter() - started) * 1e3)
    return times


if __name__ == "__main__":
    main()
