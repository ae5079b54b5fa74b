"""How good an answer is, from 0 to 1, by the metric of its task. Pure.

Each metric gives the score that gates compare, `score`, and further ones beside it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Scores: TypeAlias = dict[str, float]
LIKELIHOOD: Final = "likelihood"  # of the wanted answer and its end; nothing is generated
OPENING: Final = "opening"  # the same of an answer's beginning, which has no end


class UnknownMetric(ValueError):
    """The message names those there are."""


def metric_of(metric: str, completion: str) -> str:
    """The metric to use: as said, or what fits the wanted answer. Raises UnknownMetric."""
    metric = _ALIASES.get(metric.lower(), metric.lower())
    if metric in (LIKELIHOOD, OPENING):
        return metric
    if metric:
        if metric not in METRICS:
            raise UnknownMetric(f"there is no metric {metric!r}; there are {', '.join(sorted(METRICS))} and none")
        return metric
    if isinstance(parsed(completion), dict):
        return "json"
    return "label" if len(completion.split()) <= 3 else "f1"


def judge(metric: str, answer: str, completion: str, refs: Sequence[str] = ()) -> Scores:
    """The best over the wanted answer and `refs`. Raises UnknownMetric."""
    wanted = METRICS[metric_of(metric, completion)]
    found = [wanted(answer, right) for right in (completion, *refs)]
    return max(found, key=lambda scores: scores["score"])


def exact(answer: str, right: str) -> Scores:
    return {"score": float(_plain(answer) == _plain(right))}


def label(answer: str, right: str) -> Scores:
    """As `exact`, without punctuation around and whatever follows the first line."""
    return {"score": float(named(answer) == _bare(right))}


def named(answer: str, right: Sequence[str] = ()) -> str:
    """The label that an answer gives: its first line, without case and punctuation around. Those that are `right` are
    one label, the first."""
    found = _bare((answer.strip().splitlines() or [""])[0])
    return _bare(right[0]) if found in map(_bare, right) else found


def token_f1(answer: str, right: str) -> Scores:
    """Overlap of words as SQuAD counts it (Rajpurkar et al. 2016)."""
    return {"score": _f1(Counter(_words(answer)), Counter(_words(right))), **_named("exact", exact(answer, right))}


def rouge_l(answer: str, right: str) -> Scores:
    """Longest common subsequence of words, F-measure (Lin 2004)."""
    from rapidfuzz.distance import LCSseq  # here, since serving does without it

    said, wanted = _words(answer), _words(right)
    length = len(said) + len(wanted)
    return {"score": 2 * LCSseq.similarity(said, wanted) / length if length else 1.0}


def bleu(answer: str, right: str) -> Scores:
    """Of the sentence, of 1 (Papineni et al. 2002), smoothed."""
    from sacrebleu import sentence_bleu

    return {"score": sentence_bleu(answer.strip(), [right.strip()]).score / 100}


def json_fields(answer: str, right: str) -> Scores:
    """F1 over fields with their values; beside it whether it parses, and whether the objects are equal."""
    found, wanted = parsed(answer), parsed(right)
    valid = float(isinstance(found, dict | list))
    same = float(bool(valid) and _same(found, wanted))
    return {"score": _f1(_fields(found), _fields(wanted)) if valid else 0.0, "valid": valid, "exact": same}


def regex(answer: str, right: str) -> Scores:
    """`right` is a regular expression that the whole answer matches, within a second. Raises ValueError for a bad
    pattern."""
    import regex as engine  # its own, since the standard library's cannot be stopped, and stops everything meanwhile

    try:
        found = engine.fullmatch(right, answer.strip(), flags=engine.DOTALL, timeout=1.0, concurrent=True)
    except TimeoutError:
        return {"score": 0.0}
    except engine.error as error:
        raise ValueError(f"{right!r} is no regular expression: {error}") from error
    return {"score": float(found is not None)}


METRICS: Final[Mapping[str, Callable[[str, str], Scores]]] = {
    "exact": exact,
    "label": label,
    "f1": token_f1,
    "rouge_l": rouge_l,
    "bleu": bleu,
    "json": json_fields,
    "regex": regex,
}


_ALIASES: Final = {  # as other evaluators call them
    "none": LIKELIHOOD,
    "accuracy": "label",
    "label_accuracy": "label",
    "macro_f1": "label",
    "exact_match": "exact",
    "token_f1": "f1",
    "rouge-l": "rouge_l",
    "rougel": "rouge_l",
    "json_match": "json",
}


def parsed(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """The JSON in it, in a fence or not; None when there is none."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare[3:-3].removeprefix("json")
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        return None


def _fields(value: object) -> Counter[str]:
    """Each leaf with its path; an empty object or list is one. Lists count as sets of items."""
    found: Counter[str] = Counter()
    left: list[tuple[str, object]] = [("", value)]
    while left:
        path, inner = left.pop()
        if isinstance(inner, dict) and inner:
            left += [(f"{path}.{key}", below) for key, below in inner.items()]
        elif isinstance(inner, list) and inner:
            left += [(f"{path}[]", below) for below in inner]
        else:
            found[f"{path}={_plain(str(inner))}"] += 1
    return found


def _same(one: object, other: object) -> bool:
    try:
        texts = [_plain(json.dumps(value, sort_keys=True, ensure_ascii=False)) for value in (one, other)]
    except RecursionError:
        return False
    return texts[0] == texts[1]


def _f1(found: Counter[str], wanted: Counter[str]) -> float:
    both = sum((found & wanted).values())
    total = sum(found.values()) + sum(wanted.values())
    return 2 * both / total if total else 1.0


def _named(name: str, scores: Scores) -> Scores:
    return {name: scores["score"]}


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _bare(text: str) -> str:
    return _plain(text).strip(" .,;:!?\"'`*()[]")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
