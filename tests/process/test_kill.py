"""kill -9 at any moment loses nothing a client saw complete."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import httpx
import pytest

from tests.tiny import write_adapter

from .premises import LOOPBACK, Premises, chat, until
from .traffic import Client, Judged, Seen

CLIENTS = 4
JSON_COLUMNS = ("metadata", "messages", "alternatives", "scores", "sampling")


@dataclass
class Zygote:
    """Lives of the appliance on one home, one after another."""

    order: dict[str, object]
    process: subprocess.Popen[str]
    url: str

    def born(self) -> int:
        _pipe(self.process.stdin).write(json.dumps(self.order) + "\n")
        _pipe(self.process.stdin).flush()
        return int(_pipe(self.process.stdout).readline())

    def dead(self) -> int:
        """The exit code of the last life, negative for a signal."""
        return os.waitstatus_to_exitcode(int(_pipe(self.process.stdout).readline()))

    def ready(self) -> None:
        with httpx.Client(base_url=self.url) as http:

            def answers() -> bool:
                with suppress(httpx.TransportError):
                    return http.get("/ready").status_code == 200
                return False

            until(answers, "ready life")


@pytest.mark.parametrize(("kills", "at_start"), [(12, 6), pytest.param(200, 25, marks=pytest.mark.slow)])
def test_nothing_a_client_saw_complete_is_lost(
    premises: Premises, capsys: pytest.CaptureFixture[str], kills: int, at_start: int
) -> None:
    chance = random.Random(2)
    started = time.monotonic()
    with zygote(premises) as lives:
        midway = threading.Event()
        clients = [Client(lives.url, number, midway) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for n in range(kills + at_start):
            pid = lives.born()
            if n < kills:
                lives.ready()
                some_work(clients, midway, in_a_stream=n % 2 > 0)
            if n >= kills or n % 2 == 0:
                time.sleep(chance.uniform(0, 0.35))
            os.kill(pid, signal.SIGKILL)
            assert lives.dead() == -signal.SIGKILL, (premises.folder / "lives.log").read_text()[-2000:]
        took = time.monotonic() - started
        last = lives.born()
        lives.ready()
        until(lambda: sum(len(client.judged) for client in clients) > kills / 4, "judgements")
        for client in clients:
            client.stop()
        for client in clients:
            client.join(120)
        os.kill(last, signal.SIGTERM)
        assert lives.dead() == 0

    seen = [one for client in clients for one in client.seen]
    judged = [one for client in clients for one in client.judged]
    assert [fault for client in clients for fault in client.unexpected] == []
    rows = {row["id"]: row for row in premises.rows("SELECT * FROM interactions")}
    lost = [one.id for one in seen if one.complete and not kept(one, rows.get(one.id))]
    forgotten = [one.id for one in judged if not remembered(one, premises)]
    acked = sum(one.complete for one in seen)
    cut = sum(bool(one.id) and not one.complete for one in seen)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{kills} kills while serving + {at_start} while starting in {took:.0f} s: {acked} answers seen whole, "
            f"{cut} streams cut, {len(judged)} judgements; lost: {len(lost)} answers, {len(forgotten)} judgements"
        )
    assert lost == []
    assert forgotten == []
    assert acked > kills
    assert cut > kills / 10
    assert len(judged) > kills / 4
    assert premises.integrity() == "ok"
    assert premises.rows("PRAGMA foreign_key_check") == []
    prompts = {one.prompt for one in seen}
    assert [row["id"] for row in rows.values() if torn(row, prompts)] == []
    partial = [one for one in seen if one.id and not one.complete and one.id in rows]
    assert [one.id for one in partial if not rows[one.id]["answer"].startswith(one.texts[0])] == []
    assert premises.rows("SELECT request_id FROM feedback GROUP BY request_id HAVING count(*) > 1") == []


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_killed_promotion_or_rollback_is_done_or_not_begun(premises: Premises, kills: int) -> None:
    """The old release is live or the new one, whole, with its events and its audit row; and the next life serves it.
    The kills are spread over what a switch takes, and a little beyond."""
    with zygote(premises) as lives:
        pid = lives.born()
        lives.ready()
        took = prepared(lives, premises)
        for n in range(kills):
            before = live(premises)
            reply = switch_and_kill(lives, premises, pid, took * 1.5 * (n + 0.5) / kills)
            now = live(premises)
            assert now in ((before, other(before)) if reply is None else (other(before),))
            assert premises.integrity() == "ok"
            assert premises.rows("PRAGMA foreign_key_check") == []
            assert switches(premises, "release_events", "to_state = 'live'") == switches(
                premises, "audit", "action IN ('release.promote', 'release.rollback')"
            )
            pid = lives.born()
            lives.ready()
            answered = httpx.post(
                f"{lives.url}/v1/chat/completions", json=chat("the contract", model="legal"), timeout=60
            )
            assert answered.headers["x-release"] == now
        os.kill(pid, signal.SIGTERM)
        assert lives.dead() == 0


def prepared(lives: Zygote, premises: Premises) -> float:
    """legal@1 is live, legal@2 was. Returns the seconds that a switch takes at most."""
    for seed in (1, 2):
        adapter = write_adapter(premises.folder / f"{seed}.gguf", seed=seed)
        body = {"path": str(adapter), "cohort": "legal", "live": seed == 1}
        added = httpx.post(f"{lives.url}/admin/v1/releases", json=body, headers=premises.admin(), timeout=60)
        assert added.status_code == 201, added.text
    began = time.monotonic()
    for _ in range(2):
        assert switched(lives, premises, live(premises)) is not None
    return (time.monotonic() - began) / 2


def other(release: str) -> str:
    return "legal@2" if release == "legal@1" else "legal@1"


def switched(lives: Zygote, premises: Premises, now: str) -> httpx.Response | None:
    """Promote legal@2, or roll it back. The reply, if there was one."""
    asked = {"cohort": "legal", "version": 2} if now == "legal@1" else {"cohort": "legal"}
    path = "promote" if now == "legal@1" else "rollback"
    try:
        reply = httpx.post(f"{lives.url}/admin/v1/{path}", json=asked, headers=premises.admin(), timeout=60)
    except httpx.TransportError:
        return None
    assert reply.json()["live"] == other(now), reply.text
    return reply


def switch_and_kill(lives: Zygote, premises: Premises, pid: int, after: float) -> httpx.Response | None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(switched, lives, premises, live(premises))
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
        assert lives.dead() == -signal.SIGKILL
        return asked.result()


def live(premises: Premises) -> str:
    """Of legal; there is exactly one."""
    (found,) = premises.rows("SELECT version FROM releases WHERE cohort = 'legal' AND state = 'live'")
    return f"legal@{found['version']}"


def switches(premises: Premises, table: str, which: str) -> int:
    return int(premises.rows(f"SELECT count(*) AS n FROM {table} WHERE {which}")[0]["n"])  # noqa: S608


def some_work(clients: list[Client], midway: threading.Event, *, in_a_stream: bool) -> None:
    """Wait until there is something to lose: a client in the middle of a stream, or three answers seen whole."""
    if in_a_stream:
        midway.clear()
        assert midway.wait(300)
        return
    before = whole(clients)
    until(lambda: whole(clients) >= before + 3, "answers")


def whole(clients: list[Client]) -> int:
    return sum(one.complete for client in clients for one in client.seen.copy())


def kept(seen: Seen, row: dict[str, Any] | None) -> bool:
    """Its row says what the client saw."""
    if row is None:
        return False
    texts = [row["answer"], *json.loads(row["alternatives"])]
    return (row["status"], row["finish_reason"], texts) == ("ok", seen.finish, seen.texts)


def remembered(judged: Judged, premises: Premises) -> bool:
    rows = premises.rows("SELECT request_id, rating, comment FROM feedback WHERE id = ?", judged.id)
    return rows == [{"request_id": judged.request_id, "rating": judged.rating, "comment": judged.comment}]


def torn(row: dict[str, Any], prompts: set[str]) -> bool:
    """A row must be whole: its columns parse, its prompt is one that was sent, an ok row has its end."""
    for column in JSON_COLUMNS:
        json.loads(row[column])
    asked = json.loads(row["messages"])[-1]["content"]
    ended = row["finish_reason"] == "length" and row["total_ms"] > 0 and row["completion_tokens"] > 0
    return asked not in prompts or (row["status"] == "ok" and not ended)


@contextmanager
def zygote(premises: Premises) -> Iterator[Zygote]:
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    log = premises.folder / "lives.log"
    premises.seeded()
    order = {"home": str(premises.home), "config": str(premises.config), "port": port, "log": str(log)}
    environment = {**premises.environ(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.process.zygote"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Zygote(order, process, f"http://{LOOPBACK}:{port}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
