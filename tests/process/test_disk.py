"""A full disk under a running appliance: nothing is answered that cannot be remembered, and it recovers by itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import mounted
from .premises import Premises, chat, events, running, until

TEXT = "x " * 150  # makes rows that fill a page soon


@dataclass
class Disk:
    """A small one with the home on it."""

    folder: Path

    def fill(self) -> None:
        space = os.statvfs(self.folder)
        with (self.folder / "ballast").open("ab") as file:
            wanted = space.f_bavail * space.f_frsize
            if wanted > 0:
                os.posix_fallocate(file.fileno(), file.tell(), wanted)

    def free(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(premises: Premises) -> Iterator[Disk]:
    with mounted(premises.folder / "disk", "-o", "size=16m") as folder:
        premises.home = folder / "home"
        premises.seeded()
        yield Disk(folder)


def test_answers_stop_while_the_disk_is_full_and_come_back(premises: Premises, disk: Disk) -> None:
    with running(premises) as served, served.client() as client:
        before = [ask(client) for _ in range(5)]
        disk.fill()
        refused = until(lambda: failing(client), "answer that fails")
        assert refused.json()["error"]["code"] == "store_unavailable"
        assert refused.json()["error"]["type"] == "server_error"
        assert "the disk of the database is full: free some space" in refused.json()["error"]["message"]
        assert int(refused.headers["Retry-After"]) >= 1
        ready = client.get("/ready")
        assert (ready.status_code, ready.headers["Retry-After"]) == (503, "5")
        assert any("the log cannot be written: the disk of the database is full" in a for a in ready.json()["alarms"])
        assert client.get("/health").status_code == 200
        for _ in range(3):  # it says no before it computes anything
            assert ask_anyhow(client).status_code == 503
        metrics = client.get("/metrics").text
        assert 'cohort_errors_total{code="store_unavailable"}' in metrics

        disk.free()
        after = ask(client)
        assert client.get("/ready").status_code == 200
        assert client.get("/ready").json()["alarms"] == []
        assert served.stop() == 0
    kept = {row["id"]: row["status"] for row in premises.rows("SELECT id, status FROM interactions")}
    assert {kept[id] for id in (*before, after)} == {"ok"}
    assert premises.integrity() == "ok"


def test_a_stream_that_cannot_be_remembered_ends_with_an_error(premises: Premises, disk: Disk) -> None:
    with running(premises) as served, served.client() as client:
        ask(client)
        disk.fill()
        cut = until(lambda: cut_stream(client), "stream that fails")
        assert cut[-1]["error"]["code"] == "store_unavailable"
        assert not any(choice["finish_reason"] for event in cut[:-1] for choice in event["choices"])
        disk.free()
        ask(client)
        assert served.stop() == 0
    assert premises.integrity() == "ok"


def test_operators_are_told_too(premises: Premises, disk: Disk, tiny_adapters: tuple[Path, Path]) -> None:
    with running(premises) as served, served.client(**premises.admin()) as client:
        request_id = ask(client)
        feedback = {"request_id": request_id, "comment": "y" * 4000}
        disk.fill()
        until(lambda: store_unavailable(client, "/v1/feedback", feedback), "refused feedback")
        until(lambda: store_unavailable(client, "/admin/v1/keys", {"name": "k", "scopes": ["infer"]}), "refused key")
        assert client.get(f"/admin/v1/interactions/{request_id}").json()["status"] == "ok"
        add = ("release", "add", str(tiny_adapters[0]), "--cohort", "legal", "--json")
        refused = premises.cohort(*add)
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: ")
        assert store_unavailable(client, "/admin/v1/releases", {"path": str(tiny_adapters[0]), "cohort": "legal"})
        disk.free()
        assert premises.cohort("releases", "--json").stdout == "[]\n"
        assert json.loads(premises.cohort(*add).stdout)["version"] == 1
        assert client.post("/v1/feedback", json=feedback).status_code == 200
        assert served.stop() == 0
    assert premises.integrity() == "ok"


def store_unavailable(client: httpx.Client, path: str, body: Mapping[str, object]) -> bool:
    """It is refused as it should be; what the disk still had room for is no fault."""
    response = client.post(path, json=body)
    if response.is_success:
        return False
    assert (response.status_code, response.json()["error"]["code"]) == (503, "store_unavailable"), response.text
    return True


def ask_anyhow(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/chat/completions", json=chat(TEXT))


def ask(client: httpx.Client) -> str:
    response = ask_anyhow(client)
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def failing(client: httpx.Client) -> httpx.Response | None:
    response = ask_anyhow(client)
    return response if response.status_code != 200 else None


def cut_stream(client: httpx.Client) -> list[dict[str, Any]] | None:
    """The events of a stream that failed after its start."""
    with client.stream("POST", "/v1/chat/completions", json=chat(TEXT, stream=True, max_tokens=50)) as response:
        if response.status_code != 200:
            raise AssertionError("the failure came before a stream was cut")
        seen = list(events(response))
    return None if seen[-1] == {"done": True} else seen
