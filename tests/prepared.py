"""A home that knows its base already, as `cohort base import` leaves it: measuring takes children and seconds."""

from __future__ import annotations

import json
from pathlib import Path

from adapters.registry import file_digest
from appliance.base import RECORD
from appliance.store.home import Home


def seed(home: Path, base: Path) -> None:
    """The base is served as it is. What was decided before stays."""
    digest = file_digest(base)
    record = Home(home).base / digest[:16] / RECORD
    if not record.exists():
        record.parent.mkdir(mode=0o700)
        facts = {"source": digest, "format": "as_is", "format_digest": digest, "trials": []}
        record.write_text(json.dumps(facts), encoding="utf-8")
