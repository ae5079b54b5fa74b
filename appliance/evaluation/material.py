"""The rows that cohorts are trained on and judged by: imported, taken from the log, or the shipped examples."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from adapters.slice import Row
from appliance import import_file
from appliance.chat import Turn, conversation_text
from appliance.import_file import GENERAL
from appliance.store import examples, feedback
from appliance.store.database import Connection, Database
from appliance.store.examples import Example, Split
from router.cohort import BASE


def harvest(connection: Connection, cohort: str) -> None:
    """Take answers that people marked for training among the examples, each once, and out again those of which they
    think otherwise now."""
    marked = feedback.approved(connection, cohort)
    examples.forget_withdrawn(connection, cohort, [one.request_id for one in marked])
    whole = [one for one in marked if not one.cut]
    examples.insert_newest(connection, cohort, [row for one in whole if (row := _example(cohort, one))])


async def harvest_all(database: Database, cohorts: Iterable[str]) -> None:
    """The same for each of these cohorts. Before rows are chosen or eval rows are read: a cohort with rows of its own
    is not judged by the shipped ones. Raises StoreUnavailable."""
    for cohort in cohorts:
        await database.commit(partial(harvest, cohort=cohort))


def _example(cohort: str, approved: feedback.Approved) -> Example | None:
    messages = json.loads(approved.messages)
    if not all(isinstance(message["content"], str) for message in messages):  # a completion's prompt as token ids
        return None
    turns: list[Turn] = [(message["role"], message["content"]) for message in messages]
    if approved.endpoint != "chat":
        turns = [("user", text) for _, text in turns]
    text = conversation_text(turns)
    if not text.strip() or not approved.answer.strip():
        return None
    return examples.new(
        cohort,
        "train",
        turns,
        approved.answer,
        text,
        subject=approved.subject,
        source=approved.request_id,
        origin="interaction",
    )


class Material:
    """`shipped` is the folder of the shipped examples: they stand in for a cohort that has no rows of its own."""

    def __init__(self, database: Database, shipped: Path) -> None:
        self._database, self._shipped = database, shipped

    def lacking(self) -> str:
        """To be said where rows are missing: that there is no folder of shipped ones."""
        return "" if self._shipped.is_dir() else f"; [router] examples names {self._shipped}, which is no folder"

    def rows(self, cohort: str, split: Split) -> list[Row]:
        """Oldest first; of no cohort ("base") without the guard set. A cohort with rows of its own, in either split,
        is neither trained on the shipped ones nor judged by them. Raises InvalidRequest for a damaged file."""
        own = self._own(cohort, split)
        other = self._own(cohort, "eval" if split == "train" else "train") if cohort != BASE else []
        return own if own or other else self._of_file(cohort, cohort, split)

    def _own(self, cohort: str, split: Split) -> list[Row]:
        return [row for row in self._imported(cohort, split) if cohort != BASE or row.task != GENERAL]

    def guard(self) -> list[Row]:
        """General prompts that no adapter may unlearn."""
        own = [row for row in self._imported(BASE, "eval") if row.task == GENERAL]
        return own or self._of_file(GENERAL, BASE, "eval")

    def cut(self, cohort: str) -> list[Row]:
        """What people marked for training although the answer had no room to end: an adapter would learn to stop in
        the middle."""
        with self._database.read() as connection:
            marked = [one for one in feedback.approved(connection, cohort) if one.cut]
        return [_row(found) for one in marked if (found := _example(cohort, one))]

    def named(self, digests: Iterable[str], cohort: str) -> dict[str, Row]:
        """Those of the cohort's training rows that are still there, wherever they lie."""
        known = {
            row.digest: row for row in (*self._of_file(cohort, cohort, "train"), *self._imported(cohort, "train"))
        }
        return {digest: known[digest] for digest in digests if digest in known}

    def everywhere(self, digests: Iterable[str]) -> dict[str, Row]:
        """The same among the training rows of all cohorts and of none."""
        with self._database.read() as connection:
            known = {cohort for cohort, _ in examples.counts(connection)}
        known |= {folder.name for folder in self._shipped.iterdir()} if self._shipped.is_dir() else set()
        wanted = list(digests)
        return {digest: row for cohort in sorted(known) for digest, row in self.named(wanted, cohort).items()}

    def _imported(self, cohort: str, split: Split) -> list[Row]:
        with self._database.read() as connection:
            return [_row(example) for example in examples.rows(connection, cohort, split) if example.completion]

    def _of_file(self, folder: str, cohort: str, split: Split) -> list[Row]:
        path = self._shipped / folder / f"{split}.jsonl"
        if not path.exists():
            return []
        found = import_file.read(path, cohort, split)
        return [_row(example, f"{path.name}:{number}") for number, example in found.items() if example.completion]


def _row(example: Example, source: str | None = None) -> Row:
    return Row(
        digest=example.digest,
        cohort=example.cohort,
        turns=tuple(example.turns),
        completion=example.completion or "",
        text=example.text,
        task=example.task or "",
        metric=example.metric or "",
        refs=tuple(example.accepted),
        subject=example.subject,
        source=example.source or source,
        origin=example.origin,
    )
