"""A judge beside the metrics: the base is asked whether an answer says what the wanted one says.

LLM as a judge with a reference (Zheng et al. 2023). It decides nothing: it is shown beside a metric that is the same
for everybody, so that a person sees where the two disagree. A small base is a poor judge: the packaged one tells the
right answers of shipped eval rows from those to other questions with an AUROC of 0.73.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from appliance.engine.engine import BASE_LANE
from appliance.engine.sequence import PromptScores, SequenceRequest
from appliance.serving import Serving

QUESTION = """Here are two answers to the same question.

First answer: {wanted}

Second answer: {given}

Do both answers say the same? Say only Yes or No."""
WORDS = ("Yes", "No")
PARTITION = "judge"


async def opinion(serving: Serving, given: str, wanted: Sequence[str]) -> float:
    """The base's probability of yes against no, the highest of the wanted answers; 0 where two do not fit into
    the context. Raises ApplianceError when the box fails."""
    return max([await _same(serving, given, one) for one in wanted])


async def _same(serving: Serving, given: str, wanted: str) -> float:
    asked = [("user", QUESTION.format(wanted=wanted, given=given))]
    prompt = await asyncio.to_thread(serving.template.encode, asked, None)
    if len(prompt) + 1 > serving.context:
        return 0.0
    yes, no = [await _log_probability(serving, prompt, word) for word in WORDS]
    return 1 / (1 + math.exp(min(no - yes, 700.0)))


async def _log_probability(serving: Serving, prompt: Sequence[int], word: str) -> float:
    """Of the word's first token, after the prompt."""
    first = serving.engine.model.tokenize(word, special=False)[0]
    request = SequenceRequest(
        BASE_LANE, [*prompt, first], 0, score_from=len(prompt), background=True, partition=PARTITION
    )
    with serving.engine.submit([request]) as run:
        scores = [event async for _, event in run.events() if isinstance(event, PromptScores)]
    return scores[0].scores[0].logprob
