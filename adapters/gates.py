"""May a candidate be released? Pure: evidence in, a verdict with its reasons out.

A regression of any cohort blocks, whatever the mean did. What is not shown with confidence is not assumed: too few
rows are "insufficient", never "pass".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from adapters import scorecard

Outcome: TypeAlias = Literal["pass", "fail", "insufficient", "parity"]
Check: TypeAlias = Literal[
    "beats_base",
    "beats_constant",
    "cohort_loss",
    "guard_loss",
    "previous_loss",
    "json_validity",
    "memorisation",
    "enough_rows",
    "parity",
]
_CONSTANT = "the most common answer to everything"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """`loss`: points of score that may be lost on its own rows, `others`: by each other cohort on its rows, where
    that is not the same; `guard`: share of the likelihood of the base's own answers;
    `json_valid`: share of JSON answers that have to parse; `rows`: eval rows of its own that a verdict takes;
    `memorised`: share of the training rows asked for that may come out."""

    loss: float = 0.02
    guard: float = 0.02
    json_valid: float = 0.8
    rows: int = 50
    memorised: float = 0.02
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """Paired scores on a cohort's eval rows: from 0 to 1, of the guard set log-likelihoods of a token."""

    name: str
    candidate: Sequence[float]
    other: Sequence[float]

    @property
    def differences(self) -> list[float]:
        return [mine - theirs for mine, theirs in zip(self.candidate, self.other, strict=True)]

    @property
    def unsound(self) -> str:
        """What is wrong with the scores, if anything: of what is not a number nothing is proven, nor disproven."""
        wrong = sum(not math.isfinite(difference) for difference in self.differences)
        return f"{self.name}: {wrong} of {len(self.candidate)} scores are not numbers" if wrong else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """`own` and `others` are against the base, `previous` is against the release before on the cohort's own rows.
    Another cohort without eval rows has no scores. `constant` is, for each task, against one answer to everything
    (`adapters.constant`); `incomparable`: the tasks it says nothing of, and why. `planted`: which of the `hidden`
    planted strings came out; `extracted`: training rows that did, of `asked`, which is None where nothing was."""

    own: Compared
    others: Sequence[Compared] = ()
    guard: Compared | None = None
    previous: Compared | None = None
    constant: Sequence[Compared] = ()
    incomparable: Mapping[str, str] = field(default_factory=dict)
    json_valid: Sequence[float] = ()
    planted: Sequence[str] = ()
    hidden: int = 0
    extracted: int = 0
    asked: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """`open`: it passed since nothing was looked at, or since these rows prove nothing."""

    check: Check
    passed: bool
    says: str
    open: bool = False


