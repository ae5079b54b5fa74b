"""From the caller's model name and metadata to the decision and the release that answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from appliance.config import AUTO
from appliance.errors import Conflict, Forbidden, UnknownModel
from appliance.keys import Caller
from appliance.releases.register import Releases
from router.cohort import BASE, Cohort
from router.decide import decide
from router.decision import Decision
from router.layers import Pin, Query
from router.table import Arm, RouteTable, Target
from router.text import TextRouter


@dataclass(frozen=True, slots=True)
class Placement:
    """`target` None is the bare base."""

    decision: Decision
    target: Target | None
    arm: Arm

    @property
    def release(self) -> str:
        return self.target.name if self.target else BASE

    @property
    def headers(self) -> dict[str, str]:
        """Who answers and why."""
        return {
            "X-Cohort": self.decision.cohort,
            "X-Cohort-Layer": self.decision.layer,
            "X-Cohort-Confidence": f"{self.decision.confidence:.4g}",
            "X-Cohort-Reason": self.decision.reason,
            "X-Release": self.release,
            "X-Release-Digest": self.target.digest if self.target else BASE,
            "X-Release-Arm": self.arm,
        }

    def model(self, base_id: str) -> str:
        """What answered, as the reply's `model`."""
        return f"{base_id}:{self.target.name}" if self.target else base_id


@dataclass(frozen=True, slots=True)
class RoutingInput:
    """What of a request decides where it goes: the model's name, the conversation's text, its metadata, and the
    cohort that the session's earlier requests went to."""

    model: str
    text: str
    metadata: Mapping[str, str]
    session: str | None = None


def place(
    asked: RoutingInput,
    caller: Caller,
    base_id: str,
    cohorts: tuple[Cohort, ...],
    releases: Releases,
    router: TextRouter | None,
) -> Placement:
    """Decide and look up; reading the text takes milliseconds of a processor. Raises UnknownModel, Forbidden, or
    Conflict for a pinned release that is damaged."""
    name = asked.model.removeprefix(f"{base_id}:")
    pin = _pin(name, base_id, [cohort.name for cohort in cohorts], releases.table)
    query = Query(asked.text, routing_metadata(asked.metadata, caller), pin, caller.grant, asked.session)
    decision = decide(query, cohorts, router)
    if not query.grants(decision.cohort):
        raise Forbidden(f"this key is not granted {decision.cohort}", code="cohort_not_granted", param="model")
    if pin is not None and pin.kind == "release":
        return _pinned(decision, name, releases)
    target = releases.table.live.get(decision.cohort)
    if target is not None:
        stands_in = target == releases.table.named.get(f"{decision.cohort}@previous")
        return Placement(decision, target, "previous" if stands_in else "live")
    if decision.cohort != BASE:
        decision = replace(decision, reason="no_live_release")
    return Placement(decision, None, "base")


def routing_metadata(metadata: Mapping[str, str], caller: Caller) -> dict[str, str]:
    """The metadata that may steer routing: none without the key's leave, and the key's own tenant always."""
    allowed = dict(metadata) if caller.hints else {}
    if caller.tenant is not None:
        allowed["tenant"] = caller.tenant
    return allowed


def _pin(name: str, base_id: str, cohorts: list[str], table: RouteTable) -> Pin | None:
    if name == AUTO:
        return None
    if name in (BASE, base_id):
        return Pin(BASE, "base")
    if name in cohorts:
        return Pin(name, "cohort")
    if name in table.named:
        return Pin(table.named[name].cohort, "release")
    known = ", ".join((AUTO, BASE, *cohorts))
    raise UnknownModel(
        f"there is no model {name!r} here; there are {known}, and releases like legal@3", param="model"
    )


def _pinned(decision: Decision, name: str, releases: Releases) -> Placement:
    target = releases.table.named[name]
    fault = releases.fault(target)
    if fault:
        raise Conflict(f"{target.name} cannot be served: {fault}", param="model")
    arms: dict[str, Arm] = {"candidate": "candidate", "previous": "previous"}
    return Placement(decision, target, arms.get(name.partition("@")[2], "pinned"))
