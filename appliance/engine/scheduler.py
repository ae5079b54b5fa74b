"""Which lane decodes next: deficit round robin (Shreedhar and Varghese 1996) on measured milliseconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

QUANTUM_MS = 50.0  # about one decode step: lanes alternate step by step while their costs are alike


@dataclass(frozen=True, slots=True)
class Share:
    """Whose a lane is. The lanes of a cohort have its weight together, however many of its releases are at work."""

    cohort: str
    weight: float = 1.0


def weights(working: Mapping[str, Share]) -> dict[str, float]:
    """What each lane with work weighs: its cohort's weight, divided among that cohort's."""
    lanes = Counter(share.cohort for share in working.values())
    return {lane: share.weight / lanes[share.cohort] for lane, share in working.items()}


class DeficitRoundRobin:
    """Lanes take turns; at each turn a lane earns a quantum times its weight and runs while it has credit.

    A lane that is not ready earns nothing, so credit cannot be saved up; debt from a long step is kept, so a lane
    cannot escape it by pausing. With quantum Q and longest step S, in milliseconds:

    Waiting. A lane of weight w that stays ready is picked by its Rth turn, R = ceil(S / Qw). Until then any
    other lane, of weight v, gets less than RQv + S, and the one that has the turn at the beginning Qv more, however
    lanes come and go.

    Shares. While the same n lanes are ready from the start on, a lane with the share p of all weights gets more than
    its share of the time less Qw + pnS, and less than its share and Qw + S.

    docs/engine.md has the proof.
    """

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}
        self._turns: list[str] = []  # the next to earn first
        self._turn: str | None = None

    def pick(self, ready: Mapping[str, float]) -> str:
        """The lane to run next; `ready` maps the lanes that have work (at least one) to their weights."""
        self._update(ready)
        if self._turn is None or self._credit[self._turn] <= 0:
            self._skip_idle_rounds(ready)
        while self._turn is None or self._credit[self._turn] <= 0:
            self._turn = self._turns.pop(0)
            self._turns.append(self._turn)
            self._credit[self._turn] += QUANTUM_MS * ready[self._turn]
        return self._turn

    def charge(self, lane: str, ms: float) -> None:
        """Account for a step of `lane` that took `ms` milliseconds."""
        self._credit[lane] = self._credit.get(lane, 0.0) - ms

    def forget(self, lane: str) -> None:
        """The lane is gone."""
        self._credit.pop(lane, None)
        self._turns = [name for name in self._turns if name != lane]
        if self._turn == lane:
            self._turn = None

    def _skip_idle_rounds(self, ready: Mapping[str, float]) -> None:
        """Nobody has credit: take the rounds at once in which nobody would get any. A small weight makes millions."""
        rounds = min(-self._credit[name] // (QUANTUM_MS * weight) for name, weight in ready.items())
        for name, weight in ready.items():
            self._credit[name] += max(rounds, 0.0) * QUANTUM_MS * weight

    def _update(self, ready: Mapping[str, float]) -> None:
        for name in self._turns:
            if name not in ready:
                self._credit[name] = min(self._credit[name], 0.0)
        self._turns = [name for name in self._turns if name in ready]
        if self._turn not in ready:
            self._turn = None
        for name in ready:
            if name not in self._turns:
                self._turns.append(name)
                self._credit.setdefault(name, 0.0)
