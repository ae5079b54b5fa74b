"""Which weight format serves the base best on this machine: `python bench/formats.py [BASE.gguf]`.

Runs what `cohort base import` runs, in a temporary folder: perplexity on the packaged prose for each format, and how
many times as fast as the file as it is it is on a typical load, if its loss is within bounds. Prints a table, then
one JSON line. It measures the base without adapters and changes nothing.
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
    print(f"{'format':8} {'MB':>6} {'perplexity':>11} {'times as fast':>14} {'nearly always':>14}")
    for trial in trials:
        gains = ("not timed" if gain is None else f"{gain:.2f}" for gain in (trial.gain, trial.sure))
        print("{:8} {:6.0f} {:11.2f} {:>14} {:>14}".format(trial.format, trial.bytes / 1e6, trial.perplexity, *gains))
    print(json.dumps({"bench": "formats", "base": source.name, **result}))


if __name__ == "__main__":
    main()
