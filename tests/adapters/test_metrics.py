"""Scores of answers, by tables of cases."""

from __future__ import annotations

import random

import pytest

from adapters import metrics
from adapters.metrics import judge, metric_of
from adapters.scorecard import macro_f1


@pytest.mark.parametrize(
    ("metric", "answer", "right", "score"),
    [
        ("label", "Warranty", "warranty", 1),
        ("label", " warranty.\nBecause it warrants.", "warranty", 1),
        ("label", "the warranty", "warranty", 0),
        ("label", "", "warranty", 0),
        ("exact", "Governing  Law", "governing law", 1),
        ("exact", "governing law.", "governing law", 0),
        ("f1", "the cat sat", "the cat slept", 2 / 3),
        ("f1", "", "the cat", 0),
        ("json", '{"a": 1, "b": "x"}', '{"b": "X", "a": 1}', 1),
        ("json", '{"a": 1}', '{"a": 1, "b": "x"}', 2 / 3),
        ("json", '```json\n{"a": 1}\n```', '{"a": 1}', 1),
        ("json", '{"a": 1', '{"a": 1}', 0),
        ("json", "1", '{"a": 1}', 0),
        ("json", "[" * 100_000, '{"a": 1}', 0),
        ("json", "[" * 500 + "]" * 500, '{"a": 1}', 0),
        ("json", "{}", '{"parties": []}', 0),
        ("json", "```" + " \n" * 5000 + "```x", '{"a": 1}', 0),
        ("regex", "a" * 40 + "!", "(a+)+", 0),
        ("regex", "INV-0042", r"INV-\d{4}", 1),
        ("regex", "see INV-0042", r"INV-\d{4}", 0),
    ],
)
def test_a_score(metric: str, answer: str, right: str, score: float) -> None:
    assert judge(metric, answer, right)["score"] == pytest.approx(score)


@pytest.mark.parametrize(("metric", "worse"), [("rouge_l", "on the mat a dog"), ("bleu", "mat dog")])
def test_overlap_orders_answers(metric: str, worse: str) -> None:
    right = "the cat sat on the mat"
    best, less, none = (judge(metric, answer, right)["score"] for answer in (right, worse, "zzz"))
    assert best == pytest.approx(1) and none < less < best


def test_the_best_of_several_right_answers_counts() -> None:
    assert judge("exact", "ls -l", "ls", ["ls -a", "ls -l"])["score"] == 1


@pytest.mark.parametrize(
    ("given", "wanted", "score"),
    [
        ("aab", "aab", 1.0),
        ("aaaa", "aaab", (6 / 7 + 0) / 2),  # an accuracy of 0.75
        ("aaab", "aabb", (4 / 5 + 2 / 3) / 2),
        ("zzzz", "aabb", 0.0),
        ("aazz", "aabb", 0.5),
        ("z", "a", 0.0),
    ],
)
def test_macro_f1_counts_each_label_the_same(given: str, wanted: str, score: float) -> None:
    assert macro_f1(given, wanted) == pytest.approx(score)


def test_macro_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    draw = random.Random(1)
    wanted, given = ([draw.choice("abcde") for _ in range(200)] for _ in range(2))
    assert macro_f1(given, wanted) == pytest.approx(f1_score(wanted, given, average="macro"))


def test_no_labels_have_no_macro_f1() -> None:
    with pytest.raises(ValueError, match="no labels"):
        macro_f1([], [])


def test_the_label_that_an_answer_gives() -> None:
    assert metrics.named(" Governing Law.\nSince it says so.") == "governing law"
    assert metrics.named("Rent!", ("payment", "rent")) == "payment" and metrics.named("x", ("payment",)) == "x"


def test_json_tells_validity_and_equality_apart() -> None:
    assert judge("json", '{"a": 2}', '{"a": 1}') == {"score": 0.0, "valid": 1.0, "exact": 0.0}
    assert judge("json", "no", '{"a": 1}') == {"score": 0.0, "valid": 0.0, "exact": 0.0}


@pytest.mark.parametrize(
    ("given", "completion", "used"),
    [
        ("", '{"a": 1}', "json"),
        ("", "governing law", "label"),
        ("", "a longer answer in words", "f1"),
        ("none", "whatever", "likelihood"),
        ("rouge_l", "x", "rouge_l"),
        ("Exact_Match", "x", "exact"),
        ("rougeL", "x", "rouge_l"),
    ],
)
def test_the_metric_is_what_is_said_or_what_fits(given: str, completion: str, used: str) -> None:
    assert metric_of(given, completion) == used


def test_a_bad_pattern_is_named() -> None:
    with pytest.raises(ValueError, match="is no regular expression"):
        judge("regex", "x", "(a")


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    with pytest.raises(metrics.UnknownMetric, match=r"'brilliance'.*label"):
        metric_of("brilliance", "x")
