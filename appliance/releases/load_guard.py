"""Which release was being loaded when the process ended: llama.cpp may abort it, and at the next start again.

Written before a live release is loaded and taken back afterwards, so what is left names the one that did not return.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_STRIKES, _WITHIN_S = 2, 600.0
WHY = f"the process ended {_STRIKES} times while it was loaded, within {_WITHIN_S / 60:.0f} minutes"
_log = logging.getLogger(__name__)


class LoadGuard:
    """Of one home. A disk that takes no note is no reason not to serve."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def struck(self) -> list[str]:
        """The digests of releases that ended the process as often as may be."""
        oldest = time.time() - _WITHIN_S
        return [digest for digest, at in self._read().items() if sum(when > oldest for when in at) >= _STRIKES]

    @contextmanager
    def loading(self, digest: str) -> Iterator[None]:
        known = self._read()
        self._write({**known, digest: [*known.get(digest, ()), time.time()][-_STRIKES:]})
        try:
            yield
        finally:
            self._write({name: at for name, at in known.items() if name != digest})

    def _read(self) -> dict[str, list[float]]:
        try:
            known = json.loads(self._path.read_text())
            return {str(digest): [float(when) for when in at] for digest, at in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write(self, known: dict[str, list[float]]) -> None:
        part = self._path.with_suffix(".part")
        try:
            if not known:  # a full disk takes that too
                self._path.unlink(missing_ok=True)
                return
            part.write_text(json.dumps(known))  # no sync: it is for the end of the process, not of the machine
            part.replace(self._path)
        except OSError as error:
            _log.warning("%s cannot be written (%s): a release that ends the process will not be known", part, error)
            with suppress(OSError):
                part.unlink()
