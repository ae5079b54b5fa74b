"""Run a module as a harmless child: `python -m adapters.confine CPU_SECONDS MEMORY_BYTES MODULE [ARGUMENT ...]`.

The child is niced, dies with its parent, and first when memory runs out; it leaves no core dump (cores hold prompts),
is bounded in processor time and address space, and has no network where the system allows it to give that up (it says
so on stderr where not).
A launcher rather than a function: giving up the network must come before any library starts a thread.
"""

from __future__ import annotations

import ctypes
import os
import resource
import runpy
import signal
import sys
from contextlib import suppress
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_PR_SET_PDEATHSIG = 1


def confine(cpu_seconds: int, memory_bytes: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if memory_bytes:  # 0: no bound, for GPUs, whose drivers reserve far more addresses than memory
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET
    if libc.unshare(flags) != 0:
        print("this child keeps its network: the system allows no network namespace", file=sys.stderr)  # noqa: T201


def main() -> None:
    cpu_seconds, memory_bytes, module, *arguments = sys.argv[1:]
    confine(int(cpu_seconds), int(memory_bytes))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
