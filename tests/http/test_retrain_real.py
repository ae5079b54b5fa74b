"""The whole path once with the packaged base, on a few rows: what is trained in torch is what llama.cpp serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters import memorization
from appliance.training import trainer
from tests.http import few_rows
from tests.http.learnable import retrained
from tests.http.running import running


@pytest.mark.live
def test_a_few_steps_on_the_packaged_base(tmp_path: Path, real_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memorization, "PROBED", 1)
    monkeypatch.setattr(trainer, "PROBES", 4)
    few_rows.write(tmp_path)
    with running(tmp_path, real_base, few_rows.SETTINGS) as appliance:
        result = retrained(appliance, epochs=1, force=True)
    parity = result["training"]["parity"]
    assert parity["change"] > 0.95 and 0.9 < parity["scale"] < 1.1 and parity["base"] > 0.99, parity
    failed = {one["check"] for one in result["reasons"] if not one["passed"]}
    assert "enough_rows" in failed and result["release"] == "legal@1", "by force: four rows are no evidence"
    assert sum(score["n"] for score in result["scores"].values() if score["cohort"] == "legal") == 4
