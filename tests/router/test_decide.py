"""Which layer answers, and why: a table of cases."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from router import layers
from router.cohort import Cohort, MetadataRule
from router.decide import decide
from router.decision import LAYERS, REASONS, Decision
from router.layers import Pin, Query

COHORTS = (
    Cohort("legal", (MetadataRule({"vertical": "legal"}, "routes"), MetadataRule({"tenant": "hartwell"}, "prior"))),
    Cohort("finance", (MetadataRule({"vertical": "finance"}, "routes"), MetadataRule({"tenant": "bank"}, "routes"))),
    Cohort("support", (MetadataRule({"tier": "gold", "channel": "chat"}, "routes"),)),
    Cohort("coding"),
)

# name: (metadata, pin, grant, cohort, layer, reason)
CASES: dict[str, tuple[Mapping[str, str], Pin | None, frozenset[str] | None, str, str, str]] = {
    "nothing said": ({}, None, None, "base", "fallback", "no_text_router"),
    "base named": ({}, Pin("base", "base"), None, "base", "pinned", "pinned_base"),
    "cohort named": ({}, Pin("legal", "cohort"), None, "legal", "pinned", "pinned_cohort"),
    "release named": ({}, Pin("legal", "release"), None, "legal", "pinned", "pinned_release"),
    "pin against metadata": (
        {"vertical": "finance"},
        Pin("legal", "cohort"),
        None,
        "legal",
        "pinned",
        "pinned_cohort",
    ),
    "base against metadata": ({"vertical": "finance"}, Pin("base", "base"), None, "base", "pinned", "pinned_base"),
    "one rule": ({"vertical": "legal"}, None, None, "legal", "metadata", "metadata_rule"),
    "second rule of a cohort": ({"tenant": "bank"}, None, None, "finance", "metadata", "metadata_rule"),
    "both rules of one cohort": (
        {"tenant": "bank", "vertical": "finance"},
        None,
        None,
        "finance",
        "metadata",
        "metadata_rule",
    ),
    "prior alone": ({"tenant": "hartwell"}, None, None, "base", "fallback", "no_text_router"),
    "prior beside a rule": (
        {"tenant": "hartwell", "vertical": "finance"},
        None,
        None,
        "finance",
        "metadata",
        "metadata_rule",
    ),
    "two cohorts match": (
        {"vertical": "legal", "tenant": "bank"},
        None,
        None,
        "base",
        "fallback",
        "metadata_conflict",
    ),
    "conflict solved by the grant": (
        {"vertical": "legal", "tenant": "bank"},
        None,
        frozenset({"legal", "base"}),
        "legal",
        "metadata",
        "metadata_rule",
    ),
    "rule of a cohort not granted": (
        {"vertical": "legal"},
        None,
        frozenset({"finance", "base"}),
        "base",
        "fallback",
        "no_text_router",
    ),
    "half of a rule": ({"tier": "gold"}, None, None, "base", "fallback", "no_text_router"),
    "a rule of two fields": (
        {"tier": "gold", "channel": "chat", "more": "x"},
        None,
        None,
        "support",
        "metadata",
        "metadata_rule",
    ),
    "value in other case": ({"vertical": "LeGaL"}, None, None, "legal", "metadata", "metadata_rule"),
    "value with a space": ({"vertical": "legal "}, None, None, "base", "fallback", "no_text_router"),
    "unknown field": ({"planet": "mars"}, None, None, "base", "fallback", "no_text_router"),
    "unknown value": ({"vertical": "theatre"}, None, None, "base", "fallback", "no_text_router"),
    "empty value": ({"vertical": ""}, None, None, "base", "fallback", "no_text_router"),
}


@pytest.mark.parametrize(("given", "pin", "grant", "cohort", "layer", "reason"), CASES.values(), ids=CASES)
def test_cases(
    given: Mapping[str, str],
    pin: Pin | None,
    grant: frozenset[str] | None,
    cohort: str,
    layer: str,
    reason: str,
) -> None:
    decision = decide(Query("Any text.", given, pin, grant), COHORTS)
    assert (decision.cohort, decision.layer, decision.reason) == (cohort, layer, reason)
    assert decision.layer in LAYERS and decision.reason in REASONS
    assert decision.confidence == (0.0 if layer == "fallback" else 1.0)
    assert decision.router is None


def test_scores_name_the_cohorts_that_matched() -> None:
    both = decide(Query("", {"vertical": "legal", "tenant": "bank"}), COHORTS)
    assert both.scores == {"metadata": {"legal": 1.0, "finance": 1.0}}
    assert decide(Query("", {"vertical": "legal"}), COHORTS).scores == {"metadata": {"legal": 1.0}}
    assert decide(Query(""), COHORTS).scores == {}


def test_without_cohorts_the_base_answers() -> None:
    assert decide(Query("x", {"vertical": "legal"}), ()) == Decision("base", "fallback", "no_text_router", 0.0)


def test_layers_that_do_not_know_pass_on() -> None:
    query = Query("Which clause is this?")
    assert layers.pinned(query) is None
    assert layers.metadata(query, COHORTS) is None
    assert layers.fallback(query, COHORTS, "no_text_router").cohort == "base"


def test_the_metadata_layer_leaves_conflicts_to_the_next() -> None:
    query = Query("", {"vertical": "legal", "tenant": "bank"})
    assert layers.metadata(query, COHORTS) is None
    assert layers.speaking(query, COHORTS, "routes") == ["legal", "finance"]


@pytest.mark.parametrize(
    ("grant", "cohort", "granted"),
    [
        (None, "legal", True),
        (None, "base", True),
        (frozenset({"legal"}), "legal", True),
        (frozenset({"legal"}), "base", False),
        (frozenset(), "legal", False),
    ],
)
def test_grants(grant: frozenset[str] | None, cohort: str, granted: bool) -> None:
    assert Query("", grant=grant).grants(cohort) is granted
