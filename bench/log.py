"""The log from a thousand rows to a million: `python bench/log.py [ROWS]`.

Fills the log of a temporary home with rows of a usual size (about 75 tokens asked, 32 answered) through the store's
own code. At 1,000, 10,000 ... ROWS it measures what an appliance and its command do with a log: committing a row,
listing by every kind of filter, the metrics, opening, `cohort log tail` and `show`; at the end the check of the whole
file, the export and the backup. Prints a table (milliseconds, where it does not say otherwise), then one JSON line. A
million rows take some ten minutes, and 4 GB in TMPDIR. What was just written is in the system's cache: a cold disk is
not measured. Nor is the engine, which is not started.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx

from appliance import app, config
from appliance.store import interactions
from appliance.store.copy import copy
from appliance.store.database import Connection, Database
from appliance.store.interactions import Interaction

CONFIG = Path("cohorts.toml")
COHORTS = ("legal", "healthcare", "finance", "support", "coding")
START = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = timedelta(seconds=30)  # a million rows are about a year
BATCH = 2000  # rows a commit while filling
RUNS = 25  # of which the median is told
TEN = 10  # so many rows, the oldest, match the filter "ten rows"
WORDS = (
    "the of and to in is that for on with as by from this not who may end term contract before notice clause "
    "invoice order dose patient morning letter bank customer refund error function list value return"
)


def words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS.split(" "), k=count))


def row(n: int, chance: random.Random) -> Interaction:
    """The nth row: five cohorts in turn, three layers, new releases now and then, few failed, few rated."""
    cohort = COHORTS[n % 5]
    pinned = cohort == "legal" or n < TEN * 5
    return Interaction(
        id=f"req_{n:012x}{chance.getrandbits(64):016x}",
        created=(START + n * EVERY).isoformat(timespec="microseconds"),
        origin="live",
        endpoint="chat",
        key_id="8f14e45f",
        tenant="acme",
        session=f"{chance.getrandbits(64):016x}",
        metadata={"vertical": cohort, "tenant": "acme"},
        messages=[{"role": "user", "content": words(chance, 65)}],
        answer=words(chance, 28),
        cohort=cohort,
        layer="pinned" if pinned else "metadata" if n % 3 else "fallback",
        reason="pinned" if pinned else "rule",
        confidence=1.0,
        release=f"{cohort}@{1 + n // 100_000}",
        release_digest=f"{n % 5:064x}",
        arm="live",
        base_digest="b" * 64,
        format_digest="f" * 64,
        template_digest="c" * 64,
        sampling={"temperature": 1.0, "top_p": 1.0, "seed": chance.getrandbits(31), "max_tokens": 32},
        prompt_tokens=75,
        completion_tokens=32,
        queue_ms=round(chance.random() * 100, 3),
        ttft_ms=round(chance.random() * 1000, 3),
        total_ms=round(chance.random() * 5000, 3),
        finish_reason="stop",
        status="failed" if n % 997 == 0 else "cancelled" if n % 23 == 0 else "ok",
    )


def insert(conn: Connection, rows: list[Interaction]) -> None:
    """Store them; one in 49 is rated."""
    for each in rows:
        seq = interactions.insert(conn, each)
        if seq % 49 == 0:
            conn.execute("UPDATE interactions SET rating = ?, reviewed = 1 WHERE seq = ?", (seq % 3 - 1, seq))


def fill(database: Database, first: int, end: int) -> dict[str, float]:
    """Rows first to end; how fast, and how large the WAL became."""
    chance, wal, started = random.Random(first), 0, time.perf_counter()
    for start in range(first, end, BATCH):
        rows = [row(n, chance) for n in range(start, min(start + BATCH, end))]
        database.write(partial(insert, rows=rows)).result()
        wal = max(wal, database.path.with_name(database.path.name + "-wal").stat().st_size)
    return {"filling, rows/s": (end - first) / (time.perf_counter() - started), "WAL at most, MB": wal / 1e6}


def moment(n: int) -> str:
    return (START + n * EVERY).isoformat()


def listings(rows: int) -> dict[str, dict[str, object]]:
    """Queries of `GET /admin/v1/interactions`, 50 rows each. "Ten rows" match one in the whole log's oldest part."""
    ten: dict[str, object] = {"cohort": "finance", "layer": "pinned"}
    return {
        "newest": {},
        "newest, brief": {"brief": True},
        "from the middle": {"before": rows // 2},
        "the oldest": {"before": 51},
        "followed from the middle": {"after": rows // 2},
        "cohort": {"cohort": "finance"},
        "cohort, the oldest": {"cohort": "finance", "before": 251},
        "layer": {"layer": "fallback"},
        "release": {"release": "support@1"},
        "failed": {"status": "failed"},
        "cohort, failed": {"cohort": "finance", "status": "failed"},
        "cohort, rated bad": {"cohort": "finance", "rating": -1},
        "reviewed by nobody": {"reviewed": False, "origin": "live"},
        "cohort, reviewed": {"cohort": "finance", "reviewed": True},
        "probes: none": {"origin": "probe"},
        "since the last hour": {"since": moment(rows - 120)},
        "since the beginning": {"since": moment(0)},
        "cohort, layer: ten rows": ten,
        "the same, since the middle: none": ten | {"since": moment(rows // 2)},
        "cohort, release of another: none": {"cohort": "finance", "release": "legal@1"},
        "unknown cohort: none": {"cohort": "nobody"},
        "since tomorrow: none": {"since": moment(rows + 2880)},
    }


async def median_ms(work: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        await work()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e3


@asynccontextmanager
async def opened(home: Path) -> AsyncIterator[tuple[Database, httpx.AsyncClient]]:
    """The appliance on this home, without an engine, and a client that is its operator."""
    box = app.open_home(config.load(CONFIG), home, "")
    headers = {"Authorization": f"Bearer {(home / 'admin.key').read_text().strip()}"}
    transport = httpx.ASGITransport(app.application(box))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            yield box.database, client
    finally:
        await app.close(box)


async def commits(database: Database, first: int) -> dict[str, float]:
    """Milliseconds for a row alone, as an answer waits for it: median and 95th percentile of 200."""
    chance, times = random.Random(first), []
    for n in range(first, first + 200):
        started = time.perf_counter()
        await database.commit(partial(insert, rows=[row(n, chance)]))
        times.append((time.perf_counter() - started) * 1e3)
    return {"commit": statistics.median(times), "commit, 95th": statistics.quantiles(times, n=20)[-1]}


async def served(client: httpx.AsyncClient, rows: int) -> dict[str, float]:
    """Milliseconds of requests that read, without a network."""
    found: dict[str, float] = {}
    for name, query in listings(rows).items():
        found[name] = await median_ms(partial(get, client, "/admin/v1/interactions", query))
    oldest = (await get(client, "/admin/v1/interactions", {"after": 0, "limit": 1})).json()[0]["id"]
    found["one request"] = await median_ms(partial(get, client, f"/admin/v1/interactions/{oldest}"))
    found["metrics"] = await median_ms(partial(get, client, "/metrics"))
    return found


async def get(client: httpx.AsyncClient, path: str, query: dict[str, object] | None = None) -> httpx.Response:
    return (await client.get(path, params={k: str(v) for k, v in (query or {}).items()})).raise_for_status()


def command(home: Path, *verb: str) -> float:
    """Milliseconds of `cohort VERB` without a running appliance: Python's start and opening the home are in it."""
    started = time.perf_counter()
    program = [sys.executable, "-m", "appliance.cli.main", *verb]
    subprocess.run(program, env={**os.environ, "COHORT_HOME": str(home)}, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1e3


async def measure(home: Path, first: int, rows: int) -> dict[str, float]:
    """Grow the log from `first` to `rows` rows and measure."""
    async with opened(home) as (database, client):
        found = {"rows": float(rows), **fill(database, first, rows - 200), **await commits(database, rows - 200)}
        found |= await served(client, rows)
        oldest = (await get(client, "/admin/v1/interactions", {"after": 0, "limit": 1})).json()[0]["id"]
    started = time.perf_counter()
    database = Database.open(home / "appliance.db")
    found["opening"] = (time.perf_counter() - started) * 1e3
    database.close()
    found["cohort log tail"] = command(home, "log", "tail")
    found["cohort log show"] = command(home, "log", "show", oldest)
    return found | {"bytes a row": (home / "appliance.db").stat().st_size / rows}


def whole(home: Path, target: Path) -> dict[str, float]:
    """Seconds of what has to read everything: check, export as JSON lines, copy of the database."""
    started = time.perf_counter()
    database = Database.open(home / "appliance.db")
    if checking := database.check():
        checking.join()
    check = time.perf_counter() - started
    database.close()
    export = command(home, "log", "export") / 1e3
    started = time.perf_counter()
    copy(home / "appliance.db", target)
    return {"check_s": check, "export_s": export, "backup_s": time.perf_counter() - started}


def print_table(columns: list[dict[str, float]]) -> None:
    for name in columns[0]:
        cells = (f"{value:12,.0f}" if value > 999 else f"{value:12.2f}" for value in (c[name] for c in columns))
        print(f"{name:34}", *cells)


async def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10**6
    sizes = [10**power for power in range(3, 10) if 10**power <= most]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        columns = [await measure(home, first, rows) for first, rows in zip([0, *sizes], sizes, strict=False)]
        seconds = await asyncio.to_thread(whole, home, Path(folder) / "copy.db")
    print_table(columns)
    print(", ".join(f"{name} {value:.1f}" for name, value in seconds.items()))
    print(json.dumps({"bench": "log", "sizes": columns, **seconds}))


if __name__ == "__main__":
    asyncio.run(main())
