"""Pictures of the console for the documents, taken from an appliance that serves this home: `make pictures`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from appliance import config
from appliance.cli.client import admin_key
from appliance.store.home import Home
from tui.client import Client
from tui.console import PANES, Console

SIZE = (110, 32)


async def main() -> None:
    home = config.home_path()
    owner = Home(home).owner()
    if owner is None or not owner.url:
        sys.exit(f"no appliance serves {home}: make serve, and send it some requests first")
    folder = Path(__file__).parent / "pictures"
    folder.mkdir(exist_ok=True)
    console = Console(Client(owner.url, admin_key(home), local=True))
    async with console.run_test(size=SIZE) as pilot:
        for number, (name, _) in enumerate(PANES[:-1], 1):  # the last one shows where the home lies
            await pilot.press(str(number))
            await asyncio.sleep(1.5)
            (folder / f"{name}.svg").write_text(console.export_screenshot(title="cohort tui"), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
