from __future__ import annotations

import math
from itertools import zip_longest
from pathlib import Path

import pytest

from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Model
from appliance.engine.sampling import Sampling
from appliance.errors import DeadlineExceeded, EngineFault
from tests.engine.conftest import MakeLane
from tests.engine.drive import GREEDY, PROMPTS, Answer, ask, drain, solo, step, submit

NEAR_TIE = 0.1  # rounding differs with the shape of a batch


def assert_same(answer: Answer, cold: Answer) -> None:
    """Token-identical up to a near tie; both scored with at least two alternatives."""
    for got, want in zip_longest(answer.scores, cold.scores):
        if got is None or want is None or got.token != want.token:
            assert want is not None and want.top[0][1] - want.top[1][1] <= NEAR_TIE
            return


def assert_same_draws(answer: Answer, cold: Answer) -> None:
    """Token-identical up to a draw that fell between neighbours; both scored with all alternatives."""
    for got, want in zip(answer.scores, cold.scores, strict=True):
        if got.token != want.token:
            low, high = sorted((got.token, want.token))
            assert sum(math.exp(logprob) for token, logprob in want.top if low < token < high) < 0.05
            return


# -- many sequences, one batch ----------------------------------------------------------------------------------


def test_an_answer_among_others_is_the_answer_alone(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=1024, sequences=9, batch=64, outputs=16, threads=1))
    asks = [ask(model, text, 40, logprobs=2) for text in PROMPTS]
    cold = [solo(lane, asked) for asked in asks]
    together = [submit(lane, asked)[1] for asked in asks]
    step(lane)
    step(lane)
    assert len(lane.running) == 9
    drain(lane)
    for answer, alone in zip(together, cold, strict=True):
        assert_same(answer, alone)
    assert sum(a.tokens == b.tokens for a, b in zip(together, cold, strict=True)) > len(PROMPTS) / 2


def test_late_comers_join_a_running_batch(lane: Lane, model: Model) -> None:
    asks = [ask(model, text, 40, logprobs=2) for text in PROMPTS[:4]]
    cold = [solo(lane, asked) for asked in asks]
    answers = []
    for asked in asks:
        answers.append(submit(lane, asked)[1])
        for _ in range(5):
            step(lane)
    assert len(lane.running) == 4
    drain(lane)
    for answer, alone in zip(answers, cold, strict=True):
        assert_same(answer, alone)


def test_lanes_of_adapters_differ_and_keep_apart(
    make_lane: MakeLane, model: Model, tiny_adapters: tuple[Path, Path]
) -> None:
    lanes = [make_lane(), *(make_lane(adapter=path) for path in tiny_adapters)]
    before = [solo(lane, ask(model)).text for lane in lanes]
    assert len(set(before)) == 3
    mixed = [submit(lane, ask(model))[1] for lane in lanes]
    while any(lane.running or lane.waiting for lane in lanes):
        for lane in lanes:
            step(lane)
    assert [answer.text for answer in mixed] == before
    assert [solo(lane, ask(model)).text for lane in reversed(lanes)] == before[::-1]


def test_a_long_prompt_does_not_stop_those_who_decode(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=1024, sequences=2, batch=32, outputs=4, threads=1))
    _, talking = submit(lane, ask(model, max_new=60))
    step(lane)
    _, reading = submit(lane, ask(model, "x" * 300, 2))
    while not reading.events:
        had = len(talking.tokens)
        step(lane)
        assert len(talking.tokens) == had + 1
    drain(lane)


# -- a full memory ----------------------------------------------------------------------------------------------


def drain_with_parking(lane: Lane) -> None:
    """To the end; asserts that an answer was parked on the way."""
    parked = 0
    while lane.running or lane.waiting:
        step(lane)
        parked += any(sequence.generated for sequence in lane.waiting)
    assert parked


def full_lane(
    make_lane: MakeLane, model: Model, sampling: Sampling, alternatives: int
) -> list[tuple[Answer, Answer]]:
    """Six answers alone and then together in a memory that holds two of them; asserts that some were parked.

    Admission keeps 256 cells for each, so that three begin and one of them is parked when they grow longer.
    """
    lane = make_lane(LaneShape(context=1024, sequences=6, batch=32, outputs=8, threads=1))
    asks = [ask(model, text, 380, sampling=sampling, ignore_end=True, logprobs=alternatives) for text in PROMPTS[:6]]
    cold = [solo(lane, asked) for asked in asks]
    together = [submit(lane, asked)[1] for asked in asks]
    drain_with_parking(lane)
    assert [answer.finished.answer_tokens for answer in together] == [380] * 6
    return list(zip(together, cold, strict=True))


def test_a_full_memory_parks_and_nobody_fails(make_lane: MakeLane, model: Model) -> None:
    for answer, alone in full_lane(make_lane, model, GREEDY, 2):
        assert_same(answer, alone)


def test_parking_keeps_the_place_in_the_seeds_draws(make_lane: MakeLane, model: Model) -> None:
    for answer, alone in full_lane(make_lane, model, Sampling(seed=5), model.n_vocab):
        assert_same_draws(answer, alone)


def test_parking_keeps_what_penalties_have_counted(make_lane: MakeLane, model: Model) -> None:
    for answer, _ in full_lane(make_lane, model, Sampling(temperature=0, frequency_penalty=100), 0):
        # With 378 tokens in the vocabulary and 380 in the answer, two come twice.
        assert len(set(answer.tokens)) >= 375


