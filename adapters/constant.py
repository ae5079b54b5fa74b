"""What one answer to every question of a task would score: the least that learning has to beat. Pure.

The rule of the majority class (ZeroR; Holte 1993), for any metric: of the answers learned from, the most common one.
An adapter trained on answers that belong to other questions learns how answers look and which are common, so it beats
a base that knows neither; it does not beat this.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from adapters import metrics
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.slice import Row


def answers(train: Sequence[Row]) -> dict[str, str]:
    """By task. A task whose rows have one answer only is left out: nobody can do better."""
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        given[row.task][row.completion] += 1
    return {task: counts.most_common(1)[0][0] for task, counts in given.items() if len(counts) > 1}


def scores(train: Sequence[Row], asked: Sequence[Row]) -> Mapping[str, float]:
    """Of each row asked, by its digest, from 0 to 1; rows that it cannot be compared on are left out."""
    common = answers(train)
    return {
        row.digest: metrics.judge(row.metric, common[row.task], row.completion, row.refs)["score"]
        for row in asked
        if row.task in common and metrics.metric_of(row.metric, row.completion) not in (LIKELIHOOD, OPENING)
    }
