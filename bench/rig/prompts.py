"""Prompts of a wanted length that no prefix cache knows, and the requests that carry them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

WORDS = "contract payment notice patient invoice server account delay clause index market order refund error".split()


def prompt(tokens: int, rng: random.Random) -> str:
    """About `tokens` tokens: each of these words, with its space, is one token of most English vocabularies."""
    return " ".join(rng.choices(WORDS, k=tokens))


def completion(text: str, answer: int) -> dict[str, object]:
    """A greedy request for exactly `answer` tokens."""
    return {
        "prompt": text,
        "max_tokens": answer,
        "temperature": 0,
        "ignore_eos": True,
        "stream_options": {"include_usage": True},
    }


def mix(
    shares: Mapping[str, int], seed: int, prompt_tokens: int, answer: int
) -> Iterator[tuple[str, dict[str, object]]]:
    """`shares` requests for each cohort, shuffled."""
    rng = random.Random(seed)
    cohorts = [cohort for cohort, count in shares.items() for _ in range(count)]
    rng.shuffle(cohorts)
    for cohort in cohorts:
        yield cohort, completion(prompt(prompt_tokens, rng), answer)
