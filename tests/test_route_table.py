"""What answers for each cohort, given the register and the files that cannot be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from adapters.lifecycle import ReleaseState
from appliance.releases import route_table
from router.table import RouteTable, Target

ONE, TWO, THREE = (Target("legal", n, f"digest{n}") for n in (1, 2, 3))
DIGESTS = {("legal", t.version): t.digest for t in (ONE, TWO, THREE)}
RETIRED, LIVE, NEW = ReleaseState(1, "retired", 1), ReleaseState(2, "live", 2), ReleaseState(3, "candidate")

# name: (states, faults, live, aliases, alarms)
CASES: dict[str, tuple[Sequence[ReleaseState], Mapping[str, str], Target | None, dict[str, Target], list[str]]] = {
    "no releases": ([], {}, None, {}, []),
    "a candidate": ([NEW], {}, None, {"candidate": THREE}, []),
    "all there is": ([RETIRED, LIVE, NEW], {}, TWO, {"previous": ONE, "candidate": THREE}, []),
    "a fault elsewhere": (
        [RETIRED, LIVE, NEW],
        {"digest1": "gone", "digest3": "gone"},
        TWO,
        {"previous": ONE, "candidate": THREE},
        [],
    ),
    "the live one is damaged": (
        [RETIRED, LIVE],
        {"digest2": "was changed"},
        ONE,
        {"previous": ONE},
        ["legal@2 cannot be served, legal@1 answers for legal: was changed"],
    ),
    "both are damaged": (
        [RETIRED, LIVE],
        {"digest2": "was changed", "digest1": "gone"},
        None,
        {"previous": ONE},
        ["legal@2 cannot be served, the base answers for legal: was changed"],
    ),
    "nothing before it": (
        [LIVE],
        {"digest2": "was changed"},
        None,
        {},
        ["legal@2 cannot be served, the base answers for legal: was changed"],
    ),
    "before it one rolled back": (
        [ReleaseState(1, "retired", 1, True), LIVE],
        {"digest2": "was changed"},
        None,
        {},
        ["legal@2 cannot be served, the base answers for legal: was changed"],
    ),
    "rolled back to the base": ([ReleaseState(1, "retired", 1, True)], {"digest1": "gone"}, None, {}, []),
}


@pytest.mark.parametrize(("states", "faults", "live", "aliases", "alarms"), CASES.values(), ids=CASES)
def test_cases(
    states: Sequence[ReleaseState],
    faults: Mapping[str, str],
    live: Target | None,
    aliases: dict[str, Target],
    alarms: list[str],
) -> None:
    table, raised = route_table.build(["legal"], {"legal": states}, DIGESTS, faults)
    assert table.live == ({"legal": live} if live else {})
    versions = {f"legal@{s.version}": Target("legal", s.version, DIGESTS["legal", s.version]) for s in states}
    assert table.named == versions | {f"legal@{alias}": target for alias, target in aliases.items()}
    assert raised == alarms


def test_cohorts_do_not_meddle() -> None:
    states = {"legal": [LIVE], "finance": [ReleaseState(1, "live", 1)], "support": list[ReleaseState]()}
    digests = {("legal", 2): "a", ("finance", 1): "b"}
    table, alarms = route_table.build(states, states, digests, {"a": "gone"})
    assert table == RouteTable(
        {"finance": Target("finance", 1, "b")},
        {"legal@2": Target("legal", 2, "a"), "finance@1": Target("finance", 1, "b")},
    )
    assert alarms == ["legal@2 cannot be served, the base answers for legal: gone"]


def test_a_cohort_no_longer_configured_is_not_routed_to() -> None:
    table, _ = route_table.build([], {"legal": [LIVE]}, DIGESTS, {})
    assert table == RouteTable()


def test_a_target_is_named_as_people_name_it() -> None:
    assert THREE.name == "legal@3"
