"""What holds for every query, however odd."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.cohort import BASE, Cohort, MetadataRule
from router.decide import decide
from router.decision import LAYERS, REASONS
from router.layers import Pin, Query

NAMES = ("legal", "finance", "support", "coding")
# Few fields and values, so that rules and metadata meet often; and anything at all, for the odd ones.
fields = st.sampled_from(["tenant", "vertical", "tier"])
values = st.sampled_from(["a", "b", "A", "ß", ""]) | st.text(max_size=5)
metadata = st.dictionaries(fields | st.text(max_size=5), values, max_size=4)
rules = st.builds(
    MetadataRule, st.dictionaries(fields, values, min_size=1, max_size=2), st.sampled_from(["routes", "prior"])
)
cohorts = st.lists(st.builds(Cohort, st.sampled_from(NAMES), st.lists(rules, max_size=3).map(tuple)), max_size=4).map(
    lambda found: tuple({cohort.name: cohort for cohort in found}.values())
)
grants = st.none() | st.frozensets(st.sampled_from([*NAMES, BASE]))
pins = st.builds(Pin, st.sampled_from([*NAMES, BASE]), st.sampled_from(["base", "cohort", "release"]))
texts = st.text(max_size=200)
queries = st.builds(Query, texts, metadata, st.none() | pins, grants)


@given(queries, cohorts)
def test_every_query_gets_one_whole_decision(query: Query, known: tuple[Cohort, ...]) -> None:
    decision = decide(query, known)
    assert decision.layer in LAYERS and decision.reason in REASONS
    assert 0.0 <= decision.confidence <= 1.0
    assert decision.cohort in {BASE, *(cohort.name for cohort in known), *([query.pin.cohort] if query.pin else [])}
    assert decide(query, known) == decision


@given(texts, metadata, pins, grants, cohorts)
def test_a_pin_always_wins(
    text: str, given_: dict[str, str], pin: Pin, grant: frozenset[str] | None, known: tuple[Cohort, ...]
) -> None:
    decision = decide(Query(text, given_, pin, grant), known)
    assert (decision.cohort, decision.layer, decision.confidence) == (pin.cohort, "pinned", 1.0)
    assert decision.reason == f"pinned_{pin.kind}"


@given(texts, metadata, grants, cohorts)
def test_metadata_never_leads_out_of_the_grant(
    text: str, given_: dict[str, str], grant: frozenset[str] | None, known: tuple[Cohort, ...]
) -> None:
    query = Query(text, given_, None, grant)
    decision = decide(query, known)
    assert decision.cohort == BASE or query.grants(decision.cohort)
    assert all(query.grants(cohort) for scores in decision.scores.values() for cohort in scores)


@given(queries, texts, cohorts)
def test_the_text_means_nothing_to_these_layers(query: Query, other: str, known: tuple[Cohort, ...]) -> None:
    assert decide(query, known) == decide(Query(other, query.metadata, query.pin, query.grant), known)


@given(queries, cohorts, st.sampled_from([str.upper, str.lower, str.swapcase]))
def test_values_have_no_case(query: Query, known: tuple[Cohort, ...], change: type[str]) -> None:
    ascii_only = {name: value for name, value in query.metadata.items() if value.isascii()}
    changed = {name: change(value) for name, value in ascii_only.items()}
    here, there = Query("", ascii_only, query.pin, query.grant), Query("", changed, query.pin, query.grant)
    assert decide(here, known) == decide(there, known)


@given(queries, cohorts)
def test_the_order_of_cohorts_changes_nothing(query: Query, known: tuple[Cohort, ...]) -> None:
    one, other = decide(query, known), decide(query, known[::-1])
    assert (one.cohort, one.layer, one.reason, one.scores) == (other.cohort, other.layer, other.reason, other.scores)


@given(metadata, cohorts)
def test_priors_alone_route_nothing(given_: dict[str, str], known: tuple[Cohort, ...]) -> None:
    priors = tuple(Cohort(c.name, tuple(MetadataRule(rule.match, "prior") for rule in c.rules)) for c in known)
    assert decide(Query("", given_), priors).reason == "no_text_router"
