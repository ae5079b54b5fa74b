"""The states of a release and the moves between them. Pure: the store applies what these functions return, inside
one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["candidate", "shadow", "canary", "live", "retired"]
Event: TypeAlias = Literal["added", "promoted", "rolled_back", "retired"]


class IllegalMove(Exception):
    """The message says why, and what can be done instead."""


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """One release as the lifecycle sees it. `went_live` orders the times it was made live (0: never);
    `rolled_back`: its last time live ended so."""

    version: int
    state: State
    went_live: int = 0
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    version: int
    event: Event
    from_state: State
    to_state: State


def live(releases: Sequence[ReleaseState]) -> ReleaseState | None:
    return next((r for r in releases if r.state == "live"), None)


def previous(releases: Sequence[ReleaseState]) -> ReleaseState | None:
    """What a rollback returns to: the release that was live last, of those not rolled back themselves."""
    retired = [r for r in releases if r.state == "retired" and r.went_live and not r.rolled_back]
    return max(retired, key=lambda r: r.went_live, default=None)


def candidate(releases: Sequence[ReleaseState]) -> ReleaseState | None:
    """The newest release that has not been live yet and is newer than the live one, to which an older one was never
    compared."""
    now = live(releases)
    newer = [r for r in _waiting(releases) if now is None or r.version > now.version]
    return max(newer, key=lambda r: r.version, default=None)


def _waiting(releases: Sequence[ReleaseState]) -> list[ReleaseState]:
    return [r for r in releases if r.state in ("candidate", "shadow", "canary")]


def promote(cohort: str, releases: Sequence[ReleaseState], version: int | None) -> list[Move]:
    """Make `version` (default: the candidate) live. Promoting what is live already moves nothing.

    Raises IllegalMove when there is no such release.
    """
    chosen = candidate(releases) if version is None else next((r for r in releases if r.version == version), None)
    if chosen is None:
        older = "" if not _waiting(releases) else " newer than what is live, so name the version"
        wanted = f"no candidate{older}" if version is None else f"no release {cohort}@{version}"
        known = ", ".join(f"{cohort}@{r.version} ({r.state})" for r in releases) or "none"
        raise IllegalMove(f"{cohort} has {wanted}; its releases: {known}")
    now = live(releases)
    if now == chosen:
        return []
    moves = [Move(now.version, "retired", "live", "retired")] if now else []
    return [*moves, Move(chosen.version, "promoted", chosen.state, "live")]


def reject(cohort: str, releases: Sequence[ReleaseState], version: int) -> list[Move]:
    """Retire a release that waits. Raises IllegalMove for one that is live, was live, or is not there."""
    chosen = next((r for r in releases if r.version == version), None)
    if chosen is None or chosen.state in ("live", "retired"):
        state = "not there" if chosen is None else chosen.state
        raise IllegalMove(f"{cohort}@{version} is {state}: only a candidate can be rejected; roll back a live one")
    return [Move(version, "retired", chosen.state, "retired")]


def rollback(cohort: str, releases: Sequence[ReleaseState]) -> list[Move]:
    """Retire the live release and return to the one before it, or to the base when there was none.

    Raises IllegalMove when nothing is live.
    """
    now = live(releases)
    if now is None:
        raise IllegalMove(f"{cohort} has no live release: the base answers for it already")
    moves = [Move(now.version, "rolled_back", "live", "retired")]
    before = previous(releases)
    if before is not None:
        moves.append(Move(before.version, "promoted", "retired", "live"))
    return moves
