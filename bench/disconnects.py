"""Clients that leave: `python bench/disconnects.py [--count 500]`.

Four clients at a time ask for a long answer and cut the connection after a random time, in the queue, in the prompt
or in the answer. Measured from the cut: until the appliance runs and keeps nothing for them any more. At the end
nothing may be left running, and the log must hold one row for each request that came. Prints a table, then one JSON
line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from rig import load, prompts, servers
from rig.servers import Server

from appliance import base
from appliance.config import Base

TOGETHER, PROMPT, ANSWER, LONGEST_S = 4, 300, 400, 3.0
MOST = 1000  # rows of one answer of the log


async def leave(http: httpx.AsyncClient, body: dict[str, object], cut: asyncio.Event) -> None:
    """Ask, and drop the connection when told to."""

    async def ask() -> None:
        async with http.stream("POST", "/v1/completions", json=body) as reply:
            async for _ in reply.aiter_raw():
                pass

    asking = asyncio.create_task(ask())
    await asyncio.wait({asking, asyncio.create_task(cut.wait())}, return_when=asyncio.FIRST_COMPLETED)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def busy(operator: httpx.AsyncClient) -> int:
    """Sequences that run or wait."""
    status = (await operator.get("/admin/v1/status")).json()
    there: int = sum(lane["running"] + lane["waiting"] for lane in status["lanes"]) + status["waiting_requests"]
    return there


async def measure(server: Server, count: int) -> dict[str, object]:
    rng, freed = random.Random(7), []
    async with httpx.AsyncClient(base_url=server.url, headers=dict(server.headers), timeout=120) as operator:
        for _ in range(count // TOGETHER):
            async with httpx.AsyncClient(base_url=server.url, headers=dict(server.headers), timeout=120) as http:
                cut = asyncio.Event()
                bodies = [prompts.completion(prompts.prompt(PROMPT, rng), ANSWER) for _ in range(TOGETHER)]
                asking = [
                    asyncio.create_task(leave(http, {**b, "model": "base", "stream": True}, cut)) for b in bodies
                ]
                await asyncio.sleep(rng.uniform(0.02, LONGEST_S))
                cut.set()
                await asyncio.gather(*asking)
            left = time.monotonic()
            while await busy(operator) and time.monotonic() < left + 60:
                await asyncio.sleep(0.002)
            freed.append(time.monotonic() - left)
        await asyncio.sleep(1)
        rows = (await operator.get("/admin/v1/interactions", params={"limit": MOST})).json()
        return {
            "disconnects": count,
            "logged": Counter(row["status"] for row in rows),
            "freed_p50_ms": load.quantile(freed, 0.5) * 1e3,
            "freed_p99_ms": load.quantile(freed, 0.99) * 1e3,
            "left_running": await busy(operator),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    count = parser.parse_args().count
    if count > MOST:
        parser.error(f"--count is at most {MOST}: so many rows are read back")
    model = base.locate(Base(), Path("cohorts.toml"))
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.appliance(Path(folder) / "home", model, [], format="as_is", context=4096) as server,
    ):
        row = asyncio.run(measure(server, count))
    for name, value in row.items():
        print(f"{name:16} {value}")
    print(json.dumps({"bench": "disconnects", **row}))


if __name__ == "__main__":
    main()
