"""From the register to the route table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from adapters import lifecycle
from adapters.lifecycle import ReleaseState
from router.table import RouteTable, Target


def build(
    cohorts: Iterable[str],
    states: Mapping[str, Sequence[ReleaseState]],
    digests: Mapping[tuple[str, int], str],
    faults: Mapping[str, str],
) -> tuple[RouteTable, list[str]]:
    """The table and its alarms: a live release that cannot be served (`faults`, by digest) is replaced by the one
    before it, else by the base."""
    live: dict[str, Target] = {}
    named: dict[str, Target] = {}
    alarms: list[str] = []
    for cohort in cohorts:
        own = {s.version: Target(cohort, s.version, digests[cohort, s.version]) for s in states[cohort]}
        named |= {target.name: target for target in own.values()}
        current, before = lifecycle.live(states[cohort]), lifecycle.previous(states[cohort])
        for alias, release in (("previous", before), ("candidate", lifecycle.candidate(states[cohort]))):
            if release is not None:
                named[f"{cohort}@{alias}"] = own[release.version]
        if current is None:
            continue
        for choice in (current, before):
            if choice is not None and own[choice.version].digest not in faults:
                live[cohort] = own[choice.version]
                break
        if own[current.version] != live.get(cohort):
            alarms.append(_alarm(own[current.version], live.get(cohort), faults))
    return RouteTable(live, named), alarms


def _alarm(broken: Target, instead: Target | None, faults: Mapping[str, str]) -> str:
    answering = instead.name if instead else "the base"
    return f"{broken.name} cannot be served, {answering} answers for {broken.cohort}: {faults[broken.digest]}"
