"""Load an adapter where a crash hurts nobody: `python -m appliance.engine.probe BASE ADAPTER`.

A confined child of `cohort release add`. llama.cpp aborts the process on some files that pass every check on paper;
here that is an exit code. Exit 0: it loads and answers with finite numbers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Model
from appliance.errors import ApplianceError


def main() -> int:
    base, adapter_path = Path(sys.argv[1]), Path(sys.argv[2])
    llama.start()
    try:
        model = Model(base)
        adapter = Adapter(model, adapter_path)
        context = Context(model, adapter, n_ctx=256, n_seq=1, n_batch=32, n_outputs=1, threads=1)
        ids = model.tokenize("The parties agree that", special=False)[:16]
        code = context.decode(ids, range(len(ids)), [0] * len(ids), [i == len(ids) - 1 for i in range(len(ids))])
        if code != 0 or not np.isfinite(context.logits(len(ids) - 1)).all():
            raise ApplianceError("the adapter makes the base answer with values that are not finite")
    except ApplianceError as error:
        print(error.message)  # noqa: T201 - the parent reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
