"""Rows of a JSONL file as a cohort's examples, also where the file does not say by what they are judged."""

from __future__ import annotations

from pathlib import Path

from appliance import import_file
from appliance.store import examples
from appliance.store.examples import Example, Split


def read(path: Path, cohort: str, split: Split, task: str = "", metric: str = "") -> list[Example]:
    """With this task and metric, if they are given."""
    found = import_file.read(path, cohort, split).values()
    return [_asked_as(one, task, metric) for one in found] if task else list(found)


def _asked_as(one: Example, task: str, metric: str) -> Example:
    return examples.new(
        one.cohort, one.split, one.turns, one.completion, one.text, task=task, metric=metric, refs=one.accepted
    )
