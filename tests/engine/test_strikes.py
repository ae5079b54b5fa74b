"""Faults in a row are counted against a release, and told before those who wait hear of the last one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.engine.engine import BASE_LANE, STRIKES, Engine
from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Context, Model
from appliance.engine.scheduler import Share
from appliance.errors import EngineFault
from tests.engine.conftest import MakeLane
from tests.engine.drive import SHAPE, Answer, ask, collect, serving, solo, step, submit
from tests.poison import BAD, GOOD, write_poisoned


@pytest.fixture(scope="module")
def poisoned(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_poisoned(tmp_path_factory.mktemp("poisoned") / "poisoned.gguf", tiny_base)


@pytest.fixture
def lane(make_lane: MakeLane, poisoned: Path) -> Lane:
    return make_lane(SHAPE, poisoned)


def failed(answer: Answer) -> bool:
    return answer.error.code == "not_finite"


def test_the_poisoned_adapter_fails_of_one_word_alone(lane: Lane, model: Model) -> None:
    assert solo(lane, ask(model, GOOD)).finished.answer_tokens == 24
    assert failed(solo(lane, ask(model, BAD)))
    assert solo(lane, ask(model, GOOD)).finished.answer_tokens == 24


def test_a_fault_counts_until_there_is_a_good_answer(lane: Lane, model: Model) -> None:
    for strikes in (1, 2):
        assert failed(solo(lane, ask(model, BAD)))
        assert lane.strikes == strikes
    assert "no finite logits" in lane.last_fault
    assert solo(lane, ask(model, GOOD)).finished
    assert lane.strikes == 0


def test_a_step_counts_once_however_many_fail_in_it(lane: Lane, model: Model) -> None:
    answers = [submit(lane, ask(model, BAD))[1] for _ in range(3)]
    while lane.waiting or lane.running:
        step(lane)
    assert all(map(failed, answers))
    assert lane.strikes == 1


def test_what_is_asked_to_judge_it_does_not_count(lane: Lane, model: Model) -> None:
    """Rows of other cohorts too, which nobody sends there."""
    assert failed(solo(lane, replace(ask(model, BAD), background=True)))
    assert lane.strikes == 0


def test_scores_that_are_not_finite_count_too(lane: Lane, model: Model) -> None:
    assert failed(solo(lane, ask(model, BAD, 0, score_from=1)))
    assert lane.strikes == 1


def test_a_neighbour_in_the_same_lane_is_not_touched(lane: Lane, model: Model) -> None:
    alone = solo(lane, ask(model, GOOD)).text
    _, neighbour = submit(lane, ask(model, GOOD))
    step(lane)
    assert failed(solo(lane, ask(model, BAD)))
    assert neighbour.text == alone


# -- the engine ---------------------------------------------------------------------------------------------------


async def faulted(engine: Engine, text: str, lane: str) -> None:
    with pytest.raises(EngineFault):
        await collect(engine, ask(engine.model, text, lane=lane))


def test_the_third_in_a_row_is_told_first(tiny_base: Path, poisoned: Path) -> None:
    async def main() -> None:
        async with serving(tiny_base) as engine:
            told: list[tuple[str, str]] = []
            engine.on_struck_out = lambda key, why: told.append((key, why))
            await engine.attach("p", poisoned, Share("p"))
            for _ in range(2):
                await faulted(engine, BAD, "p")
                await faulted(engine, BAD, "p")
                await collect(engine, ask(engine.model, GOOD, lane="p"))
            for _ in range(STRIKES):
                assert told == []
                await faulted(engine, BAD, "p")
            ((key, why),) = told  # whoever hears of the fault finds the release out of service
            assert key == "p"
            assert f"it failed {STRIKES} times in a row, the last time: the model gave no finite logits" in why
            assert engine.status()[1].strikes == 0

    asyncio.run(main())


@pytest.mark.parametrize("key", ["a", BASE_LANE])
def test_steps_that_llama_cpp_fails_count(
    key: str, tiny_base: Path, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base is never struck out: nothing could stand in for it."""

    async def main() -> None:
        async with serving(tiny_base, LaneShape(512, 4, batch=64, outputs=16, threads=1)) as engine:
            told: list[str] = []
            engine.on_struck_out = lambda key, _why: told.append(key)
            await engine.attach("a", tiny_adapters[0], Share("a"))
            monkeypatch.setattr(Context, "decode", lambda *_: -3)
            for _ in range(STRIKES + 1):
                await faulted(engine, GOOD, key)
            monkeypatch.undo()
            strikes = {lane.key: lane.strikes for lane in engine.status()}
            assert (told, strikes[key]) == (([], STRIKES + 1) if key == BASE_LANE else (["a"], 1))
            assert (await collect(engine, ask(engine.model, lane=key))).finished
            assert engine.room.requests == 0

    asyncio.run(main())
