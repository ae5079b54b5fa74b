"""From a request to what the engine is asked: token ids, limits, constraints. Runs on a worker thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from appliance.engine.constraint import Constraint
from appliance.engine.sampling import SEEDS
from appliance.engine.sequence import SequenceRequest
from appliance.errors import ContextExceeded
from appliance.inference_request import InferenceRequest
from appliance.routing.placement import Placement
from appliance.serving import Serving

MAX_BYTES_A_TOKEN = 32  # on average over a prompt; English has about 4, runs of spaces the most


def sequence_requests(
    serving: Serving, inference: InferenceRequest, place: Placement, lane: str, partition: str, arrived: float
) -> list[SequenceRequest]:
    """One for every prompt and choice, a prompt's choices side by side. `arrived` is on the monotonic clock.

    Raises InvalidRequest: the prompt is over the context, or the response format cannot be enforced.
    """
    limit = serving.config.appliance.deadline_seconds
    deadline = arrived + min(limit, inference.context.timeout_s or limit)
    requests = []
    constraint = _constraint(serving, inference)
    for prompt in _prompts(serving, inference, place):
        request = SequenceRequest(
            lane,
            prompt,
            _room(serving, len(prompt), inference),
            inference.sampling,
            inference.stops,
            inference.stop_tokens,
            inference.ignore_end,
            inference.logprobs,
            score_from=1 if inference.echo and inference.logprobs is not None else None,
            deadline=deadline,
            background=inference.probe_of is not None,
            partition=partition,
            cohort=place.decision.cohort,
        )
        requests += [_choice(request, constraint, number) for number in range(inference.choices)]
    return requests


def check_size(serving: Serving, inference: InferenceRequest) -> None:
    """Refuse by bytes what cannot fit by tokens: a megabyte of spaces takes seconds to tokenise. Raises
    ContextExceeded."""
    texts = [text for _, text in inference.turns] + [p for p in inference.prompts if isinstance(p, str)]
    most = MAX_BYTES_A_TOKEN * serving.context * max(1, len(inference.prompts))
    size = sum(map(len, texts))  # characters, at no cost
    if size <= most:
        size = sum(len(text.encode()) for text in texts)
    if size > most:
        raise _too_long(f"has at least {size} bytes, which is", serving, inference)


def _prompts(serving: Serving, inference: InferenceRequest, place: Placement) -> list[Sequence[int]]:
    if inference.endpoint == "chat":
        system_prompt = serving.releases.system_prompt(place.target) if place.target else None
        return [serving.template.encode(inference.turns, system_prompt)]
    encode = serving.engine.model.tokenize
    return [
        serving.template.begin(encode(prompt, special=True)) if isinstance(prompt, str) else prompt
        for prompt in inference.prompts
    ]


def _room(serving: Serving, prompt: int, inference: InferenceRequest) -> int:
    """Tokens the answer may have: what was asked for or the default, as far as the context leaves room."""
    wanted = serving.config.appliance.default_max_tokens if inference.max_new is None else inference.max_new
    left = serving.context - prompt
    if left < min(wanted, 1):
        raise _too_long(f"has {prompt} tokens,", serving, inference)
    return min(wanted, left)


def _too_long(what: str, serving: Serving, inference: InferenceRequest) -> ContextExceeded:
    return ContextExceeded(
        f"the prompt {what} more than fits: the context is {serving.context} tokens for prompt and answer together; "
        "shorten the prompt",
        param="messages" if inference.endpoint == "chat" else "prompt",
    )


def _choice(request: SequenceRequest, constraint: Constraint | None, number: int) -> SequenceRequest:
    """The nth choice: its own seed, and its own place in the grammar."""
    sampling = replace(request.sampling, seed=(request.sampling.seed + number) % SEEDS)
    return replace(request, sampling=sampling, constraint=constraint.fresh() if constraint else None)


def _constraint(serving: Serving, inference: InferenceRequest) -> Constraint | None:
    wanted = inference.response_format
    if wanted is None:
        return None
    if wanted.json_schema is None:
        return serving.constraints.json_object("response_format")
    return serving.constraints.json_schema(wanted.json_schema.schema_, "response_format.json_schema.schema")
