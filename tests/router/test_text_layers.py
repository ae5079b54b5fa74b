"""What the text layers make of scores: a table of cases, and laws over any scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cohort import BASE, Cohort, MetadataRule
from router.decide import decide
from router.decision import Decision
from router.layers import Query
from router.text import LONGEST_TEXT, CalibratedThreshold, Policy, Reading, log_odds

COHORTS = (
    Cohort("legal", (MetadataRule({"tenant": "hartwell"}, "prior"), MetadataRule({"vertical": "legal"}, "routes"))),
    Cohort(
        "finance",
        (
            MetadataRule({"tenant": "bank"}, "prior"),
            MetadataRule({"vertical": "finance"}, "routes"),
            MetadataRule({"channel": "wire"}, "routes"),
        ),
    ),
    Cohort("coding"),
)
NAMES = ("legal", "finance", "coding", BASE)
# The semantic layer wants a margin of 0.3, the classifier a probability of 0.6.
POLICY = Policy(CalibratedThreshold((0.0, 20.0), -6.0, 0.5), CalibratedThreshold((1.0, 0.0, 0.0), 0.0, 0.6))
LEGAL, FINANCE, UNCLEAR = (0.8, 0.1, 0.0, 0.1), (0.1, 0.8, 0.0, 0.1), (0.5, 0.2, 0.0, 0.3)
FLAT = (0.2, 0.2, 0.2, 0.2)


@dataclass
class Scripted:
    """A text router that gives these scores, and counts how often it was asked."""

    near: tuple[float, ...]
    probable: tuple[float, ...]
    policy: Policy = POLICY
    version: str = "router@7"
    asked: int = 0

    def read(self, _text: str) -> Reading:
        self.asked += 1
        scores = (dict(zip(NAMES, values, strict=True)) for values in (self.near, self.probable))
        return Reading(*scores)


# name: (near, probable, metadata, session, grant, cohort, layer, reason)
Case = tuple[
    tuple[float, ...], tuple[float, ...], Mapping[str, str], str | None, frozenset[str] | None, str, str, str
]
NOTHING: Mapping[str, str] = {}
CASES: dict[str, Case] = {
    "near and far": ((0.9, 0.3, 0.3, 0.3), LEGAL, NOTHING, None, None, "legal", "semantic", "near_examples"),
    "near without margin": ((0.9, 0.8, 0.3, 0.3), LEGAL, NOTHING, None, None, "legal", "classifier", "classified"),
    "nearest to no cohort": ((0.6, 0.3, 0.3, 0.9), LEGAL, NOTHING, None, None, "legal", "classifier", "classified"),
    "sure": (FLAT, FINANCE, NOTHING, None, None, "finance", "classifier", "classified"),
    "unclear": (FLAT, UNCLEAR, NOTHING, None, None, "base", "fallback", "unclear"),
    "nothing probable but none": (FLAT, (0.1, 0.1, 0.1, 0.7), NOTHING, None, None, "base", "fallback", "unclear"),
    "tipped by a prior": (FLAT, UNCLEAR, {"tenant": "hartwell"}, None, None, "legal", "classifier", "prior_tipped"),
    "a prior against the text": (
        FLAT, LEGAL, {"tenant": "bank"}, None, None, "legal", "classifier", "classified",
    ),
    "a prior weakens what the semantic layer says": (
        (0.9, 0.57, 0.3, 0.3), LEGAL, {"tenant": "bank"}, None, None, "legal", "classifier", "classified",
    ),
    "and is too weak against a wide margin": (
        (0.9, 0.3, 0.3, 0.3), LEGAL, {"tenant": "bank"}, None, None, "legal", "semantic", "near_examples",
    ),
    "kept by the session": (FLAT, UNCLEAR, NOTHING, "legal", None, "legal", "classifier", "session_kept"),
    "the session turns": (FLAT, FINANCE, NOTHING, "legal", None, "finance", "classifier", "session_turned"),
    "a session cannot hold what is clearly none": (
        FLAT, (0.05, 0.0, 0.0, 0.95), NOTHING, "legal", None, "base", "fallback", "unclear",
    ),
    "the best is not granted": (
        FLAT, LEGAL, NOTHING, None, frozenset({"finance", "base"}), "base", "fallback", "unclear",
    ),
    "the second best is granted, and not sure": (
        FLAT, (0.5, 0.45, 0.0, 0.05), NOTHING, None, frozenset({"finance", "base"}), "base", "fallback", "unclear",
    ),
    "granted": (FLAT, FINANCE, NOTHING, None, frozenset({"finance"}), "finance", "classifier", "classified"),
    "none granted": (FLAT, FINANCE, NOTHING, None, frozenset({"base"}), "base", "fallback", "unclear"),
    "a prior does not contradict a rule": (
        FLAT, FINANCE, {"vertical": "legal", "tenant": "bank"}, None, None, "legal", "metadata", "metadata_rule",
    ),
    "rules contradict, the text decides": (
        FLAT, FINANCE, {"vertical": "legal", "channel": "wire"}, None, None, "finance", "classifier", "classified",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("near", "probable", "metadata", "session", "grant", "cohort", "layer", "reason"), CASES.values(), ids=CASES
)
def test_cases(
    near: tuple[float, ...],
    probable: tuple[float, ...],
    metadata: Mapping[str, str],
    session: str | None,
    grant: frozenset[str] | None,
    cohort: str,
    layer: str,
    reason: str,
) -> None:
    router = Scripted(near, probable)
    decision = decide(Query("text", metadata, None, grant, session), COHORTS, router)
    assert (decision.cohort, decision.layer, decision.reason) == (cohort, layer, reason)
    assert decision.router == "router@7"
    assert router.asked == (layer != "metadata")


@pytest.mark.parametrize(
    ("text", "reason"), [("", "no_text"), (" \n\t", "no_text"), ("a" * (LONGEST_TEXT + 1), "text_too_long")]
)
def test_what_is_not_read(text: str, reason: str) -> None:
    router = Scripted((0.9, 0, 0, 0), LEGAL)
    decision = decide(Query(text), COHORTS, router)
    assert (decision.cohort, decision.layer, decision.reason) == ("base", "fallback", reason)
    assert decision.confidence == 0 and router.asked == 0


def test_scores_of_both_layers_whichever_decides() -> None:
    semantic = decide(Query("x"), COHORTS, Scripted((0.9, 0.3, 0.3, 0.3), LEGAL))
    classified = decide(Query("x"), COHORTS, Scripted(FLAT, LEGAL))
    assert semantic.layer == "semantic" and classified.layer == "classifier"
    assert set(semantic.scores) == set(classified.scores) == {"semantic", "classifier"}
    assert semantic.scores["semantic"]["legal"] == 0.9
    assert semantic.scores["classifier"]["legal"] == classified.scores["classifier"]["legal"] == 0.8


NEVER = CalibratedThreshold((0.0, 0.0), 0.0, 1.1)
shares = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(
    lambda found: tuple(value / sum(found) for value in found)
)
cosines = st.tuples(*[st.floats(-1, 1)] * 4)
grants = st.none() | st.frozensets(st.sampled_from(NAMES))


def accepted(decision: Decision) -> float:
    return POLICY.semantic.threshold if decision.layer == "semantic" else POLICY.classifier.threshold


@given(cosines, shares, grants, st.none() | st.sampled_from(NAMES[:3]))
def test_no_cohort_below_its_threshold_nor_outside_the_grant(
    near: tuple[float, ...], probable: tuple[float, ...], grant: frozenset[str] | None, session: str | None
) -> None:
    query = Query("text", grant=grant, session=session)
    decision = decide(query, COHORTS, Scripted(near, probable))
    assert 0 <= decision.confidence <= 1
    if decision.cohort != BASE:
        assert query.grants(decision.cohort) and decision.confidence >= accepted(decision)


@given(cosines, shares, st.sampled_from(["hartwell", "bank"]))
def test_a_prior_never_makes_another_cohort_more_likely(
    near: tuple[float, ...], probable: tuple[float, ...], tenant: str
) -> None:
    """Nor does what speaks for a cohort ever take a request away from it."""
    router = Scripted(near, probable, replace(POLICY, semantic=NEVER))
    before = decide(Query("text"), COHORTS, router)
    after = decide(Query("text", {"tenant": tenant}), COHORTS, router)
    home = {"hartwell": "legal", "bank": "finance"}[tenant]
    assert after.cohort in (before.cohort, home, BASE)
    assert not (before.cohort == home and after.cohort != home)


@given(shares)
def test_without_anything_beside_the_text_the_odds_mean_nothing(probable: tuple[float, ...]) -> None:
    odd = replace(POLICY, prior_odds=100.0, session_odds=100.0)
    plain = decide(Query("text"), COHORTS, Scripted(FLAT, probable))
    assert decide(Query("text"), COHORTS, Scripted(FLAT, probable, odd)) == plain


@pytest.mark.parametrize("probability", [0.0, 1.0, 0.5, 1e-9])
def test_log_odds_are_finite(probability: float) -> None:
    assert abs(log_odds(probability)) < 14
    assert 0 <= CalibratedThreshold((1e6,), 0.0, 0.5).confidence(log_odds(probability)) <= 1