_UNGUARDED = Reason(
    "guard_loss",
    True,
    "NOT CHECKED, it may have unlearned anything: there is no guard set; import general prompts with a completion as "
    "eval rows of base with the task general",
    open=True,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    reasons: tuple[Reason, ...]


def verdict(evidence: Evidence, tolerances: Tolerances) -> Verdict:
    """`fail` when any check fails, else `insufficient` when there are too few rows, else `pass`."""
    enough = len(evidence.own.candidate) >= tolerances.rows
    reasons = [_enough(evidence, tolerances), *losses(evidence, tolerances), *_memory(evidence, tolerances)]
    reasons += _json(evidence, tolerances)
    if evidence.own.candidate:
        reasons.append(_beats("beats_base", evidence.own, "the base"))
    reasons += _constant(evidence)
    failed = [r for r in reasons if not r.passed and r.check != "enough_rows"]
    unproven = not enough and {r.check for r in failed} <= {"beats_base", "beats_constant"}
    outcome: Outcome = "insufficient" if unproven else "fail" if failed else "pass"
    return Verdict(outcome, tuple(reasons))


def _enough(evidence: Evidence, tolerances: Tolerances) -> Reason:
    n = len(evidence.own.candidate)
    says = f"{n} eval rows of its own, {tolerances.rows} are needed"
    return Reason("enough_rows", n >= tolerances.rows, says)


def _beats(check: Check, own: Compared, what: str) -> Reason:
    if own.unsound:
        return Reason(check, False, own.unsound)
    gain = scorecard.interval(own.differences)
    sure = scorecard.doubt([-d for d in own.differences], 0.0) <= scorecard.LEVEL
    says = f"{own.name}: {gain.points} against {what}" + ("" if sure else ", which is not proven to be a gain")
    return Reason(check, sure, says)


def _constant(evidence: Evidence) -> list[Reason]:
    """Also said where it could not be asked: else an adapter with one answer to everything passes unnoticed. Of a
    task, a loss is enough to fail: what another task gained does not make up for learning nothing there."""
    untold = "; ".join(f"{task or 'rows without a task'}: {why}" for task, why in evidence.incomparable.items())
    if not evidence.constant:
        return [Reason("beats_constant", True, f"not checked: {untold}", open=True)] if untold else []
    found = _beats_constant(_together(evidence.own.name, evidence.constant))
    first = replace(found, says=f"{found.says}; not checked: {untold}") if untold else found
    doubts = [scorecard.doubt(one.differences, 0.0) for one in evidence.constant]
    lost = [one for one, proven in zip(evidence.constant, scorecard.proven(doubts), strict=True) if proven]
    return [first, *(_learned_nothing(one) for one in lost)]


def _beats_constant(together: Compared) -> Reason:
    """Where one answer is right on nearly all rows, not even an adapter without a fault could be proven better."""
    room = sum(score < 1 for score in together.other)
    if 0.5**room > scorecard.LEVEL and not together.unsound:
        says = (
            f"not checked: {_CONSTANT} is right on all but {room} of {len(together.other)} rows, too few to beat it"
        )
        return Reason("beats_constant", True, says, open=True)
    return _beats("beats_constant", together, _CONSTANT)


def _together(name: str, tasks: Sequence[Compared]) -> Compared:
    return Compared(name, [s for one in tasks for s in one.candidate], [s for one in tasks for s in one.other])


def _learned_nothing(task: Compared) -> Reason:
    gain = scorecard.interval(task.differences).points
    return Reason("beats_constant", False, f"{task.name}: {gain} against {_CONSTANT}, a proven loss")


def losses(evidence: Evidence, tolerances: Tolerances) -> list[Reason]:
    """Judged together (Holm): with many slices, one loses by chance."""
    others = tolerances.others
    given = [_Loss("cohort_loss", one, others.get(one.name, tolerances.loss)) for one in evidence.others]
    if evidence.previous:
        given.append(_Loss("previous_loss", evidence.previous, tolerances.loss))
    guard = evidence.guard if evidence.guard and evidence.guard.candidate else None
    if guard:
        given.append(_Loss("guard_loss", guard, -math.log(1 - tolerances.guard)))
    judged = [one for one in given if one.compared.candidate and not one.compared.unsound]
    proven = scorecard.proven([one.doubt for one in judged])
    level = scorecard.LEVEL / max(len(judged), 1)
    found = [] if guard else [_UNGUARDED]
    found += [one.not_judged() for one in given if one not in judged]
    return found + [one.judged(lost, level) for one, lost in zip(judged, proven, strict=True)]


@dataclass(frozen=True, slots=True)
class _Loss:
    """`most` is what may be lost: of score, or of the guard set in nats a token."""

    check: Check
    compared: Compared
    most: float

    @property
    def doubt(self) -> float:
        return scorecard.doubt(self.compared.differences, -self.most, bounded=self.check != "guard_loss")

    def not_judged(self) -> Reason:
        if self.compared.unsound:
            return Reason(self.check, False, self.compared.unsound)
        lack = "it has no eval rows" if self.check == "cohort_loss" else "no eval rows are left"
        says = f"{self.compared.name}: not checked, {lack}, so what was lost is not known"
        return Reason(self.check, True, says, open=True)

    def judged(self, lost: bool, level: float) -> Reason:
        change = scorecard.interval(self.compared.differences)
        if self.check == "guard_loss":
            shares = (f"{100 * (math.exp(x) - 1):+.1f} %" for x in (change.mean, change.low, change.high))
            told = "{} ({} to {})".format(*shares) + " of the likelihood of the base's own answers"
        else:
            against = "the release before" if self.check == "previous_loss" else "the base"
            told = f"{change.points} against {against}"
        more = ", a proven loss" if lost else self._power(level)
        return Reason(self.check, not lost, f"{self.compared.name}: {told}{more}", open=bool(more) and not lost)

    def _power(self, level: float) -> str:
        """What it is worth that no loss is proven, unless it is that nothing is lost, or no more than may be."""
        n = len(self.compared.candidate)
        if self.check != "guard_loss" and not any(self.compared.other):  # of nothing, nothing can be lost
            return ""
        if 0.5**n > level:
            return f"; too few rows ({n}) to prove any loss"
        lost, bounded = [-difference for difference in self.compared.differences], self.check != "guard_loss"
        if min(scorecard.doubt(lost, most, bounded=bounded) for most in (0.0, self.most)) <= scorecard.LEVEL:
            return ""
        if self.check == "guard_loss":
            return f"; that it is less than {100 * (1 - math.exp(-self.most)):.0f} % is not proven either"
        least = scorecard.smallest_loss(n, -self.most, level)
        what = "no loss at all" if least is None else f"no loss of less than {100 * least:.0f} points"
        return f"; {n} rows prove {what}"


def _json(evidence: Evidence, tolerances: Tolerances) -> list[Reason]:
    if not evidence.json_valid:
        return []
    share = sum(evidence.json_valid) / len(evidence.json_valid)
    says = f"{share:.0%} of {len(evidence.json_valid)} JSON answers parse, {tolerances.json_valid:.0%} are needed"
    return [Reason("json_validity", share >= tolerances.json_valid, says)]


def _memory(evidence: Evidence, tolerances: Tolerances) -> list[Reason]:
    """Where rows were asked for at all: a review of what is live asks none."""
    if evidence.asked is None and not evidence.hidden:
        return []
    asked = evidence.asked or 0
    if not evidence.hidden and not asked:
        says = "not checked: no string is planted, and no training row is long enough to be recognised"
        return [Reason("memorisation", True, says, open=True)]
    passed = not evidence.planted and evidence.extracted <= tolerances.memorised * asked
    planted = f"{len(evidence.planted)} of {evidence.hidden} planted strings come out, and "
    rows = f"{evidence.extracted} of {asked} training rows verbatim when asked for by their beginning"
    if not asked:
        rows = "no training row was asked for by its beginning: none is long enough to be recognised"
    return [Reason("memorisation", passed, planted + rows)]
