"""The demo cohorts' data: enough of it, well formed, learnable, and no row a copy of another."""

from __future__ import annotations

import functools
import json
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COHORTS = tuple(tomllib.loads((ROOT / "cohorts.toml").read_text(encoding="utf-8"))["cohorts"])
FILES = (*((name, split) for name in (*COHORTS, "base") for split in ("train", "eval")), ("general", "eval"))
LEAST = {"train": 150, "eval": 80}

LABELS = {
    "clause_type": {
        *("confidentiality", "termination", "indemnity", "governing law"),
        *("payment", "assignment", "liability", "warranty"),
    },
    "section": {"complaint", "history", "medication", "allergy", "examination", "results", "plan", "social"},
    "sentiment": {"positive", "negative", "neutral"},
    "intent": {"refund", "delivery", "login", "cancel", "damaged", "billing", "booking", "technical"},
    "error_kind": {
        *("syntax", "type", "missing dependency", "permission"),
        *("network", "memory", "timeout", "not found"),
    },
}
COPIED = "copied"  # from the text, letter by letter
OR_NONE = "copied or none"
FIELDS: dict[str, dict[str, str | set[str]]] = {
    "obligation": {"party": COPIED, "action": COPIED, "deadline": OR_NONE},
    "prescription": {"drug": COPIED, "dose": OR_NONE, "frequency": OR_NONE},
    "payment": {"payee": COPIED, "amount": COPIED, "due": OR_NONE},
    "ticket": {"product": COPIED, "issue": COPIED, "urgent": {"yes", "no"}},
    "commit": {"type": {"feat", "fix", "docs", "test", "refactor", "perf", "build"}, "scope": COPIED},
}


@dataclass(frozen=True, slots=True)
class Row:
    cohort: str
    split: str
    line: int
    prompt: str
    completion: str
    text: str
    task: str
    metric: str

    def __str__(self) -> str:
        return f"examples/{self.cohort}/{self.split}.jsonl:{self.line}"


@functools.cache
def rows(cohort: str, split: str) -> tuple[Row, ...]:
    lines = (ROOT / "examples" / cohort / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(Row(cohort, split, n, **json.loads(line)) for n, line in enumerate(lines, 1))


def every_row() -> list[Row]:
    return [row for file in FILES for row in rows(*file)]


def of_metric(metric: str) -> list[Row]:
    return [row for row in every_row() if row.metric == metric]


@pytest.mark.parametrize(("cohort", "split"), FILES)
def test_there_are_enough_rows_and_each_is_whole(cohort: str, split: str) -> None:
    found = rows(cohort, split)
    assert len(found) >= LEAST[split]
    for row in found:
        parts = (row.prompt, row.completion, row.text, row.task, row.metric)
        assert all(isinstance(part, str) and part.strip() for part in parts), row
        assert row.completion == row.completion.strip(), row
        assert row.text in row.prompt, row
        assert len(row.prompt) + len(row.completion) < 2000, row  # fits the smallest context many times
        assert "<|" not in row.prompt + row.completion, row


def test_no_other_folders_lie_there() -> None:
    present = {(p.parent.name, p.stem) for p in (ROOT / "examples").glob("*/*.jsonl")}
    assert present == set(FILES)


@pytest.mark.parametrize("cohort", COHORTS)
def test_a_cohort_has_two_tasks_a_label_and_a_form_in_equal_parts(cohort: str) -> None:
    for split in ("train", "eval"):
        tasks = Counter((row.task, row.metric) for row in rows(cohort, split))
        assert {metric for _, metric in tasks} == {"label", "json"}
        assert len(tasks) == 2
        assert min(tasks.values()) >= 0.8 * max(tasks.values())
    assert {row.task for row in rows(cohort, "train")} == {row.task for row in rows(cohort, "eval")}


@pytest.mark.parametrize("cohort", COHORTS)
def test_a_task_is_asked_in_the_same_words(cohort: str) -> None:
    asked = defaultdict(set)
    for row in (*rows(cohort, "train"), *rows(cohort, "eval")):
        asked[row.task].add(row.prompt.replace(row.text, ""))
    assert all(len(words) == 1 for words in asked.values())


@pytest.mark.parametrize("cohort", ["base", "general"])
def test_rows_of_no_cohort_have_no_metric(cohort: str) -> None:
    assert {row.metric for file in FILES if file[0] == cohort for row in rows(*file)} == {"none"}


def test_the_base_rows_are_of_every_kind() -> None:
    for split in ("train", "eval"):
        kinds = Counter(row.task for row in rows("base", split))
        assert set(kinds) == {"chat", "sums", "language", "noise", "jailbreak"}
        assert min(kinds.values()) >= 10


def test_labels_are_those_the_prompt_offers() -> None:
    for row in of_metric("label"):
        assert row.completion in LABELS[row.task], row
        instruction = row.prompt.removesuffix(row.text)
        assert all(label in instruction for label in LABELS[row.task]), row


@pytest.mark.parametrize("split", ["train", "eval"])
def test_labels_are_balanced(split: str) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in of_metric("label"):
        if row.split == split:
            counts[row.task][row.completion] += 1
    for task, found in counts.items():
        assert set(found) == LABELS[task]
        assert max(found.values()) - min(found.values()) <= 2, (task, found)


def test_forms_are_json_with_their_keys_in_order() -> None:
    for row in of_metric("json"):
        form = json.loads(row.completion)
        assert list(form) == list(FIELDS[row.task]), row
        assert all(isinstance(value, str) and value for value in form.values()), row
        assert json.dumps(form, ensure_ascii=False) == row.completion, row


def test_forms_hold_what_the_text_says_in_its_own_words() -> None:
    for row in of_metric("json"):
        for name, value in json.loads(row.completion).items():
            rule = FIELDS[row.task][name]
            if isinstance(rule, set):
                assert value in rule, (row, name, value)
            elif not (rule == OR_NONE and value == "none"):
                assert value in row.text, (row, name, value)


def test_fields_of_few_values_have_them_all() -> None:
    seen: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for row in of_metric("json"):
        for name, value in json.loads(row.completion).items():
            seen[row.split, row.task, name].add(value)
    for (split, task, name), values in seen.items():
        rule = FIELDS[task][name]
        if isinstance(rule, set):
            assert values == rule, (split, task, name)
        elif rule == OR_NONE:
            assert "none" in values and len(values) > 5, (split, task, name)


def test_no_row_is_nearly_another() -> None:
    """Jaccard similarity of the texts' character 5-grams below a half, within and across files."""
    found = every_row()
    grams = [_grams(row.text) for row in found]
    holders: dict[str, list[int]] = defaultdict(list)
    near = []
    for here, own in enumerate(grams):
        shared = Counter(there for gram in own for there in holders[gram])
        for there, n in shared.items():
            if n >= 0.5 * (len(own) + len(grams[there]) - n):
                near.append(f"{found[there]} and {found[here]}: {found[here].text}")
        for gram in own:
            holders[gram].append(here)
    assert not near, "\n".join(near)


def _grams(text: str) -> set[str]:
    plain = " ".join(text.casefold().split())
    return {plain[i : i + 5] for i in range(max(1, len(plain) - 4))}
