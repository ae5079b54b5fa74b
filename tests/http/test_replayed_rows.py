"""What a training replays of others: no row by which anything is judged."""

from __future__ import annotations

from pathlib import Path

from appliance.training.planning import Planning, RetrainOptions
from tests.http.learnable import rows
from tests.http.routed import written
from tests.http.running import Json, running


def test_rows_of_an_eval_set_are_not_replayed(tmp_path: Path, tiny_base: Path) -> None:
    """Its own eval set, another cohort's, and the guard set; a row that only ends otherwise is nearly the same."""
    nearly: Json = {"prompt": rows(0, 1)[0]["prompt"] + "!!", "completion": "you"}
    examples: dict[str, list[Json]] = {
        "legal/train": rows(1000, 4),
        "legal/eval": rows(0, 4),
        "support/train": [*rows(0, 4), *rows(100, 4), *rows(2000, 4), nearly],
        "support/eval": rows(100, 4),
        "base/train": [*rows(3000, 2), *rows(200, 2)],
        "general/eval": rows(200, 2, task="general", metric="none"),
    }
    for name, lines in examples.items():
        written(tmp_path / "examples" / f"{name}.jsonl", lines)
    with running(tmp_path, tiny_base) as appliance:
        planning = Planning(
            appliance.box.ready(), appliance.box.material(), RetrainOptions(cohort="legal", key_id="")
        )
        found = planning.replay(planning.recipe(), planning.others)
        written(tmp_path / "examples" / "base" / "train.jsonl", rows(4000, 2))
        assert planning.replay(planning.recipe(), planning.others) == found, "all trainings of a run replay the same"
    wanted = {row["prompt"] for row in (*rows(2000, 4), *rows(3000, 2))}
    assert {row.text for row in found} == wanted and len(found) == len(wanted)
