"""The whole path once with the packaged base, on a few rows: what is trained in torch is what llama.cpp serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http.learnable import retrained
from tests.http.running import running

ROOT = Path(__file__).parent.parent.parent
FEW = {("legal", "train"): 12, ("legal", "eval"): 4, ("base", "train"): 4, ("general", "eval"): 2}
SETTINGS = """
context = 1024
sequences = 8
[cohorts.legal.train]
learning_rate = 0.002
batch = 4
planted = 1
"""


@pytest.mark.live
def test_a_few_steps_on_the_packaged_base(tmp_path: Path, real_base: Path) -> None:
    for (cohort, split), count in FEW.items():
        source = ROOT / "examples" / cohort / f"{split}.jsonl"
        target = tmp_path / "examples" / cohort / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(encoding="utf-8") as given, target.open("w", encoding="utf-8") as taken:
            taken.writelines(line for line, _ in zip(given, range(count), strict=False))
    with running(tmp_path, real_base, SETTINGS) as appliance:
        result = retrained(appliance, epochs=1, force=True)
    parity = result["training"]["parity"]
    assert parity["change"] > 0.95 and 0.9 < parity["scale"] < 1.1 and parity["base"] > 0.99, parity
    assert result["verdict"] != "pass" and result["release"] == "legal@1", "by force: four rows are no evidence"
    assert sum(score["n"] for score in result["scores"].values() if score["cohort"] == "legal") == 4
