"""The real appliance in a thread of its own, and how tests reach it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from appliance.app import close, open_home, prepare, start_engine
from appliance.config import Config, load
from appliance.http.box import Box
from appliance.serve import Server, _listen, _uvicorn_config
from tests.prepared import seed

COHORTS = ("legal", "healthcare", "finance", "support", "coding")
PATIENCE = 300.0  # seconds: bounds a wait for what must happen; nothing is decided by how long it took
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a client's own would read every authority of the machine
Json: TypeAlias = dict[str, Any]
Stop: TypeAlias = Callable[[], None]

_COHORT = """
[cohorts.{name}]
description = "Tests of {name}"
owner = "{name}@example.org"
system_prompt = "You are {name}."
metadata = [
    {{ vertical = "{name}", rule = "routes" }},
    {{ tenant = "{name}-house", rule = "routes" }},
    {{ region = "{region}", rule = "routes" }},
]
"""


@dataclass(frozen=True, slots=True)
class Running:
    """An appliance that serves. `admin` is its operator's key."""

    url: str
    port: int
    home: Path
    admin: str
    box: Box

    def http(self, key: str | None = None, **settings: Any) -> httpx.Client:  # noqa: ANN401 - httpx's own
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=600, trust_env=False, verify=_NO_TLS, **settings
        )

    def operator(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        with self.http(self.admin) as client:
            return client.request(method, f"/admin/v1{path}", json=body)

    def operated(self, method: str, path: str, body: Json | None = None) -> Any:  # noqa: ANN401 - any JSON
        reply = self.operator(method, path, body)
        assert reply.is_success, reply.text
        return reply.json()

    def release(self, adapter: Path, cohort: str, *, live: bool = True) -> Json:
        """Register a tiny adapter through the operator API."""
        entry: Json = self.operated("POST", "/releases", {"path": str(adapter), "cohort": cohort, "live": live})
        return entry

    def key(self, **wanted: object) -> str:
        """The secret of a new API key."""
        return str(self.operated("POST", "/keys", {"name": "test", **wanted})["secret"])

    def rows(self, query: str, *values: object) -> list[Json]:
        """Read the database as other tools do."""
        with closing(sqlite3.connect(f"file:{self.home / 'appliance.db'}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def row(self, request_id: str) -> Json:
        (found,) = self.rows("SELECT * FROM interactions WHERE id = ?", request_id)
        return found

    def lane(self, release: str = "base") -> Json:
        """What the lane of a release is doing: `running` and `waiting`."""
        lanes: list[Json] = self.operated("GET", "/status")["lanes"]
        return next((lane for lane in lanes if lane["release"] == release), {"running": 0, "waiting": 0})

    def idle(self) -> bool:
        status = self.operated("GET", "/status")
        busy = any(lane["running"] or lane["waiting"] for lane in status["lanes"])
        return not busy and status["waiting_requests"] == 0


def until(happened: Callable[[], Any], patience: float = PATIENCE) -> Any:  # noqa: ANN401 - what `happened` returns
    """Poll until it is truthy. Fails after so many seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def chat(text: str = "Hello there", **more: object) -> Json:
    """A small chat request, greedy unless told otherwise."""
    request: Json = {"model": "base", "messages": [{"role": "user", "content": text}], "temperature": 0}
    return {**request, "max_tokens": 8, **more}


def forced(text: str) -> Json:
    """The `response_format` that leaves the model nothing else to say than `text`, as a JSON string."""
    return {"type": "json_schema", "json_schema": {"name": "forced", "schema": {"const": text}}}


@contextmanager
def running(folder: Path, base: Path, settings: str = "", **limits: object) -> Iterator[Running]:
    """Serve on a free port until the block ends. `settings` go to [base], `limits` to [appliance]."""
    config_file = folder / "cohorts.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in limits.items()]
    config_file.write_text(_toml(base, settings, "\n".join(lines)), encoding="utf-8")
    seed(folder / "home", base)
    started: Future[tuple[Running, Stop]] = Future()
    ended: Future[None] = Future()

    def live() -> None:
        try:
            asyncio.run(_serve(load(config_file), config_file, folder / "home", started))
        except BaseException as error:
            (ended if started.done() else started).set_exception(error)
        else:
            ended.set_result(None)

    thread = threading.Thread(target=live, name="appliance")
    thread.start()
    try:
        appliance, stop = started.result(300)
        try:
            yield appliance
        finally:
            stop()
            ended.result(300)
    finally:
        thread.join(300)


def _toml(base: Path, settings: str, limits: str) -> str:
    regions = {"finance": "emea", "healthcare": "emea"}
    # One thread: two that wait for each other crawl when the machine is shared with other work.
    own = f'path = "{base}"\nname = "tiny"\nformat = "as_is"\nthreads = 1'
    head = f"[appliance]\nport = 0\n{limits}\n[base]\n{own}\n{settings}\n"
    return head + "".join(_COHORT.format(name=name, region=regions.get(name, f"{name}-only")) for name in COHORTS)


async def _serve(config: Config, config_file: Path, home: Path, started: Future[tuple[Running, Stop]]) -> None:
    listening = _listen(config.appliance)
    port = listening.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    box = open_home(config, home, url)
    try:
        await prepare(box, config_file, lambda _fraction, _doing: None)
        await start_engine(box)
        server = Server(_uvicorn_config(box))
        accepting = asyncio.create_task(server.serve(sockets=[listening]))
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        admin = (home / "admin.key").read_text(encoding="ascii").strip()
        started.set_result((Running(url, port, home, admin, box), lambda: _call(loop, stop.set)))
        await stop.wait()
        server.should_exit = True
        await accepting
    finally:
        await close(box)
        listening.close()


def _call(loop: asyncio.AbstractEventLoop, callback: Stop) -> None:
    loop.call_soon_threadsafe(callback)
