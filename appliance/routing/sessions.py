"""Which cohort each session's requests went to of late: what its next request starts from."""

from __future__ import annotations

from collections import OrderedDict

MOST = 10_000  # sessions; the one that was quiet longest goes. Nothing is kept over a restart.


class Sessions:
    """Lives on the event loop. Sessions of different partitions never meet, whatever their names."""

    def __init__(self) -> None:
        self._cohorts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def cohort(self, partition: str, session: str | None) -> str | None:
        return None if session is None else self._cohorts.get((partition, session))

    def note(self, partition: str, session: str | None, cohort: str) -> None:
        """A request of this session went there."""
        if session is None:
            return
        self._cohorts[partition, session] = cohort
        self._cohorts.move_to_end((partition, session))
        if len(self._cohorts) > MOST:
            self._cohorts.popitem(last=False)
