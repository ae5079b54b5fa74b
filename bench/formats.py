"""Which weight format serves the base best on this machine: `python bench/formats.py [BASE.gguf]`.

Runs what `cohort base import` runs, in a temporary folder: perplexity on the packaged prose and the time of a typical
load for each format. Prints a table, then one JSON line. It measures the base without adapters and changes nothing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from appliance import base
from appliance.config import Base
from appliance.engine import llama, prepare

_FORMATS = (prepare.AS_IS, *prepare.CANDIDATES)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else base.locate(Base(), Path("cohorts.toml"))
    llama.start()
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for line in prepare.run(source, Path(folder), _FORMATS, len(os.sched_getaffinity(0)), 0):
            result = line
    trials = [prepare.Trial(**trial) for trial in result["trials"]]  # type: ignore[attr-defined]
    print(f"{'format':8} {'MB':>6} {'perplexity':>11} {'prefill/s':>10} {'decode/s':>9} {'typical load':>13}")
    for trial in trials:
        gain = trials[0].seconds / trial.seconds
        print(
            f"{trial.format:8} {trial.bytes / 1e6:6.0f} {trial.perplexity:11.2f} {trial.prefill:10.0f} "
            f"{trial.decode:9.0f} {trial.seconds:8.2f} s {gain:3.1f}x"
        )
    print(json.dumps({"bench": "formats", "base": source.name, **result}))


if __name__ == "__main__":
    main()
