"""What the findings of one attribution stand on: eval rows, what is live, and which rows show nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adapters.attribution import PREVIOUS
from adapters.slice import Row
from appliance.attribution.aggregate import Aggregate
from appliance.errors import SetupError
from appliance.evaluation import contamination, eval_sets, evidence
from appliance.evaluation.contamination import Contamination
from appliance.evaluation.eval_sets import EvalSets
from appliance.evaluation.evidence import ArmEvaluations
from appliance.evaluation.lineup import Lineup, lineups
from appliance.evaluation.material import Material
from appliance.serving import Serving
from appliance.store.releases import Release


@dataclass(frozen=True, slots=True)
class Uncounted:
    """Eval rows that show nothing: those that no arm could be asked, each with the reason, and those that a release
    learned from, by its name."""

    unasked: Mapping[str, str]
    learned: Mapping[str, frozenset[str]]
    rows: Sequence[Row]

    def __contains__(self, digest: object) -> bool:
        return digest in self.unasked or any(digest in one for one in self.learned.values())

    def notes(self) -> list[str]:
        counts = {name: sum(row.digest in one for row in self.rows) for name, one in self.learned.items()}
        told = [contamination.says(counts)] if any(counts.values()) else []
        if self.unasked:
            why = next(iter(self.unasked.values()))
            told.append(f"{len(self.unasked)} eval rows can be asked of none of these, and do not count: {why}")
        return told


@dataclass(frozen=True, slots=True)
class Ground:
    """What all findings of a run stand on, as it was when the run began. `contamination` is None without the training
    packages."""

    sets: EvalSets
    lines: Mapping[str, Lineup]
    contamination: Contamination | None = None
    aggregate: Aggregate | None = None

    @classmethod
    def of(cls, serving: Serving, material: Material, cohorts: Sequence[str], *, aggregate: bool) -> Ground:
        """Raises SetupError without the training packages, where an aggregate wants them."""
        sets = eval_sets.eval_sets(material, list(serving.config.cohorts))
        lines = lineups(serving)
        if not any(lines[name].live for name in cohorts):
            return cls(sets, lines)
        try:
            known = Contamination(serving, material, sets.rows)
        except SetupError:
            if aggregate:
                raise
            return cls(sets, lines)
        live = {name: line.live for name, line in lines.items()}
        return cls(sets, lines, known, Aggregate(serving, material, live, sets) if aggregate else None)

    def releases(self, cohort: str, rivals: Sequence[str]) -> list[Release]:
        """Its own, and those among its rivals."""
        found = [self.lines[name].live for name in (cohort, *rivals) if name in self.lines]
        before = self.lines[cohort].before if PREVIOUS in rivals else None
        return [one for one in (*found, before) if one is not None]

    def uncounted(self, cohort: str, live: ArmEvaluations, rivals: Mapping[str, ArmEvaluations]) -> Uncounted:
        unasked = evidence.unasked(cohort, [live, *rivals.values()])
        known = self.contamination
        learned = {one.name: known.learned(one) for one in self.releases(cohort, list(rivals))} if known else {}
        return Uncounted(unasked, learned, self.sets.cohorts[cohort])

    def unchecked(self, cohort: str, rivals: Sequence[str]) -> list[str]:
        """Of which releases nobody knows what they learned from, or all of it."""
        releases = self.releases(cohort, rivals)
        elsewhere = [one.name for one in releases if "slice" not in one.manifest]
        told = [f"what {name} learned from is not known, so its scores may be memory" for name in elsewhere]
        if self.contamination is None:
            return told + ([contamination.NOT_CHECKED] if len(elsewhere) < len(releases) else [])
        gone = {one.name: self.contamination.gone(one) for one in releases}
        return told + [
            f"{count} rows that {name} learned from are gone, and were not looked for among the eval rows"
            for name, count in gone.items()
            if count
        ]
