"""Prompts of a wanted length that no prefix cache knows, and the requests that carry them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

WORDS = "contract payment notice patient invoice server account delay clause index market order refund error".split()


def prompt(tokens: int, rng: random.Random) -> str:
    """About `tokens` tokens: each of these words, with its space, is one token of most English vocabularies."""
    return " ".join(rng.choices(WORDS, k=tokens))


def like(texts: Sequence[str], tokens: int, rng: random.Random) -> str:
    """About `tokens` tokens of some of these texts, behind a number that makes the whole unknown to any cache."""
    words, most = [f"{rng.randrange(10**6)}:"], tokens * 3 // 4  # a token is three quarters of a word, about
    while len(words) < most:
        words += rng.choice(texts).split()
    return " ".join(words[:most])


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
    shares: Mapping[str, int],
    seed: int,
    prompt_tokens: int,
    answer: int,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[str, dict[str, object]]]:
    """`shares` requests for each cohort, shuffled; with `texts`, of such as belong to it."""
    rng = random.Random(seed)
    cohorts = [cohort for cohort, count in shares.items() for _ in range(count)]
    rng.shuffle(cohorts)
    for cohort in cohorts:
        text = like(texts[cohort], prompt_tokens, rng) if texts else prompt(prompt_tokens, rng)
        yield cohort, completion(text, answer)
