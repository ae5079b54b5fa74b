"""The moves of releases: a table of cases, and what holds after any sequence of moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import lifecycle
from adapters.lifecycle import IllegalMove, Move, ReleaseState, State


def release(version: int, state: State = "candidate", went_live: int = 0, rolled_back: bool = False) -> ReleaseState:
    return ReleaseState(version, state, went_live, rolled_back)


ONE_LIVE = [release(1, "live", 1), release(2)]
TWO_WERE = [release(1, "retired", 1), release(2, "live", 2), release(3)]
ROLLED_BACK = [release(1, "live", 3), release(2, "retired", 2, rolled_back=True)]

PROMOTE: dict[str, tuple[Sequence[ReleaseState], int | None, list[Move]]] = {
    "the first": ([release(1)], None, [Move(1, "promoted", "candidate", "live")]),
    "the candidate": (
        ONE_LIVE,
        None,
        [Move(1, "retired", "live", "retired"), Move(2, "promoted", "candidate", "live")],
    ),
    "the newest of two": ([release(1), release(2)], None, [Move(2, "promoted", "candidate", "live")]),
    "the older by its number": ([release(1), release(2)], 1, [Move(1, "promoted", "candidate", "live")]),
    "from shadow": ([release(1, "shadow")], None, [Move(1, "promoted", "shadow", "live")]),
    "from canary": ([release(1, "canary")], None, [Move(1, "promoted", "canary", "live")]),
    "an old one again": (
        TWO_WERE,
        1,
        [Move(2, "retired", "live", "retired"), Move(1, "promoted", "retired", "live")],
    ),
    "one rolled back": (
        ROLLED_BACK,
        2,
        [Move(1, "retired", "live", "retired"), Move(2, "promoted", "retired", "live")],
    ),
    "what is live already": (TWO_WERE, 2, []),
}
ROLLBACK: dict[str, tuple[Sequence[ReleaseState], list[Move]]] = {
    "to the base": ([release(1, "live", 1)], [Move(1, "rolled_back", "live", "retired")]),
    "to the one before": (
        TWO_WERE,
        [Move(2, "rolled_back", "live", "retired"), Move(1, "promoted", "retired", "live")],
    ),
    "not to one rolled back itself": (ROLLED_BACK, [Move(1, "rolled_back", "live", "retired")]),
    "not to a candidate": (ONE_LIVE, [Move(1, "rolled_back", "live", "retired")]),
    "not to one retired unused": (
        [release(1, "retired"), release(2, "live", 1)],
        [Move(2, "rolled_back", "live", "retired")],
    ),
    "to the one live last, whatever its number": (
        [release(1, "retired", 5), release(2, "retired", 3), release(3, "live", 6)],
        [Move(3, "rolled_back", "live", "retired"), Move(1, "promoted", "retired", "live")],
    ),
}


@pytest.mark.parametrize(("releases", "version", "moves"), PROMOTE.values(), ids=PROMOTE)
def test_promote(releases: Sequence[ReleaseState], version: int | None, moves: list[Move]) -> None:
    assert lifecycle.promote("legal", releases, version) == moves
    assert lifecycle.promote("legal", list(releases)[::-1], version) == moves


@pytest.mark.parametrize(("releases", "moves"), ROLLBACK.values(), ids=ROLLBACK)
def test_rollback(releases: Sequence[ReleaseState], moves: list[Move]) -> None:
    assert lifecycle.rollback("legal", releases) == moves
    assert lifecycle.rollback("legal", list(releases)[::-1]) == moves


@pytest.mark.parametrize(
    ("releases", "version", "says"),
    [
        ([], None, "legal has no candidate; its releases: none"),
        ([release(1, "live", 1)], None, r"no candidate; its releases: legal@1 \(live\)"),
        ([release(1), release(2, "live", 1)], None, "legal@1 is older than legal@2, which is live, and was never"),
        ([release(1)], 2, r"no release legal@2; its releases: legal@1 \(candidate\)"),
    ],
)
def test_promoting_what_is_not_there_says_what_is(
    releases: Sequence[ReleaseState], version: int | None, says: str
) -> None:
    with pytest.raises(IllegalMove, match=says):
        lifecycle.promote("legal", releases, version)


@pytest.mark.parametrize("releases", [[], [release(1)], [release(1, "retired", 1, rolled_back=True)]])
def test_nothing_live_cannot_be_rolled_back(releases: Sequence[ReleaseState]) -> None:
    with pytest.raises(IllegalMove, match="the base answers for it already"):
        lifecycle.rollback("legal", releases)


@pytest.mark.parametrize(
    ("releases", "live", "previous", "candidate"),
    [
        ([], None, None, None),
        (ONE_LIVE, 1, None, 2),
        (TWO_WERE, 2, 1, 3),
        (ROLLED_BACK, 1, None, None),
        ([release(1, "retired", 1), release(2, "shadow"), release(3, "canary")], None, 1, 3),
    ],
)
def test_who_is_who(
    releases: Sequence[ReleaseState], live: int | None, previous: int | None, candidate: int | None
) -> None:
    found = (lifecycle.live(releases), lifecycle.previous(releases), lifecycle.candidate(releases))
    assert tuple(r and r.version for r in found) == (live, previous, candidate)


class Register:
    """Applies moves as the store does: an event each, numbered on."""

    def __init__(self) -> None:
        self.releases: dict[int, ReleaseState] = {}
        self._events = 0

    @property
    def states(self) -> list[ReleaseState]:
        return list(self.releases.values())

    @property
    def live(self) -> int | None:
        found = lifecycle.live(self.states)
        return found.version if found else None

    def add(self) -> None:
        version = len(self.releases) + 1
        self.releases[version] = release(version)

    def apply(self, moves: Sequence[Move]) -> None:
        for move in moves:
            self._events += 1
            old = self.releases[move.version]
            assert old.state == move.from_state
            if move.to_state == "live":
                new = replace(old, state="live", went_live=self._events)
            else:
                new = replace(old, state=move.to_state, rolled_back=move.event == "rolled_back")
            self.releases[move.version] = new
            assert [r.state for r in self.states].count("live") <= 1  # after every single move

    def act(self, action: int | None) -> None:
        """0 adds, None rolls back, -1 promotes the candidate, n promotes version n; what is illegal does nothing."""
        if action == 0:
            self.add()
            return
        try:
            if action is None:
                self.apply(lifecycle.rollback("legal", self.states))
            else:
                self.apply(lifecycle.promote("legal", self.states, None if action == -1 else action))
        except IllegalMove:
            pass


actions = st.lists(st.sampled_from([0, 0, -1, -1, None, None, 1, 2, 3, 4]), max_size=30)


def after(history: Sequence[int | None]) -> Register:
    register = Register()
    for action in history:
        register.act(action)
    return register


@given(actions)
def test_there_are_never_two_live(history: list[int | None]) -> None:
    after(history)


@given(actions, st.sampled_from([-1, 1, 2, 3, 4]))
def test_rollback_after_promote_returns_to_what_was_live(history: list[int | None], promoted: int) -> None:
    register = after(history)
    before = register.live
    register.act(promoted)
    if register.live != before:
        register.act(None)
        assert register.live == before


@given(actions)
def test_rolling_back_again_and_again_never_comes_back_and_ends_at_the_base(history: list[int | None]) -> None:
    register = after(history)
    seen = []
    while register.live is not None:
        seen.append(register.live)
        register.act(None)
    assert len(seen) == len(set(seen))


@given(actions)
def test_promoting_what_is_live_moves_nothing(history: list[int | None]) -> None:
    register = after(history)
    if register.live is not None:
        assert lifecycle.promote("legal", register.states, register.live) == []


@given(actions)
def test_what_moves_ends_live_and_what_was_live_is_retired(history: list[int | None]) -> None:
    register = after(history)
    register.act(0)
    newest, before = len(register.releases), register.live
    register.act(-1)
    assert register.live == newest
    assert before is None or register.releases[before].state == "retired"
