"""What an open console costs: `python bench/console.py [--rows 200000]`.

An appliance with that many logged requests, and a console beside it in this process, without a terminal. Measures the
time until the first screen shows data, the requests a second of an open console and the processor time they take of
the appliance, and how long looks into the log take, asked as the console asks and HTTP included, that match many, few
and no rows. Prints a table, then one JSON line. No model is asked anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from rig.servers import Server, appliance

from appliance import base
from appliance.config import Base
from appliance.store.database import Connection, Database
from appliance.store.interactions import Interaction, insert
from tui.client import Client
from tui.console import Console
from tui.screens.interactions import PAGE

WATCHED_S = 20.0
GROUP, RUNS = 2_000, 9
RARE = "xylophone"
WORDS = "the of and to in is that for on with as by this who may end term contract notice clause invoice dose".split()
COHORTS = ("legal", "support", "finance")
FILTERS: dict[str, dict[str, Any]] = {
    "the newest": {},
    "a page from the middle": {"before": 100_000},
    "a cohort": {"cohort": "legal"},
    "a cohort, failed": {"cohort": "legal", "status": "failed"},
    "an error's code": {"code": "engine_fault"},
    "rated bad": {"rating": -1},
    "reviewed": {"reviewed": "true"},
    "a review queue": {"origin": "live", "reviewed": "false", "cohort": "legal"},
    "the last two hours, rated bad": {"rating": -1, "since": 2.0},
    "a word of most rows": {"text": "clause"},
    "a word of one row, the oldest": {"text": RARE},
    "a word of no row": {"text": "zyzzyva"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "console"
        (place / "home").mkdir(parents=True)
        fill(place / "home" / "appliance.db", rows)
        with appliance(place, base.locate(Base(), Path("cohorts.toml")), []) as server:
            report(rows, asyncio.run(measured(server)))


def fill(path: Path, rows: int) -> None:
    """Three a second up to now, one in fifty failed, with two kinds of errors."""
    database, chance = Database.open(path), random.Random(1)
    start = datetime.now(UTC) - timedelta(seconds=rows / 3)
    for first in range(0, rows, GROUP):
        group = [_row(n, start + timedelta(seconds=n / 3), chance) for n in range(first, min(first + GROUP, rows))]

        def write(connection: Connection, group: list[Interaction] = group) -> None:
            for row in group:
                insert(connection, row)

        database.write(write).result()
    database.write(_judge).result()
    database.close()


def _judge(connection: Connection) -> None:
    """One in five hundred was judged, half of these badly."""
    connection.execute("UPDATE interactions SET rating = 1, reviewed = 1 WHERE seq % 500 = 0")
    connection.execute("UPDATE interactions SET rating = -1 WHERE seq % 1000 = 0")


def _row(n: int, created: datetime, chance: random.Random) -> Interaction:
    text = " ".join(chance.choices(WORDS, k=65)) + (f" {RARE}" if n == 0 else "")
    cohort = COHORTS[n % 3]
    return Interaction(
        id=f"req_{n:028x}",
        created=created.isoformat(timespec="microseconds"),
        origin="live",
        endpoint="chat",
        messages=[{"role": "user", "content": text}],
        answer=" ".join(chance.choices(WORDS, k=28)),
        cohort=cohort,
        layer="classifier",
        reason="above_threshold",
        confidence=chance.random(),
        release=f"{cohort}@1",
        status="failed" if n % 50 == 0 else "ok",
        error=("engine_fault: x" if n % 100 else "deadline_exceeded: x") if n % 50 == 0 else None,
        ttft_ms=100 * chance.random(),
        total_ms=1000 * chance.random(),
    )


async def measured(server: Server) -> dict[str, Any]:
    key = server.headers["Authorization"].removeprefix("Bearer ")
    looks = {name: await _looked(server.url, key, given) for name, given in FILTERS.items()}
    return {**await watched(server, key), "look_ms": looks}


async def _looked(url: str, key: str, given: dict[str, Any]) -> float:
    if "since" in given:
        given = {**given, "since": (datetime.now(UTC) - timedelta(hours=given["since"])).isoformat()}
    async with Client(url, key) as client:
        return await _median(lambda: client.get("interactions", limit=PAGE, brief="true", **given))


async def _median(work: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        await work()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


async def watched(server: Server, key: str) -> dict[str, float]:
    """The live screen, left open."""
    client, asked = Client(server.url, key), [0]
    right = client.get

    async def get(path: str, /, **params: object) -> Any:  # noqa: ANN401
        asked[0] += 1
        return await right(path, **params)

    client.get = get  # type: ignore[method-assign]
    began = time.perf_counter()
    console = Console(client)
    async with console.run_test(size=(140, 45)) as pilot:
        while "●" not in str(console.query_one("#state").render()):
            await pilot.pause(0.01)
        first = time.perf_counter() - began
        used, before = _used(server.pid), asked[0]
        await asyncio.sleep(WATCHED_S)
        return {
            "first_paint_s": first,
            "requests_per_s": (asked[0] - before) / WATCHED_S,
            "appliance_cpu_share": (_used(server.pid) - used) / WATCHED_S,
        }


def _used(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def report(rows: int, found: dict[str, Any]) -> None:
    print(f"{rows} requests in the log")
    print(f"{'first screen with data':34} {found['first_paint_s']:8.2f} s")
    print(f"{'requests of an open console':34} {found['requests_per_s']:8.2f} a second")
    print(f"{'processor of the appliance':34} {100 * found['appliance_cpu_share']:8.2f} % of one")
    for name, ms in found["look_ms"].items():
        print(f"{name:34} {ms:8.1f} ms")
    print(json.dumps({"bench": "console", "rows": rows, **found}))


if __name__ == "__main__":
    main()
