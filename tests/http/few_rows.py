"""A few of the shipped rows, for the packaged base: enough to go the whole way, too few to learn much."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
FEW = {("legal", "train"): 6, ("legal", "eval"): 4, ("base", "train"): 2, ("general", "eval"): 1}
SETTINGS = """
context = 1024
sequences = 8
[cohorts.legal.train]
learning_rate = 0.002
batch = 2
replay = 0.5
planted = 1
"""


def write(folder: Path) -> None:
    """As the examples beside a configuration in `folder`."""
    for (cohort, split), count in FEW.items():
        source = ROOT / "examples" / cohort / f"{split}.jsonl"
        target = folder / "examples" / cohort / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(encoding="utf-8") as given, target.open("w", encoding="utf-8") as taken:
            taken.writelines(line for line, _ in zip(given, range(count), strict=False))
