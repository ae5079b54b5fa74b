"""When a metadata rule matches."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from router.cohort import BASE, Cohort, MetadataRule


@pytest.mark.parametrize(
    ("match", "given", "matches"),
    [
        ({"tenant": "acme"}, {"tenant": "acme"}, True),
        ({"tenant": "acme"}, {"tenant": "ACME"}, True),
        ({"tenant": "ACME"}, {"tenant": "acme"}, True),
        ({"tenant": "straße"}, {"tenant": "STRASSE"}, True),
        ({"tenant": "acme"}, {"tenant": "acme", "tier": "gold"}, True),
        ({"tenant": "acme"}, {"tenant": "acme corp"}, False),
        ({"tenant": "acme"}, {"tier": "acme"}, False),
        ({"tenant": "acme"}, {"tenant": ""}, False),
        ({"tenant": "acme"}, {}, False),
        ({"tenant": "acme", "tier": "gold"}, {"tenant": "acme"}, False),
        ({"tenant": "acme", "tier": "gold"}, {"tenant": "acme", "tier": "Gold"}, True),
        ({"tenant": "acme", "tier": "gold"}, {"tenant": "acme", "tier": "silver"}, False),
    ],
)
def test_a_rule_matches_when_every_field_is_equal(
    match: Mapping[str, str], given: Mapping[str, str], matches: bool
) -> None:
    assert MetadataRule(match, "routes").matches(given) is matches


def test_a_field_that_is_absent_is_not_an_empty_one() -> None:
    """Else `{vertical = ""}` would take every request that says nothing of its vertical."""
    rule = MetadataRule({"vertical": ""}, "routes")
    assert rule.matches({"vertical": ""})
    assert not rule.matches({"tenant": "acme"})


def test_a_cohort_needs_no_rules() -> None:
    assert Cohort("legal").rules == ()
    assert BASE == "base"
