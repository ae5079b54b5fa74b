"""What is kept of an evaluation: faults of a row are results like others, faults of the box are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.engine import BASE_LANE
from appliance.engine.sampling import NOT_FINITE
from appliance.engine.sequence import SequenceRequest
from appliance.errors import ContextExceeded, EngineFault, Unavailable
from appliance.evaluation import arms, harness
from appliance.releases.lanes import Lanes
from appliance.serving import Serving
from tests.http.learnable import begun, finished, rows
from tests.http.routed import written
from tests.http.running import Json, Running, running

SETTINGS = "context = 256\nsequences = 4\n"


@pytest.fixture
def judged(tmp_path: Path, tiny_base: Path) -> Iterator[Running]:
    """legal has an eval row that the context has no room for."""
    lines: list[Json] = [*rows(0, 3), {"prompt": "who when " * 300, "completion": "you"}]
    written(tmp_path / "examples" / "legal" / "eval.jsonl", lines)
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        yield appliance


def score(appliance: Running) -> Json:
    """Of legal's eval rows. No release is live, so the base answers."""
    job = finished(appliance, begun(appliance, "evaluate", cohort="legal"))
    assert job["error"] is None, job
    (found,) = job["result"]["cohorts"][0]["scores"].values()
    return dict(found)


def kept(appliance: Running) -> list[Json]:
    return appliance.rows("SELECT score, error FROM evaluation_results ORDER BY position")


async def stopping(*_: object) -> list[object]:
    raise Unavailable("the appliance is stopping", code="stopping")


def test_a_row_that_cannot_be_asked_is_kept_as_a_failure(judged: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    first = score(judged)
    assert (first["n"], first["errors"]) == (4, 1) and set(first["beside"]) == {"macro_f1"}
    *asked, refused = kept(judged)
    assert [one["error"] for one in asked] == [None] * 3
    assert refused["score"] == 0.0 and refused["error"].startswith("context_length_exceeded: the row has")
    monkeypatch.setattr(harness, "_run", stopping)
    assert score(judged) == first, "nothing is asked twice"


def test_it_is_asked_once_the_context_has_room(judged: Running) -> None:
    score(judged)
    judged.box.ready().context = 2048  # as after a start with another configuration
    with pytest.MonkeyPatch.context() as patch:
        asked: list[object] = []
        patch.setattr(harness, "_run", lambda *given: _nothing(asked, *given))
        assert score(judged)["errors"] == 0 and len(asked) == 4
    assert [one["error"] for one in kept(judged)] == [None] * 4


def test_no_right_answer_is_cut_by_the_context(judged: Running) -> None:
    """There is room for it, if not for twice as much; or the row is one that cannot be asked."""
    serving = judged.box.ready()
    row, *_ = judged.box.material().rows("legal", "eval")
    seen = []
    for words in range(1, 240, 3):
        long = replace(row, completion=" ".join(["you"] * words))
        wanted = len(serving.engine.model.tokenize(long.completion, special=False)) + 1
        try:
            ask = asyncio.run(harness._ask(serving, arms.base_arm("base"), long))
        except ContextExceeded:
            seen.append("refused")
            continue
        assert wanted <= ask.max_new <= 2 * wanted + 14 and len(ask.prompt) + ask.max_new <= serving.context
        seen.append("whole" if ask.max_new == 2 * wanted + 14 else "less than twice")
    assert list(dict.fromkeys(seen)) == ["whole", "less than twice", "refused"]


async def _nothing(asked: list[object], *given: object) -> list[object]:
    asked.append(given)
    return []


def test_an_answer_of_an_adapter_that_is_not_finite_is_a_failure(
    judged: Running, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the base it is a fault of the box."""
    judged.release(tiny_adapters[0], "legal")
    run, broken = harness._run, "the base"

    async def now_and_then(serving: Serving, ask: SequenceRequest) -> list[object]:
        if (ask.lane == BASE_LANE) is (broken == "the base"):
            raise EngineFault("the model gave no finite logits", code=NOT_FINITE)
        return await run(serving, ask)

    monkeypatch.setattr(harness, "_run", now_and_then)
    job = finished(judged, begun(judged, "evaluate", cohort="legal"))
    assert job["state"] == "failed" and "no finite logits" in job["error"]
    broken = "the adapter"
    assert score(judged)["errors"] == 4
    told = judged.rows("SELECT score, error FROM evaluation_results WHERE error LIKE ?", f"{NOT_FINITE}%")
    assert told == [{"score": 0.0, "error": f"{NOT_FINITE}: the model gave no finite logits"}] * 3
    monkeypatch.undo()
    assert score(judged)["errors"] == 4, "the same weights are not asked again"


def test_a_fault_of_the_box_leaves_nothing(judged: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "_run", stopping)
    job = finished(judged, begun(judged, "evaluate", cohort="legal"))
    assert job["state"] == "failed" and "stopping" in job["error"] and kept(judged) == []


@pytest.mark.parametrize("code", ["no_spare_lane", "out_of_memory", "draining"])
def test_an_evaluation_waits_for_a_lane(
    judged: Running, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Of a moment; hours of training may be behind it."""
    judged.release(tiny_adapters[0], "legal")
    trial, refusals = Lanes.trial, [code] * 2

    def taken(lanes: Lanes, key: str, adapter: Path | None) -> AbstractAsyncContextManager[None]:
        if refusals and adapter is not None:
            raise Unavailable("all spare lanes are in use", code=refusals.pop())
        return trial(lanes, key, adapter)

    monkeypatch.setattr(Lanes, "trial", taken)
    monkeypatch.setattr(harness, "_WAIT_S", dict.fromkeys(harness._WAIT_S, 0.01))
    job = finished(judged, begun(judged, "evaluate", cohort="legal"))
    if code == "draining":
        assert job["state"] == "failed" and len(refusals) == 1
        return
    assert job["state"] == "done" and refusals == []
    said = [one["says"] for one in job["log"]]
    assert any("waits for a lane: all spare lanes are in use" in one for one in said), said
