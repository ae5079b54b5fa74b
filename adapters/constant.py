"""What one answer to every question of a task would score: the least that learning has to beat. Pure.

The rule of the majority class (ZeroR; Holte 1993), for any metric: of the answers learned from, the most common one.
An adapter trained on answers that belong to other questions learns how answers look and which are common, so it beats
a base that knows neither; it does not beat this.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from adapters import metrics
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.slice import Row

TRIED = 100  # answers that are equally common, by a stable hash where there are more


@dataclass(frozen=True, slots=True)
class Constant:
    """By task its `answers`, and why others are `left_out`; `scores` of the rows asked, by digest, from 0 to 1."""

    answers: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


def of(train: Sequence[Row], asked: Sequence[Row]) -> Constant:
    """Of the rows learned from, on the rows asked. Where several answers are the most common ones, the best of them
    counts, so that nothing hangs on the order of the rows. Takes seconds for slow metrics."""
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        given[row.task][row.completion] += 1
    found = Constant()
    for task in dict.fromkeys(row.task for row in asked):
        rows = [row for row in asked if row.task == task and _is_judged(row)]
        if not rows:
            found.left_out[task] = "it is judged by the likelihood of the wanted answer"
        elif task not in given:
            found.left_out[task] = "no row to train on is of this task"
        else:
            _answer(found, task, given[task], rows)
    return found


def _is_judged(row: Row) -> bool:
    return metrics.metric_of(row.metric, row.completion) not in (LIKELIHOOD, OPENING)


def _answer(found: Constant, task: str, given: Counter[str], rows: Sequence[Row]) -> None:
    tried = {answer: [_score(answer, row) for row in rows] for answer in _most_common(given)}
    answer = max(tried, key=lambda one: fmean(tried[one]))
    if len(given) == 1 and min(tried[answer]) == 1.0:
        found.left_out[task] = "the only answer of the rows to train on is right everywhere, and cannot be beaten"
        return
    found.answers[task] = answer
    found.scores.update(zip((row.digest for row in rows), tried[answer], strict=True))


def _most_common(given: Mapping[str, int]) -> list[str]:
    most = max(given.values())
    tied = [answer for answer, times in given.items() if times == most]
    return sorted(tied, key=lambda answer: hashlib.sha256(answer.encode()).digest())[:TRIED]


def _score(answer: str, row: Row) -> float:
    return metrics.judge(row.metric, answer, row.completion, row.refs)["score"]
