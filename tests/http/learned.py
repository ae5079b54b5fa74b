"""An appliance with a cohort that has learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http.in_process import trained_here
from tests.http.learnable import SETTINGS, brief, material, retrained
from tests.http.routed import written
from tests.http.running import Running, running


@contextmanager
def learned(folder: Path, base: Path) -> Iterator[Running]:
    """legal@1 was trained here and is live; support has rows and no release."""
    for (cohort, split), lines in material().items():
        written(folder / "examples" / cohort / f"{split}.jsonl", lines)
    with running(folder, base, SETTINGS) as appliance, brief(), trained_here():
        assert retrained(appliance)["release"] == "legal@1"
        yield appliance