def test_a_prompt_parked_half_way_is_scored_once(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=1024, sequences=2, kept=0, batch=32, outputs=2, threads=1))
    _, long = submit(lane, ask(model, max_new=760, ignore_end=True))
    for _ in range(410):
        step(lane)
    asked = ask(model, "xyz" * 110, 0, score_from=1)
    sequence, scored = submit(lane, asked)  # one row of logits is left for it in each step
    parked = 0
    while lane.running or lane.waiting:
        step(lane)
        parked = max(parked, len(sequence.prompt_scores) if sequence in lane.waiting else 0)
    assert 0 < parked < len(asked.prompt) - 1
    assert [s.token for s in scored.prompt_scores] == list(asked.prompt[1:])
    cold = solo(lane, asked).prompt_scores
    assert [s.logprob for s in scored.prompt_scores] == pytest.approx([s.logprob for s in cold], abs=NEAR_TIE)
    assert long.finished.answer_tokens == 760


def test_a_parked_answer_that_finds_its_prompt_again_was_computed_once(make_lane: MakeLane, model: Model) -> None:
    """Equal prompts in a full memory: what one was given of another's cells at the first time counts, no more."""
    lane = make_lane(LaneShape(context=1024, sequences=4, batch=64, outputs=8, threads=1))
    asks = [ask(model, PROMPTS[0] * 4, 380, ignore_end=True, logprobs=None) for _ in range(4)]
    together = [submit(lane, asked)[1] for asked in asks]
    drain_with_parking(lane)
    assert all(answer.finished.reused_tokens < answer.finished.prompt_tokens for answer in together)


def test_background_gives_its_cells_before_an_answer_does(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=1024, sequences=3, kept=0, batch=64, outputs=8, threads=1))
    for text in PROMPTS[:2]:
        submit(lane, ask(model, text, 500, background=True, ignore_end=True))
    for _ in range(100):
        step(lane)
    sequence, answer = submit(lane, ask(model, PROMPTS[2], 900, ignore_end=True))
    while lane.has_work(background=False):
        step(lane)
        assert not (sequence in lane.waiting and sequence.generated)
    assert answer.finished.answer_tokens == 900
    drain(lane)


# -- who goes first ---------------------------------------------------------------------------------------------


def test_first_come_first_served(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=512, sequences=1, batch=64, outputs=4, threads=1))
    asks = [ask(model, text, 5) for text in PROMPTS[:4]]
    answers = [submit(lane, asked)[1] for asked in asks]
    drain(lane)
    ends = [answer.finished.ended for answer in answers]
    assert ends == sorted(ends)


def test_background_gives_its_slot_to_foreground_and_completes(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=512, sequences=1, batch=64, outputs=4, threads=1))
    cold = solo(lane, ask(model, max_new=40))
    sequence, background = submit(lane, ask(model, max_new=40, background=True))
    for _ in range(10):
        step(lane)
    had = len(background.events)
    _, foreground = submit(lane, ask(model, PROMPTS[1], 20))
    while lane.has_work(background=False):
        step(lane)
        assert len(background.events) == had
    assert foreground.finished.answer_tokens == 20
    assert sequence.slot is None and sequence.generated
    drain(lane)
    assert_same(background, cold)
    assert background.tokens == cold.tokens


def test_background_keeps_its_place_when_there_is_room(lane: Lane, model: Model) -> None:
    sequence, background = submit(lane, ask(model, max_new=40, background=True))
    step(lane)
    had = len(background.events)
    submit(lane, ask(model, PROMPTS[1], 20))
    late, _ = submit(lane, ask(model, PROMPTS[2], 20, background=True))
    while lane.has_work(background=False):
        step(lane)
        assert len(background.events) == had
    assert sequence.slot is not None
    assert late.slot is None and not late.admitted
    drain(lane)
    assert background.finished.answer_tokens == 40


# -- who leaves early -------------------------------------------------------------------------------------------


def test_the_deadline_removes_running_and_waiting(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=512, sequences=1, batch=64, outputs=4, threads=1))
    running, late = submit(lane, ask(model, max_new=50, deadline=1000.0))
    waiting, later = submit(lane, ask(model, max_new=50, deadline=1000.0))
    _, patient = submit(lane, ask(model, max_new=50, deadline=1000.5))
    for _ in range(3):
        step(lane)
    assert lane.sweep(999.9) == []
    assert lane.sweep(1000.0) == [running, waiting]
    assert isinstance(late.error, DeadlineExceeded) and isinstance(later.error, DeadlineExceeded)
    assert late.tokens and not later.tokens
    drain(lane)
    assert patient.finished.answer_tokens == 50


def test_the_cancelled_leave_silently_and_their_cells_are_free(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=256, sequences=1, batch=64, outputs=4, threads=1))
    sequence, answer = submit(lane, ask(model, max_new=200, ignore_end=True))
    for _ in range(150):
        step(lane)
    sequence.cancelled = True
    assert lane.sweep(0.0) == [sequence]
    assert not lane.running and len(answer.deltas) == len(answer.events)
    assert solo(lane, ask(model, max_new=240, ignore_end=True)).finished.answer_tokens == 240


def test_a_fault_fails_those_in_memory_and_spares_the_waiting(make_lane: MakeLane, model: Model) -> None:
    lane = make_lane(LaneShape(context=512, sequences=2, batch=64, outputs=4, threads=1))
    cold = solo(lane, ask(model)).text
    answers = [submit(lane, ask(model, max_new=24))[1] for _ in range(3)]
    for _ in range(5):
        step(lane)
    lane.fail_all(EngineFault("test"))
    assert [answer.error.message for answer in answers[:2]] == ["test", "test"]
    drain(lane)
    assert answers[2].text == cold
