"""The learning curve of a cohort on a model that learns in seconds, as an operator asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.attribution import learning_curve
from appliance.cli import report
from appliance.errors import ApplianceError
from appliance.evaluation import harness
from appliance.serving import Serving
from appliance.store.evaluations import Evaluation
from appliance.training import ablation
from appliance.training.trainer import Plan
from tests.http.learnable import begun, finished
from tests.http.learned import learned
from tests.http.running import Json, Running

PARTS = (0.5, 1.0)


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    with learned(tmp_path_factory.mktemp("curve"), tiny_base) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def drawn(learning: Running) -> Iterator[Json]:
    """Of two parts: a training takes ten seconds even here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curve, "SHARES", PARTS)
        yield _drawn(learning)


def _drawn(learning: Running) -> Json:
    job = finished(learning, begun(learning, "curve", cohort="legal"), patience=60)
    assert job["error"] is None, job
    result: Json = job["result"]
    return result


def test_a_curve_has_its_levels_and_words(drawn: Json) -> None:
    rows = [level["rows"] for level in drawn["levels"]]
    assert rows == sorted(rows) and len(rows) == 2 and rows[1] == pytest.approx(2 * rows[0], abs=1)
    assert drawn["levels"][-1]["score"]["mean"] > 0.7 and drawn["base"] == 0.0
    assert drawn["enough"] in rows and drawn["best"] in rows and drawn["says"]
    assert [one["share"] for one in drawn["trainings"]] == list(PARTS)


def test_a_second_seed_finds_the_first_done(learning: Running, drawn: Json) -> None:
    result = finished(learning, begun(learning, "curve", cohort="legal", seeds=2, minutes=0.001), patience=60)[
        "result"
    ]
    assert result["levels"] == drawn["levels"], "no second round is begun beyond the minutes"
    assert result["says"][-1] == "1 of 2 rounds: another would not have ended within 0.001 minutes"
    assert result["seconds"] < drawn["seconds"]


def test_a_part_that_takes_too_long_leaves_the_smaller_ones(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [level["rows"] for level in drawn["levels"]]
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    monkeypatch.setattr(ablation.Ablation, "cut_short", property(lambda made: made.rows == rows[1]))
    result = _drawn(learning)
    assert result["levels"] == drawn["levels"][:1]
    assert result["says"][-1].startswith(f"a training on {rows[1]} rows ended with its minutes")


def test_a_part_that_fails_leaves_the_smaller_ones(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = drawn["levels"][1]["rows"]
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    made = ablation.find_or_train

    async def failing(serving: Serving, plan: Plan, *more: Any) -> ablation.Ablation:  # noqa: ANN401
        if len(plan.slice.train) == most:
            raise ApplianceError("its loss is no number")
        return await made(serving, plan, *more)

    monkeypatch.setattr(ablation, "find_or_train", failing)
    result = _drawn(learning)
    assert result["levels"] == drawn["levels"][:1]
    assert result["says"][-1] == f"the training on {most} rows, seed 1, failed: its loss is no number"


def test_what_judging_takes_counts_in_the_minutes(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainings alone would leave time for a second round."""
    judge = harness.evaluate

    async def slow(*asked: Any) -> Evaluation:  # noqa: ANN401
        return replace(await judge(*asked), seconds=9000.0)

    monkeypatch.setattr(learning_curve, "evaluate", slow)
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    result = finished(learning, begun(learning, "curve", cohort="legal", seeds=2, minutes=200))["result"]
    assert result["levels"] == drawn["levels"]
    assert [one["took"] >= 9000 + one["seconds"] for one in result["trainings"]] == [True, True]


def test_a_cohort_without_rows_is_refused_by_name(learning: Running) -> None:
    job = finished(learning, begun(learning, "curve", cohort="coding"))
    assert job["state"] == "failed" and "coding has no eval rows: cohort import" in job["error"]


@pytest.mark.usefixtures("drawn")
def test_nothing_is_released(learning: Running) -> None:
    assert [r["version"] for r in learning.operated("GET", "/releases")] == [1]


def test_its_page_has_its_picture_and_escapes_what_it_quotes(drawn: Json) -> None:
    hostile = {**drawn, "cohort": "<script>alert(1)</script>"}
    assert "<script>" not in report.curve(hostile) and report.curve(hostile).count("<svg") == 1
