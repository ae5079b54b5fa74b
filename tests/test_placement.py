"""From the model's name, the caller and the metadata to what answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from adapters.gguf_header import Header
from appliance.base import PreparedBase
from appliance.config import Config
from appliance.errors import Conflict, Forbidden, UnknownModel
from appliance.keys import ANONYMOUS, Caller
from appliance.releases.register import Releases
from appliance.releases.snapshot import Snapshot
from appliance.routing.placement import Placement, RoutingInput, place, routing_metadata
from appliance.store.database import Database
from router.table import RouteTable, Target

COHORT = {"description": "d", "owner": "o"}
CONFIG = Config.model_validate(
    {
        "cohorts": {
            "legal": {**COHORT, "metadata": [{"vertical": "legal"}, {"tenant": "hartwell", "rule": "routes"}]},
            "finance": {**COHORT, "metadata": [{"vertical": "finance"}]},
            "support": COHORT,
        }
    }
)
TWO, THREE, FOUR = (Target("legal", n, str(n) * 64) for n in (2, 3, 4))
TABLE = RouteTable(
    {"legal": THREE},
    {"legal@2": TWO, "legal@3": THREE, "legal@4": FOUR, "legal@previous": TWO, "legal@candidate": FOUR},
)
BASE_ID = "smol-135m"


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Releases]:
    database = Database.open(tmp_path / "appliance.db")
    base = PreparedBase(BASE_ID, "b" * 64, Header({}, {}), tmp_path, "as_is", "b" * 64)
    register = Releases(CONFIG, tmp_path, database, base, "t" * 64)
    register._snapshot = Snapshot(table=TABLE)
    yield register
    database.close()


def caller(*grant: str, tenant: str | None = None, hints: bool = True) -> Caller:
    return Caller("k", frozenset({"infer"}), frozenset(grant) if grant else None, tenant, hints)


def placed(
    releases: Releases, model: str, metadata: Mapping[str, str] | None = None, who: Caller = ANONYMOUS
) -> Placement:
    return place(RoutingInput(model, "some text", metadata or {}), who, BASE_ID, CONFIG.routing(), releases, None)


LEGAL, FINANCE = {"vertical": "legal"}, {"vertical": "finance"}

# name: (model, metadata, caller, cohort, layer, reason, release, arm)
CASES: dict[str, tuple[str, Mapping[str, str], Caller, str, str, str, str, str]] = {
    "auto": ("auto", {}, ANONYMOUS, "base", "fallback", "no_text_router", "base", "base"),
    "auto with metadata": ("auto", LEGAL, ANONYMOUS, "legal", "metadata", "metadata_rule", "legal@3", "live"),
    "nothing live": ("auto", FINANCE, ANONYMOUS, "finance", "metadata", "no_live_release", "base", "base"),
    "base": ("base", LEGAL, ANONYMOUS, "base", "pinned", "pinned_base", "base", "base"),
    "base by its id": (BASE_ID, LEGAL, ANONYMOUS, "base", "pinned", "pinned_base", "base", "base"),
    "cohort": ("legal", FINANCE, ANONYMOUS, "legal", "pinned", "pinned_cohort", "legal@3", "live"),
    "cohort without release": ("support", {}, ANONYMOUS, "support", "pinned", "no_live_release", "base", "base"),
    "version": ("legal@2", {}, ANONYMOUS, "legal", "pinned", "pinned_release", "legal@2", "pinned"),
    "the live version": ("legal@3", {}, ANONYMOUS, "legal", "pinned", "pinned_release", "legal@3", "pinned"),
    "candidate": ("legal@candidate", {}, ANONYMOUS, "legal", "pinned", "pinned_release", "legal@4", "candidate"),
    "previous": ("legal@previous", {}, ANONYMOUS, "legal", "pinned", "pinned_release", "legal@2", "previous"),
    "as the reply names it": (
        f"{BASE_ID}:legal@3",
        {},
        ANONYMOUS,
        "legal",
        "pinned",
        "pinned_release",
        "legal@3",
        "pinned",
    ),
    "granted": ("legal", {}, caller("legal"), "legal", "pinned", "pinned_cohort", "legal@3", "live"),
    "granted, not live": (
        "support",
        {},
        caller("support"),
        "support",
        "pinned",
        "no_live_release",
        "base",
        "base",
    ),
    "metadata outside the grant": (
        "auto",
        LEGAL,
        caller("finance", "base"),
        "base",
        "fallback",
        "no_text_router",
        "base",
        "base",
    ),
    "no hints": ("auto", LEGAL, caller(hints=False), "base", "fallback", "no_text_router", "base", "base"),
    "the key's tenant": (
        "auto",
        {"tenant": "other"},
        caller(tenant="hartwell", hints=False),
        "legal",
        "metadata",
        "metadata_rule",
        "legal@3",
        "live",
    ),
}


@pytest.mark.parametrize(
    ("model", "metadata", "who", "cohort", "layer", "reason", "release", "arm"), CASES.values(), ids=CASES
)
def test_cases(
    model: str,
    metadata: Mapping[str, str],
    who: Caller,
    cohort: str,
    layer: str,
    reason: str,
    release: str,
    arm: str,
    releases: Releases,
) -> None:
    found = placed(releases, model, metadata, who)
    decision = found.decision
    assert (decision.cohort, decision.layer, decision.reason) == (cohort, layer, reason)
    assert (found.release, found.arm) == (release, arm)
    assert found.model(BASE_ID) == (BASE_ID if release == "base" else f"{BASE_ID}:{release}")


def test_what_stands_in_for_the_live_release_is_called_so(releases: Releases) -> None:
    """The table has the one before it in its place while it cannot be served."""
    releases._snapshot = Snapshot(table=RouteTable({"legal": TWO}, TABLE.named))
    found = placed(releases, "legal")
    assert (found.release, found.arm, found.decision.reason) == ("legal@2", "previous", "pinned_cohort")
    assert found.headers["X-Release-Arm"] == "previous"


@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "Legal", "legal@9", "legal@", "legal@live", "finance@candidate", "@3", "", ":legal", f"{BASE_ID}:"],
)
def test_an_unknown_name_is_told_what_there_is(model: str, releases: Releases) -> None:
    with pytest.raises(UnknownModel, match="there are auto, base, legal, finance, support") as caught:
        placed(releases, model)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("model", "metadata", "who"),
    [
        ("legal", {}, caller("finance", "base")),
        ("legal@3", {}, caller("finance", "base")),
        ("legal@candidate", {}, caller("base")),
        ("base", {}, caller("legal")),
        (BASE_ID, {}, caller("legal")),
        ("auto", {}, caller("legal")),
        ("auto", FINANCE, caller("legal")),
    ],
)
def test_outside_the_grant_is_forbidden(
    model: str, metadata: Mapping[str, str], who: Caller, releases: Releases
) -> None:
    with pytest.raises(Forbidden) as caught:
        placed(releases, model, metadata, who)
    assert caught.value.code == "cohort_not_granted"


def test_a_pinned_release_that_is_damaged_is_not_replaced(releases: Releases) -> None:
    releases._faults[TWO.digest] = "it was changed"
    with pytest.raises(Conflict, match="legal@2 cannot be served: it was changed"):
        placed(releases, "legal@previous")
    assert placed(releases, "legal").release == "legal@3"


@pytest.mark.parametrize(
    ("who", "steering"),
    [
        (caller(), {"vertical": "legal", "tenant": "acme"}),
        (caller(hints=False), {}),
        (caller(tenant="t"), {"vertical": "legal", "tenant": "t"}),
        (caller(tenant="t", hints=False), {"tenant": "t"}),
    ],
)
def test_what_of_the_metadata_may_steer(who: Caller, steering: dict[str, str]) -> None:
    given = {"vertical": "legal", "tenant": "acme"}
    assert routing_metadata(given, who) == steering
    assert given == {"vertical": "legal", "tenant": "acme"}
