"""The base's opinion of answers: beside their scores, where it is asked for, and deciding nothing."""

from __future__ import annotations

from pathlib import Path

from tests.http.learnable import SETTINGS, begun, finished, text
from tests.http.routed import written
from tests.http.running import Json, Running, running

JUDGED = "[cohorts.coding.gate]\njudge = true\n"


def eval_rows(cohort: str, metric: str, start: int) -> list[Json]:
    row = {"completion": "who may end it", "task": f"{metric} of {cohort}", "metric": metric}
    return [{"prompt": text(n), **row} for n in range(start, start + 3)]


def scores(appliance: Running, cohort: str) -> Json:
    result: Json = finished(appliance, begun(appliance, "evaluate", cohort=cohort))["result"]
    found: Json = result["cohorts"][0]["scores"]
    return found


def test_the_judge_stands_beside_the_score_of_the_cohorts_that_ask_for_it(tmp_path: Path, tiny_base: Path) -> None:
    for cohort in ("coding", "finance"):
        lines = [*eval_rows(cohort, "f1", 0), *eval_rows(cohort, "regex", 10)]
        written(tmp_path / "examples" / cohort / "eval.jsonl", lines)
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        assert "judge" not in scores(appliance, "coding")["f1 of coding"]["beside"]
    with running(tmp_path, tiny_base, SETTINGS + JUDGED) as appliance:
        coding, finance = scores(appliance, "coding"), scores(appliance, "finance")
        assert 0 < coding["f1 of coding"]["beside"]["judge"] < 1, (
            "also where the same rows were evaluated without it before"
        )
        assert "judge" not in coding["regex of coding"]["beside"], "a pattern says nothing"
        assert "judge" not in finance["f1 of finance"]["beside"]
