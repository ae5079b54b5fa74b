"""What the served model says on given tokens, for comparison with training: `python -m appliance.engine.logits BASE
ADAPTER PROBES OUT`.

PROBES is JSON, a list of {ids, start}; OUT becomes an .npz of `adapter` and `base`, the logits before each token from
`start` on: (tokens, vocabulary). A child, and the first that loads a new adapter: llama.cpp ends the process on some.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from appliance.engine import llama
from appliance.engine.llama import Adapter, Context, Logits, Model
from appliance.errors import ApplianceError

_BATCH = 64


def logits(model: Model, adapter: Adapter | None, probes: list[dict[str, Any]], threads: int) -> Logits:
    """One probe after the other, each in an empty memory. Raises ApplianceError."""
    longest = max(len(probe["ids"]) for probe in probes)
    size = -(-longest // 256) * 256
    found = []
    for probe in probes:
        context = Context(model, adapter, n_ctx=size, n_seq=1, n_batch=_BATCH, n_outputs=_BATCH, threads=threads)
        found += _of(context, probe["ids"], probe["start"])
        context.close()
    return np.stack(found)


def _of(context: Context, ids: list[int], start: int) -> list[Logits]:
    rows = []
    for begin in range(0, len(ids) - 1, _BATCH):
        part = ids[begin : min(begin + _BATCH, len(ids) - 1)]
        positions = range(begin, begin + len(part))
        wanted = [position >= start - 1 for position in positions]
        code = context.decode(part, positions, [0] * len(part), wanted)
        if code != 0:
            raise ApplianceError(f"llama.cpp could not compute a probe (code {code})")
        rows += [context.logits(i).copy() for i, want in enumerate(wanted) if want]
    return rows


def main() -> int:
    base, adapter_path, probes_path, out = (Path(argument) for argument in sys.argv[1:5])
    probes, threads = json.loads(probes_path.read_text()), int(sys.argv[5])
    llama.start()
    try:
        model = Model(base)
        adapter = Adapter(model, adapter_path)
        found = {"adapter": logits(model, adapter, probes, threads), "base": logits(model, None, probes, threads)}
    except ApplianceError as error:
        print(error.message)  # noqa: T201 - the parent reads it
        return 1
    np.savez(out, allow_pickle=False, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
