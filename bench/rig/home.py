"""A home of the appliance without its network side, and words of what goes on in it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance import app
from appliance.config import Config
from appliance.http.box import Box
from appliance.progress import Report


@asynccontextmanager
async def opened(config: Config, home: Path) -> AsyncIterator[Box]:
    """With its base prepared and its engine begun."""
    box = app.open_home(config, home, "")
    try:
        await app.prepare(box, Path("cohorts.toml"), lambda _part, _doing: None)
        await app.start_engine(box)
        yield box
    finally:
        await app.close(box)


def tell(what: str) -> Report:
    """One line, over and over."""

    def show(part: float, doing: str) -> None:
        print(f"\r{what}: {part:4.0%} {doing:.70}".ljust(118), end="", flush=True, file=sys.stderr)

    return show
