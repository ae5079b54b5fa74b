"""The rows that cohorts are judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters import metrics
from adapters.metrics import LIKELIHOOD, OPENING
from adapters.slice import Row
from appliance.errors import InvalidRequest, SetupError
from appliance.evaluation.material import Material

GUARD = "general"


@dataclass(frozen=True, slots=True)
class EvalSets:
    """The eval rows of each cohort, and the guard set."""

    cohorts: Mapping[str, Sequence[Row]]
    guard: Sequence[Row]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows of each cohort."""
        return {name: len(rows) for name, rows in self.cohorts.items()}

    @property
    def rows(self) -> list[Row]:
        """Of all cohorts."""
        return [row for rows in self.cohorts.values() for row in rows]

    def all(self) -> list[Row]:
        """And the guard set."""
        return [*self.rows, *self.guard]

    def check(self) -> None:
        """Raises InvalidRequest naming an eval row that cannot be judged, SetupError without the packages for it."""
        for row in self.all():
            try:
                if metrics.metric_of(row.metric, row.completion) not in (LIKELIHOOD, OPENING):
                    metrics.judge(row.metric, "", row.completion, row.refs)
            except ValueError as error:
                where = row.source or row.digest[:12]
                raise InvalidRequest(f"an eval row of {row.cohort} ({where}) cannot be judged: {error}") from error
            except ModuleNotFoundError as error:
                raise SetupError(f"judging by {row.metric} wants {error.name}: make train-tools") from error


def eval_sets(material: Material, cohorts: Sequence[str]) -> EvalSets:
    """Of these cohorts. Raises InvalidRequest, SetupError as `EvalSets.check`."""
    sets = EvalSets({name: material.rows(name, "eval") for name in cohorts}, material.guard())
    sets.check()
    return sets
