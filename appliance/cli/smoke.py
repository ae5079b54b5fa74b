"""Whether the llama.cpp that is installed computes on this processor: `python -m appliance.cli.smoke [BASE.gguf]`.

A child of `make install` and `cohort doctor`, since what goes wrong here ends the process: a library compiled on
another processor has instructions that this one lacks, and GCC 12 leaves out most of the set-up of Intel's AMX tiles,
so that the first batch of some size is an illegal instruction. Exit 0: batches of several sizes, each with kernels of
its own, give finite numbers. Whether they are the right ones it does not say.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from appliance import base
from appliance.config import Base
from appliance.engine import llama
from appliance.engine.llama import Context, Model
from appliance.errors import ApplianceError, EngineFault

SIZES = (1, 8, 40, 128)


def run(path: Path) -> None:
    """Raises ApplianceError."""
    llama.start()
    model = Model(path)
    threads = len(os.sched_getaffinity(0))
    context = Context(model, None, n_ctx=256, n_seq=1, n_batch=max(SIZES), n_outputs=1, threads=threads)
    for size in SIZES:
        context.clear()
        code = context.decode([model.eos] * size, range(size), [0] * size, [i == size - 1 for i in range(size)])
        if code != 0 or not np.isfinite(context.logits(size - 1)).all():
            raise EngineFault(f"a batch of {size} tokens gives no finite numbers")


def main() -> int:
    try:
        run(Path(sys.argv[1]) if sys.argv[1:] else base.locate(Base(), Path("cohorts.toml")))
    except ApplianceError as error:
        print(error.message)  # noqa: T201 - for who installs, and for the parent
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
