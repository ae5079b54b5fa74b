"""Is a cohort worth its adapter? Pure: paired scores in, a verdict in words out.

The adapter stands against what could answer in its place: the base, one adapter trained on the rows of all cohorts
(the aggregate), and the adapters of the neighbours. What takes its place may lose at most a margin; both directions
are proven or left undecided, with the number of rows that would settle them (two one-sided tests, Schuirmann 1987).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeAlias

from adapters import scorecard
from adapters.equivalence import Against, judged
from adapters.gates import Compared

Answer: TypeAlias = Literal["keep", "base", "merge", "undecided"]
BASE, AGGREGATE, PREVIOUS, PROMPTED = "base", "aggregate", "previous", "prompted base"
_BESIDE = (PREVIOUS, PROMPTED)  # told beside the verdict: neither takes the adapter's place
_ONE_TRAINING = (
    "one training stands beside one training, and how another seed would do is in no interval: it moved one task by "
    "up to 29 points in 20 trainings of two passes"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """`says` is the verdict in a sentence, `notes` what else is known, and what it does not hold for. `neighbour`:
    with whom to merge; None of a merge is with all."""

    answer: Answer
    says: str
    against: tuple[Against, ...]
    neighbour: str | None = None
    notes: tuple[str, ...] = ()

    def noted(self, *notes: str) -> Finding:
        return replace(self, notes=(*self.notes, *notes))


def finding(
    cohort: str,
    rivals: Sequence[Compared],
    margin: float,
    left_out: Mapping[str, str] | None = None,
    *,
    owed: bool = False,
    change: str = "the retrain",
) -> Finding:
    """`rivals`: the cohort's adapter (`candidate`) on the cohort's eval rows beside each other arm: `base`,
    `previous`, `prompted base` (under the release's system prompt), `aggregate`, and neighbours by their names.
    `left_out`: arms that are not among them, and why, which is noted: the verdict holds without them. `owed`: the
    aggregate is left out though it was asked for, so that whether it would do is open. `change`: what made the
    release before another one."""
    found = _rolled_back_first(cohort, _finding(cohort, rivals, margin, owed), rivals, margin)
    by_name = {one.arm: one for one in found.against}
    if found.answer == "keep" and PROMPTED in by_name:
        found = _prompted_first(cohort, found, by_name[PROMPTED])
    if PREVIOUS in by_name:
        found = found.noted(_changed(change, by_name[PREVIOUS]))
    if PROMPTED in by_name:
        found = found.noted(_prompted(by_name[PROMPTED]))
    if found.answer == "merge" or AGGREGATE in by_name:
        found = found.noted(_ONE_TRAINING)
    reasons: dict[str, list[str]] = {}
    for arm, why in (left_out or {}).items():
        reasons.setdefault(why, []).append(arm)
    return found.noted(*(f"no {', '.join(arms)}: {why}" for why, arms in reasons.items()))


def _finding(cohort: str, rivals: Sequence[Compared], margin: float, owed: bool) -> Finding:
    found = tuple(_against(rivals, margin))
    by_name = {one.arm: one for one in found}
    base = by_name.get(BASE)
    if base is None:
        return Finding("undecided", f"{cohort} has no eval rows: import some", found)
    if base.better:
        return _among(cohort, base, by_name, found, owed)
    beyond_base = _beyond_the_base(rivals)
    if beyond := [one for one in beyond_base if base.replaceable or by_name[one.name].replaceable]:
        return _merged_beyond(cohort, base, max(beyond, key=_mean), found)
    if base.replaceable:
        why = "it does better" if base.worse else "less than the margin would be lost"
        return Finding("base", f"collapse {cohort} into the base: {why} ({_describe(base)})", found)
    ahead = [f"{_name(one)} does better: {_describe(one)}" for one in found if one.worse and one.arm not in _BESIDE]
    proven = [f"{_name(by_name[one.name])} is proven to beat the base on these rows" for one in beyond_base]
    says = f"whether {cohort}'s adapter beats the base is not settled: {_need(base)}"
    return Finding("undecided", says, found).noted(*ahead, *proven)


def _merged_beyond(cohort: str, base: Against, best: Compared, found: tuple[Against, ...]) -> Finding:
    """Another adapter beats the base, where its own does not."""
    name = next(one for one in found if one.arm == best.name)
    more = scorecard.interval(best.differences)
    why = "worth no more than the base" if base.replaceable else "not proven to be worth more than the base"
    says = (
        f"{cohort}'s own adapter is {why} ({_describe(base)}), and {_name(name)} is: "
        f"{100 * _mean(best):.1f} on its rows, {more.points} more than the base"
    )
    return Finding("merge", says, found, None if best.name == AGGREGATE else best.name)


def _rolled_back_first(cohort: str, found: Finding, rivals: Sequence[Compared], margin: float) -> Finding:
    """Where the release before beats both this one and what would take its place, which does not do as well."""
    instead = found.neighbour or {"base": BASE, "merge": AGGREGATE}.get(found.answer)
    before = next((one for one in found.against if one.arm == PREVIOUS), None)
    if instead is None or before is None or not before.worse:
        return found
    scores = {one.name: one.other for one in rivals}
    (beside,) = judged([Compared(instead, scores[PREVIOUS], scores[instead])], margin)
    if not beside.better:
        return found
    says = (
        f"go back to {cohort}'s release before, and ask again: what would take the place of this one, "
        f"{'the base' if instead == BASE else _name(beside)}, does less ({_describe(beside)})"
    )
    return replace(found, answer="undecided", neighbour=None, says=says)


def _prompted_first(cohort: str, found: Finding, bare: Against) -> Finding:
    """What a prompt does is not worth an adapter."""
    if not bare.replaceable:
        return found
    says = (
        f"try {cohort}'s system prompt alone, sent with each request to the base: it {_does(bare)} "
        f"({_describe(bare)}); if that is enough, dissolve the cohort"
    )
    return replace(found, answer="undecided", says=says)


def _does(one: Against) -> str:
    return "does better" if one.worse else "loses less than the margin"


def _beyond_the_base(rivals: Sequence[Compared]) -> list[Compared]:
    """The other adapters (`candidate`) that provenly beat the base (`other`) here, judged together (Holm)."""
    (bare,) = (one for one in rivals if one.name == BASE)
    others = [one for one in rivals if one.name not in (BASE, *_BESIDE) and one.candidate]
    beyond = [Compared(one.name, one.other, bare.other) for one in others]
    proven = scorecard.proven([scorecard.doubt([-d for d in one.differences], 0.0) for one in beyond])
    return [one for one, sure in zip(beyond, proven, strict=True) if sure]


def _mean(one: Compared) -> float:
    return fmean(one.candidate)


def _changed(change: str, before: Against) -> str:
    """Was it worth making this release?"""
    if before.better:
        return f"{change} was worth it, over the release before: {_describe(before)}"
    if before.worse:
        return f"{change} MADE IT WORSE than the release before: {_describe(before)}"
    if before.replaceable:
        return f"{change} bought less than the margin over the release before: {_describe(before)}"
    return f"whether {change} was worth it is not settled: {_need(before)}"


def _prompted(bare: Against) -> str:
    """Is it the adapter, or its system prompt?"""
    if bare.better:
        return f"it beats the base under the same system prompt too: {_describe(bare)}"
    what = "THE BASE UNDER THE SAME SYSTEM PROMPT"
    if bare.replaceable:
        return f"{what} {_does(bare)}, so the prompt is all it takes: {_describe(bare)}"
    return f"IT IS NOT PROVEN BETTER THAN {what}, which may be all it takes: {_describe(bare)}"


def _among(
    cohort: str, base: Against, by_name: dict[str, Against], found: tuple[Against, ...], owed: bool
) -> Finding:
    """It beats the base. Would another adapter do as well?"""
    neighbours = [one for one in found if one.arm not in (BASE, AGGREGATE, *_BESIDE)]
    aggregate = by_name.get(AGGREGATE)
    best = max((one for one in neighbours if one.replaceable), key=lambda one: one.theirs, default=None)
    if best is not None and not (aggregate and aggregate.worse and aggregate.theirs > best.theirs):
        says = f"{cohort} could be merged with {best.arm}, whose adapter does {_as_well(best)} on its rows"
        return Finding("merge", f"{says}: {_describe(best)}", found, best.arm)
    if aggregate is not None and aggregate.replaceable:
        says = f"{cohort} could be merged with all others: one adapter for all does {_as_well(aggregate)}"
        return Finding("merge", f"{says} ({_describe(aggregate)})", found)
    others = [one for one in (aggregate, *neighbours) if one is not None]
    if open_ := [one for one in others if not one.better]:
        needs = "; ".join(f"beside {_name(one)}, {_need(one)}" for one in open_)
        says = f"{cohort}'s adapter beats the base; whether it is needed is not settled: {needs}"
        return Finding("undecided", says, found)
    names = ", ".join(_name(one) for one in others)
    beyond = f"the base and {names}" if others else "the base, and no other adapter was there to compare with"
    told = f"beats {beyond} (the base: {_describe(base)})"
    if owed:
        says = f"whether one adapter for all would do as well as {cohort}'s is not answered: it {told}"
        return Finding("undecided", says, found)
    return Finding("keep", f"keep {cohort}'s adapter: it {told}", found)


def _as_well(one: Against) -> str:
    return "better" if one.worse else "as well"


def _against(rivals: Sequence[Compared], margin: float) -> list[Against]:
    """Judged together (Holm): among many neighbours one does as well by chance. What cannot take the place of this
    one, as the release before, is judged alone."""
    asked = [one for one in rivals if one.candidate]
    together = [one for one in asked if one.name not in _BESIDE]
    found = {id(one): made for one, made in zip(together, judged(together, margin), strict=True)}
    return [found.get(id(one)) or judged([one], margin)[0] for one in asked]


def _name(one: Against) -> str:
    return "one adapter for all" if one.arm == AGGREGATE else f"{one.arm}'s adapter"


def _need(one: Against) -> str:
    told = _describe(one)
    if one.needed is None:
        return f"{told}; no number of eval rows would settle it"
    return f"{told}; about {one.needed} eval rows would settle it, there are {one.n}"


def _describe(one: Against) -> str:
    return (
        f"{100 * one.mine:.1f} to {100 * one.theirs:.1f}, {one.gain.points}, wins {one.wins.mean:.0%} of the rows, "
        "equal ones by half"
    )
