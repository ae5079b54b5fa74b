"""The states of a release and the moves between them. Pure: the store applies what these functions return, inside
one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

State: TypeAlias = Literal["candidate", "shadow", "canary", "live", "retired"]
WAITING: Final = ("candidate", "shadow", "canary")
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
    """The newest release that has not been live yet."""
    waiting = [r for r in releases if r.state in WAITING]
    return max(waiting, key=lambda r: r.version, default=None)


def promote(cohort: str, releases: Sequence[ReleaseState], version: int | None) -> list[Move]:
    """Make `version` (default: the candidate) live. Promoting what is live already moves nothing.

    Raises IllegalMove when there is no such release, and for a candidate that is older than what is live, which it
    was never compared with, unless it is named.
    """
    chosen = candidate(releases) if version is None else next((r for r in releases if r.version == version), None)
    if chosen is None:
        wanted = "no candidate" if version is None else f"no release {cohort}@{version}"
        known = ", ".join(f"{cohort}@{r.version} ({r.state})" for r in releases) or "none"
        raise IllegalMove(f"{cohort} has {wanted}; its releases: {known}")
    now = live(releases)
    if now == chosen:
        return []
    if version is None and now and chosen.version < now.version:
        name = f"{cohort}@{chosen.version}"
        raise IllegalMove(
            f"{name} is older than {cohort}@{now.version}, which is live, and was never compared with it: "
            f"cohort promote {name} if it is to be, else cohort reject {name}"
        )
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
