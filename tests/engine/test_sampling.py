from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from appliance.engine.lane import Lane
from appliance.engine.llama import Logits, Model
from appliance.engine.sampling import Sampling, score
from appliance.errors import EngineFault
from tests.engine.conftest import MakeLane
from tests.engine.drive import PROMPTS, ask, drain, solo, submit
from tests.tiny import IM_END, write_adapter

PENALTIES = [Sampling(temperature=0, frequency_penalty=100), Sampling(temperature=0, presence_penalty=100)]


def tokens(lane: Lane, model: Model, sampling: Sampling, max_new: int = 24, text: str = PROMPTS[0]) -> list[int]:
    return solo(lane, ask(model, text, max_new, sampling=sampling)).tokens


# -- the choice -------------------------------------------------------------------------------------------------


def test_greedy_is_deterministic_and_the_best(lane: Lane, model: Model) -> None:
    first, second = (solo(lane, ask(model, logprobs=1)) for _ in range(2))
    assert first.tokens == second.tokens
    assert len(set(first.tokens)) > 10
    assert all(s.token == s.top[0][0] for s in first.scores)


def test_one_seed_one_text(lane: Lane, model: Model) -> None:
    texts = {seed: tokens(lane, model, Sampling(seed=seed)) for seed in range(4)}
    assert all(tokens(lane, model, Sampling(seed=seed)) == text for seed, text in texts.items())
    assert len({tuple(text) for text in texts.values()}) == len(texts)


def test_the_seed_decides_whoever_else_is_served(lane: Lane, model: Model) -> None:
    alone = tokens(lane, model, Sampling(seed=7))
    _, with_others = submit(lane, ask(model, sampling=Sampling(seed=7)))
    for text in PROMPTS[1:4]:
        submit(lane, ask(model, text, sampling=Sampling(seed=8)))
    drain(lane)
    assert with_others.tokens == alone


@pytest.mark.parametrize("narrow", [Sampling(top_k=1), Sampling(top_p=1e-6), Sampling(min_p=1.0)])
def test_the_narrowest_truncation_is_greedy(lane: Lane, model: Model, narrow: Sampling) -> None:
    assert tokens(lane, model, narrow) == tokens(lane, model, Sampling(temperature=0))


def test_low_temperature_comes_near_greedy_and_high_does_not(lane: Lane, model: Model) -> None:
    greedy = tokens(lane, model, Sampling(temperature=0))
    assert tokens(lane, model, Sampling(temperature=0.001, seed=1)) == greedy
    assert tokens(lane, model, Sampling(temperature=5, seed=1)) != greedy


# -- penalties and bias -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", PENALTIES, ids=["frequency", "presence"])
def test_answer_penalties_forbid_repetition(lane: Lane, model: Model, penalty: Sampling) -> None:
    plain = tokens(lane, model, Sampling(temperature=0), 60)
    penalised = tokens(lane, model, penalty, 60)
    assert len(set(plain)) < len(plain)
    assert len(set(penalised)) == len(penalised)
    repeated = next(i for i, token in enumerate(plain) if token in plain[:i])
    assert penalised[:repeated] == plain[:repeated]


@pytest.mark.parametrize("penalty", PENALTIES, ids=["frequency", "presence"])
def test_answer_penalties_do_not_count_the_prompt(lane: Lane, model: Model, penalty: Sampling) -> None:
    wanted = model.tokenize(PROMPTS[0], special=False)[-1]
    penalised = tokens(lane, model, replace(penalty, logit_bias={wanted: 50.0}))
    assert penalised.index(wanted) == 0
    assert penalised.count(wanted) == 1


def test_repeat_penalty_counts_the_prompt_too(lane: Lane, model: Model) -> None:
    wanted = model.tokenize(PROMPTS[0], special=False)[-1]
    penalised = tokens(lane, model, Sampling(temperature=0, repeat_penalty=1e4, logit_bias={wanted: 50.0}), 40)
    assert len(set(penalised)) == len(penalised)
    assert not set(penalised) & set(model.tokenize(PROMPTS[0], special=False))


def test_bias_forbids_and_forces(lane: Lane, model: Model) -> None:
    plain = tokens(lane, model, Sampling(temperature=0))
    without = tokens(lane, model, Sampling(temperature=0, logit_bias={plain[0]: -100.0}))
    assert plain[0] not in without
    assert tokens(lane, model, Sampling(seed=3, logit_bias={200: 100.0}), 5) == [200] * 5
    assert tokens(lane, model, Sampling(temperature=0, logit_bias={model.n_vocab + 5: 100.0})) == plain


def test_a_forced_end_token_ends_the_answer(lane: Lane, model: Model) -> None:
    answer = solo(lane, ask(model, sampling=Sampling(temperature=0, logit_bias={IM_END: 100.0})))
    assert (answer.text, answer.finished.reason, answer.finished.answer_tokens) == ("", "stop", 1)


# -- scores -----------------------------------------------------------------------------------------------------


def test_the_probabilities_of_all_tokens_sum_to_one(lane: Lane, model: Model) -> None:
    answer = solo(lane, ask(model, max_new=3, logprobs=model.n_vocab))
    for scored in answer.scores:
        assert sum(math.exp(logprob) for _, logprob in scored.top) == pytest.approx(1, abs=1e-6)
        assert sorted(token for token, _ in scored.top) == list(range(model.n_vocab))


def test_scores_are_the_models_own_before_bias_and_temperature(lane: Lane, model: Model) -> None:
    plain = solo(lane, ask(model, max_new=1, logprobs=5)).scores[0]
    other = plain.top[3][0]
    biased = Sampling(temperature=3.0, seed=1, logit_bias={other: 100.0})
    scored = solo(lane, ask(model, max_new=1, logprobs=5, sampling=biased)).scores[0]
    assert (scored.token, scored.logprob) == pytest.approx(plain.top[3], abs=1e-4)
    assert dict(scored.top) == pytest.approx(dict(plain.top), abs=1e-4)


@given(arrays(np.float32, 50, elements=st.floats(-100, 100, width=32)), st.integers(0, 49), st.integers(0, 50))
def test_score_is_a_log_softmax_with_the_best_first(row: Logits, token: int, top: int) -> None:
    scored = score(row, token, top)
    logs = [logprob for _, logprob in scored.top]
    assert scored.logprob <= 1e-9
    assert logs == sorted(logs, reverse=True) and len(logs) == top
    if top:
        assert logs[0] == pytest.approx(float(row.max() - np.logaddexp.reduce(row.astype(float))), abs=1e-4)
        assert scored.logprob <= logs[0]


# -- damaged models ---------------------------------------------------------------------------------------------


def test_a_model_without_finite_logits_fails_the_request(make_lane: MakeLane, model: Model, tmp_path: Path) -> None:
    lane = make_lane(adapter=write_adapter(tmp_path / "nan.gguf", scale=math.nan))
    error = solo(lane, ask(model)).error
    assert isinstance(error, EngineFault) and error.code == "not_finite"


def test_a_model_without_finite_logits_scores_no_prompt(make_lane: MakeLane, model: Model, tmp_path: Path) -> None:
    lane = make_lane(adapter=write_adapter(tmp_path / "nan.gguf", scale=math.nan))
    error = solo(lane, ask(model, max_new=0, score_from=1)).error
    assert isinstance(error, EngineFault) and error.code == "not_finite"
