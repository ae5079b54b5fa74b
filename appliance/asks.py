"""From a question to what the engine is asked: token ids, limits, constraints. Runs on a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from appliance.engine.constraint import Constraint
from appliance.engine.sampling import SEEDS
from appliance.engine.sequence import Ask
from appliance.errors import ContextExceeded
from appliance.question import Question
from appliance.routing.placement import Place
from appliance.serving import Serving

MAX_BYTES_A_TOKEN = 32  # on average over a prompt; English has about 4, runs of spaces the most


def asks_for(
    serving: Serving, question: Question, place: Place, lane: str, partition: str, arrived: float
) -> list[Ask]:
    """One Ask for every prompt and choice, a prompt's choices side by side. `arrived` is on the monotonic clock.

    Raises InvalidRequest: the prompt is over the context, or the response format cannot be enforced.
    """
    limit = serving.config.appliance.deadline_seconds
    deadline = arrived + min(limit, question.origin.timeout_s or limit)
    asks = []
    constraint = _constraint(serving, question)
    for prompt in _prompts(serving, question, place):
        ask = Ask(
            lane,
            prompt,
            _room(serving, len(prompt), question),
            question.sampling,
            question.stops,
            question.stop_tokens,
            question.ignore_end,
            question.logprobs,
            score_from=1 if question.echo and question.logprobs is not None else None,
            deadline=deadline,
            background=question.probe_of is not None,
            partition=partition,
            cohort=place.decision.cohort,
        )
        asks += [_choice(ask, constraint, number) for number in range(question.choices)]
    return asks


def check_size(serving: Serving, question: Question) -> None:
    """Refuse by bytes what cannot fit by tokens: a megabyte of spaces takes seconds to tokenise. Raises
    ContextExceeded."""
    texts = [text for _, text in question.turns] + [p for p in question.prompts if isinstance(p, str)]
    most = MAX_BYTES_A_TOKEN * serving.context * max(1, len(question.prompts))
    size = sum(map(len, texts))  # characters, at no cost
    if size <= most:
        size = sum(len(text.encode()) for text in texts)
    if size > most:
        raise _too_long(f"has at least {size} bytes, which is", serving, question)


def _prompts(serving: Serving, question: Question, place: Place) -> list[Sequence[int]]:
    if question.endpoint == "chat":
        system_prompt = serving.releases.system_prompt(place.target) if place.target else None
        return [serving.template.encode(question.turns, system_prompt)]
    encode = serving.engine.model.tokenize
    return [
        serving.template.begin(encode(prompt, special=True)) if isinstance(prompt, str) else prompt
        for prompt in question.prompts
    ]


def _room(serving: Serving, prompt: int, question: Question) -> int:
    """Tokens the answer may have: what was asked for or the default, as far as the context leaves room."""
    wanted = serving.config.appliance.default_max_tokens if question.max_new is None else question.max_new
    left = serving.context - prompt
    if left < min(wanted, 1):
        raise _too_long(f"has {prompt} tokens,", serving, question)
    return min(wanted, left)


def _too_long(what: str, serving: Serving, question: Question) -> ContextExceeded:
    return ContextExceeded(
        f"the prompt {what} more than fits: the context is {serving.context} tokens for prompt and answer together; "
        "shorten the prompt",
        param="messages" if question.endpoint == "chat" else "prompt",
    )


def _choice(ask: Ask, constraint: Constraint | None, number: int) -> Ask:
    """The nth choice: its own seed, and its own place in the grammar."""
    sampling = replace(ask.sampling, seed=(ask.sampling.seed + number) % SEEDS)
    return replace(ask, sampling=sampling, constraint=constraint.fresh() if constraint else None)


def _constraint(serving: Serving, question: Question) -> Constraint | None:
    wanted = question.response_format
    if wanted is None:
        return None
    if wanted.json_schema is None:
        return serving.constraints.json_object("response_format")
    return serving.constraints.json_schema(wanted.json_schema.schema_, "response_format.json_schema.schema")
