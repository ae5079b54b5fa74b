"""What the releases that could stand in for the live one answer: the one before, and the neighbours'. No training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters import registry
from appliance.attribution.rivals import Rivals
from tests.http.learnable import SETTINGS, begun, finished, rows
from tests.http.routed import written
from tests.http.running import Json, Running, running


@pytest.mark.parametrize("known", [True, False], ids=["known at start", "found when loaded"])
def test_a_release_before_that_cannot_be_served_is_left_out(
    known: bool,
    tmp_path: Path,
    tiny_base: Path,
    tiny_adapters: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written(tmp_path / "examples" / "legal" / "eval.jsonl", rows(0, 4))
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        digests = [appliance.release(adapter, "legal")["digest"] for adapter in tiny_adapters]
    (tmp_path / "home" / "releases" / digests[0] / "adapter.gguf").write_bytes(b"GGUF, once")
    if not known:
        monkeypatch.setattr(registry, "damage", lambda *_: None)
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        job = finished(appliance, begun(appliance, "attribute", cohort="legal", aggregate=False))
    assert job["error"] is None, job
    (legal,) = job["result"]["cohorts"]
    assert [one["arm"] for one in legal["against"]] == ["base", "prompted base"]
    assert legal["left_out"]["previous"].startswith("legal@1 cannot be served: ")
    assert f"no previous: {legal['left_out']['previous']}" in legal["notes"]


@pytest.fixture(scope="module")
def untrained(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, tiny_adapters: tuple[Path, Path]
) -> Iterator[Running]:
    """legal has two releases that were made elsewhere, of which the second is live, and support has the first of
    them. One of legal's eval rows is longer than the context, and so is finance's only one."""
    folder = tmp_path_factory.mktemp("untrained")
    long: Json = {"prompt": "who when " * 600, "completion": "you", "task": "clause"}
    lines = [*rows(0, 4, task="clause"), *rows(10, 4, task="yes"), long]
    written(folder / "examples" / "legal" / "eval.jsonl", lines)
    written(folder / "examples" / "finance" / "eval.jsonl", [{**long, "prompt": "you who " * 600}])
    with running(folder, tiny_base, SETTINGS) as appliance:
        for adapter in tiny_adapters:
            appliance.release(adapter, "legal")
        for cohort in ("support", "finance"):
            appliance.release(tiny_adapters[0], cohort)
        yield appliance


def compared(appliance: Running, cohort: str) -> Json:
    job = finished(appliance, begun(appliance, "attribute", cohort=cohort, aggregate=False))
    assert job["error"] is None, job
    (found,) = job["result"]["cohorts"]
    return dict(found)


def test_the_release_before_and_the_neighbours_stand_beside_it(untrained: Running) -> None:
    legal = compared(untrained, "legal")
    assert legal["release"] == "legal@2"
    assert [one["arm"] for one in legal["against"]] == ["base", "previous", "prompted base", "finance", "support"]
    assert set(legal["tasks"]) == {"previous"} and set(legal["tasks"]["previous"]) == {"clause", "yes"}
    assert legal["left_out"] == {
        "aggregate": "it was not asked for",
        **dict.fromkeys(("healthcare", "coding"), "no release is live"),
    }
    assert legal["notes"][0].startswith("whether the retrain was worth it is not settled: ")


def test_a_row_that_can_be_asked_of_none_shows_nothing(untrained: Running) -> None:
    legal, finance = compared(untrained, "legal"), compared(untrained, "finance")
    assert {one["n"] for one in legal["against"]} == {8} and legal["tasks"]["previous"]["clause"]["n"] == 4
    why = "context_length_exceeded: the row has"
    assert any(
        one.startswith(f"1 eval rows can be asked of none of these, and do not count: {why}")
        for one in legal["notes"]
    )
    assert finance["verdict"] == "undecided" and finance["against"] == []
    assert finance["says"].startswith("none of finance's eval rows shows anything") and why in finance["notes"][0]


def test_a_release_does_not_stand_beside_itself(untrained: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the one before answers in the place of one that cannot be served."""
    table = untrained.box.ready().releases.table
    monkeypatch.setitem(table.live, "legal", table.named["legal@previous"])
    legal = compared(untrained, "legal")
    assert legal["release"] == "legal@1" and "previous" not in [one["arm"] for one in legal["against"]]
    assert legal["left_out"]["previous"] == "legal@1 answers in place of a newer one that cannot be served"


def test_going_back_to_an_older_release_is_no_retrain(untrained: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    table = untrained.box.ready().releases.table
    monkeypatch.setitem(table.live, "legal", table.named["legal@1"])
    monkeypatch.setitem(table.named, "legal@previous", table.named["legal@2"])
    assert compared(untrained, "legal")["notes"][0].startswith("whether going back was worth it is not settled: ")


def test_what_becomes_live_meanwhile_changes_no_arm(untrained: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    before = compared(untrained, "legal")
    table = untrained.box.ready().releases.table
    evaluate_all = Rivals.evaluate_all

    async def meanwhile(rivals: Rivals, *of: Any) -> Any:  # noqa: ANN401
        monkeypatch.delitem(table.live, "legal")
        monkeypatch.delitem(table.named, "legal@previous")
        return await evaluate_all(rivals, *of)

    monkeypatch.setattr(Rivals, "evaluate_all", meanwhile)
    legal = compared(untrained, "legal")
    assert legal["says"] == f"of legal@2, which is no longer live: {before['says']}"
    assert legal["against"] == before["against"]
