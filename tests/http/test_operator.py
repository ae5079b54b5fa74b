"""Releases over HTTP while clients are served, and what the log and the audit trail say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from appliance.errors import InvalidRequest
from tests.http.running import Json, Running, chat, running, until
from tests.http.sse import chunks_of
from tests.tiny import write_adapter, write_base

CHAT = "/v1/chat/completions"


@pytest.fixture
def ours(tmp_path: Path, tiny_base: Path) -> Iterator[Running]:
    """An appliance of the test's own."""
    with running(tmp_path, tiny_base, "context = 1024") as appliance:
        yield appliance


def states(ours: Running, cohort: str = "legal") -> dict[int, str]:
    return {e["version"]: e["state"] for e in ours.operated("GET", f"/releases?cohort={cohort}")}


def test_add_promote_rollback(ours: Running, tiny_adapters: tuple[Path, Path]) -> None:
    first = ours.release(tiny_adapters[0], "legal", live=False)
    assert (first["version"], first["state"], first["gated"]) == (1, "candidate", False)
    assert ours.operated("POST", "/promote", {"cohort": "legal"}) == switched("legal@1", None)
    ours.release(tiny_adapters[1], "legal", live=False)
    assert ours.operated("POST", "/promote", {"cohort": "legal", "version": 2}) == switched("legal@2", "legal@1")
    assert states(ours) == {1: "retired", 2: "live"}
    assert ours.operated("POST", "/rollback", {"cohort": "legal"}) == switched("legal@1", None)
    assert ours.operated("POST", "/rollback", {"cohort": "legal"}) == switched(None, None)
    assert ours.operator("POST", "/rollback", {"cohort": "legal"}).status_code == 409
    assert states(ours) == {1: "retired", 2: "retired"}
    shown = ours.operated("GET", "/releases/legal/1")
    happened = [event["event"] for event in shown["events"]]
    assert happened == ["added", "promoted", "retired", "promoted", "rolled_back"]
    audit = [(row["action"], row["object"]) for row in ours.operated("GET", "/audit")]
    assert [row for row in audit if row[0].startswith("release.")] == [
        ("release.rollback", "legal"),
        ("release.rollback", "legal"),
        ("release.promote", "legal"),
        ("release.add", "legal@2"),
        ("release.promote", "legal"),
        ("release.add", "legal@1"),
    ]


def switched(live: str | None, previous: str | None) -> Json:
    return {"cohort": "legal", "live": live, "previous": previous}


def test_a_change_decided_by_what_was_live_is_refused_once_another_is(
    ours: Running, tiny_adapters: tuple[Path, Path]
) -> None:
    for adapter in tiny_adapters:
        ours.release(adapter, "legal", live=False)

    def change(what: str, **body: object) -> tuple[int, str | None]:
        reply = ours.operator("POST", f"/{what}", {"cohort": "legal", **body})
        return reply.status_code, reply.json().get("live")

    stale = (409, None)
    assert change("promote", version=1, live="legal@2") == stale
    assert change("promote", version=1, live="base") == (200, "legal@1")
    assert change("promote", version=2, live="base") == change("rollback", live="base") == stale
    assert change("promote", version=2, live="legal@1") == (200, "legal@2")
    assert change("promote", version=1, live="legal@1") == change("rollback", live="legal@1") == stale
    assert states(ours) == {1: "retired", 2: "live"}
    reply = ours.operator("POST", "/promote", {"cohort": "legal", "version": 1, "live": "legal@1"})
    assert reply.json()["error"]["message"] == "legal@1 is not live any more, legal@2 is: look again"
    assert change("promote", version=1, live=None) == (200, "legal@1")
    assert change("rollback", live="legal@1") == (200, "legal@2")


def test_promoting_twice_is_promoting_once(ours: Running, tiny_adapters: tuple[Path, Path]) -> None:
    ours.release(tiny_adapters[0], "legal", live=False)
    replies = [ours.operated("POST", "/promote", {"cohort": "legal", "version": 1}) for _ in range(2)]
    assert replies == [switched("legal@1", None)] * 2
    events = ours.operated("GET", "/releases/legal/1")["events"]
    assert [event["event"] for event in events] == ["added", "promoted"]


def test_audit_rows_say_who_and_what(ours: Running, tiny_adapters: tuple[Path, Path]) -> None:
    entry = ours.operated("POST", "/keys", {"name": "second operator", "scopes": ["operator"]})
    added = ours.release(tiny_adapters[0], "legal")
    with ours.http(entry["secret"]) as client:
        assert client.post("/admin/v1/rollback", json={"cohort": "legal"}).status_code == 200
    ours.operated("DELETE", f"/keys/{entry['id']}")
    revoked, rolled_back, promoted, *_ = ours.operated("GET", "/audit")
    assert (revoked["action"], revoked["object"], revoked["key_id"]) == ("key.revoke", entry["id"], "admin")
    assert (rolled_back["action"], rolled_back["key_id"]) == ("release.rollback", entry["id"])
    assert rolled_back["before"] == {"live": "legal@1", "digest": added["digest"]}
    assert rolled_back["after"] == {"live": None}
    assert (promoted["before"], promoted["after"]) == (rolled_back["after"], rolled_back["before"])
    before = ours.operated("GET", f"/audit?limit=1&before={revoked['seq']}")
    assert before == [rolled_back]


def bad_adapters(folder: Path, good: Path) -> dict[str, Path]:
    """Files that must not come near the live service."""
    whole = good.read_bytes()
    made = {
        "foreign shapes": write_adapter(folder / "wide.gguf", embd=128),
        "more layers": write_adapter(folder / "deep.gguf", layers=3),
        "another architecture": write_adapter(folder / "qwen.gguf", architecture="qwen2"),
        "not finite": write_adapter(folder / "nan.gguf", scale=float("nan")),
        "a whole model": write_base(folder / "model.gguf"),
        "missing": folder / "missing.gguf",
        "a folder": folder,
    }
    contents = {"truncated": whole[:-100], "half": whole[: len(whole) // 2], "empty": b"", "text": b"x" * 999}
    for name, content in contents.items():
        made[name] = folder / f"{name}.gguf"
        made[name].write_bytes(content)
    return made


def test_bad_adapters_and_switches_while_clients_stream(
    ours: Running, tmp_path: Path, tiny_adapters: tuple[Path, Path]
) -> None:
    """No request fails, every answer is of one of the two releases, and equals what that release says alone."""
    for adapter in tiny_adapters:
        ours.release(adapter, "legal")
    with ours.http() as client:
        alone = {
            f"legal@{v}": client.post(CHAT, json=chat(model=f"legal@{v}")).json()["choices"][0]["message"]["content"]
            for v in (1, 2)
        }
    done, failures = threading.Event(), list[str]()
    answered: list[str] = []

    def ask() -> None:
        with ours.http() as client:
            while not done.is_set():
                reply = client.post(CHAT, json=chat(model="legal", stream=True))
                try:
                    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks_of(reply))
                    assert text == alone[reply.headers["x-release"]]
                except (AssertionError, KeyError) as error:
                    failures.append(f"{reply.status_code} {reply.text[:200]} {error!r}")
                answered.append(reply.headers.get("x-release", "none"))

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for thread in clients:
        thread.start()
    try:
        for number, (what, path) in enumerate(bad_adapters(tmp_path, tiny_adapters[0]).items()):
            reply = ours.operator("POST", "/releases", {"path": str(path), "cohort": "legal", "live": True})
            assert reply.status_code == 400, f"{what}: {reply.status_code} {reply.text}"
            assert reply.json()["error"]["param"] == "path"
            release = f"legal@{number % 2 + 1}"
            ours.operated("POST", "/promote", {"cohort": "legal", "version": number % 2 + 1})
            until(partial(answered.__contains__, release))
        ours.operated("POST", "/promote", {"cohort": "legal", "version": 2})
        ours.operated("POST", "/rollback", {"cohort": "legal"})
    finally:
        done.set()
        for thread in clients:
            thread.join()
    assert failures == []
    assert set(answered) == {"legal@1", "legal@2"}
    assert set(states(ours)) == {1, 2}, "no bad adapter was registered"
    assert not [p.name for p in (ours.home / "releases").iterdir() if p.name.startswith(".")], "left behind"


def test_many_additions_at_once_leave_room_for_requests(
    ours: Running, tiny_adapters: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is tried at a time. Each keeps a worker thread, and there are few of those."""
    go_on, trying = threading.Event(), list[Path]()

    def try_for_long(path: Path, *_: object) -> None:
        trying.append(path)
        go_on.wait(60)
        raise InvalidRequest("refused at last", param="path")

    monkeypatch.setattr("appliance.releases.admission.adapter_check.check", try_for_long)
    body = {"path": str(tiny_adapters[0]), "cohort": "legal"}
    with ThreadPoolExecutor(40) as pool:
        adding = [pool.submit(ours.operator, "POST", "/releases", body) for _ in range(40)]
        until(lambda: trying)
        with ours.http() as client:
            assert client.post(CHAT, json=chat()).status_code == 200
        assert len(trying) == 1
        go_on.set()
    assert [reply.result().status_code for reply in adding] == [400] * 40


@pytest.mark.parametrize("path", ["one.gguf", "./one.gguf", "../one.gguf", "~/one.gguf", ""])
def test_relative_paths_are_refused(served: Running, path: str) -> None:
    reply = served.operator("POST", "/releases", {"path": path, "cohort": "legal"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "path"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/releases", {"path": "/x", "cohort": "astrology"}, 404),
        ("/releases", {"path": "/x\x00y", "cohort": "legal"}, 400),
        ("/promote", {"cohort": "astrology"}, 404),
        ("/promote", {"cohort": "legal", "version": 99}, 409),
        ("/promote", {"cohort": "legal", "version": 0}, 400),
        ("/promote", {"cohort": "legal", "version": 2**63}, 409),
        ("/promote", {"cohort": "finance"}, 409),
        ("/rollback", {"cohort": "finance"}, 409),
    ],
)
def test_impossible_changes(served: Running, path: str, body: Json, status: int) -> None:
    reply = served.operator("POST", path, body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize("version", ["99", "0", "-1", "x", str(2**63), "1e3"])
def test_releases_that_are_not_there(served: Running, version: str) -> None:
    assert served.operator("GET", f"/releases/legal/{version}").status_code in (400, 404)


def test_the_same_adapter_twice_is_a_conflict(served: Running, tiny_adapters: tuple[Path, Path]) -> None:
    reply = served.operator("POST", "/releases", {"path": str(tiny_adapters[0]), "cohort": "legal"})
    assert reply.status_code == 409
    assert "legal@1" in reply.json()["error"]["message"]


def test_interactions_are_listed_and_paged(served: Running) -> None:
    session = "paged-session"
    with served.http() as client:
        ask, headers = chat(max_tokens=1), {"X-Session-Id": session}
        asked = [client.post(CHAT, json=ask, headers=headers).headers["x-request-id"] for _ in range(5)]
    assert [e["id"] for e in served.operated("GET", "/interactions?limit=5")] == asked[::-1]
    paged: list[str] = []
    before = ""
    for _ in range(3):
        page = served.operated("GET", f"/interactions?limit=2{before}")
        paged += [entry["id"] for entry in page]
        before = f"&before={page[-1]['seq']}"
    assert paged[:5] == asked[::-1]
    first = served.operated("GET", f"/interactions/{asked[0]}")
    followed = served.operated("GET", f"/interactions?after={first['seq']}&limit=1000")
    assert [entry["id"] for entry in followed] == asked[1:]
    assert first["session"] == session


def test_a_brief_log_is_cut(served: Running) -> None:
    turns = [("user", "Hello"), ("assistant", "Hi"), ("user", "x" * 400)]
    messages = [{"role": role, "content": content} for role, content in turns]
    with served.http() as client:
        asked = client.post(CHAT, json=chat(max_tokens=1) | {"messages": messages}).headers["x-request-id"]
    whole = served.operated("GET", f"/interactions/{asked}")
    cut = {**whole, "messages": [{"role": "user", "content": "x" * 300}]}
    assert whole["messages"] == messages
    assert served.operated("GET", "/interactions?limit=1&brief=false") == [whole]
    assert served.operated("GET", "/interactions?limit=1&brief=true") == [cut]
    assert served.operated("GET", f"/interactions?after={whole['seq'] - 1}&brief=true") == [cut]


@pytest.mark.parametrize(
    ("query", "field", "value"),
    [
        ("cohort=legal", "cohort", "legal"),
        ("release=legal@2", "release", "legal@2"),
        ("layer=fallback", "layer", "fallback"),
        ("status=ok", "status", "ok"),
        ("origin=live", "origin", "live"),
        ("reviewed=false", "reviewed", False),
    ],
)
def test_interactions_are_filtered(served: Running, query: str, field: str, value: object) -> None:
    with served.http() as client:
        for model in ("legal", "auto"):
            client.post(CHAT, json=chat(model=model, max_tokens=1))
    found = served.operated("GET", f"/interactions?{query}")
    assert found and {entry[field] for entry in found} == {value}


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "limit=x", "before=-1", "status=fine", "rating=2", f"before={2**63}"),
        *("since=soon", "until=then", "origin=elsewhere", "reviewed=perhaps", "text="),
    ],
)
def test_bad_queries(served: Running, query: str) -> None:
    reply = served.operator("GET", f"/interactions?{query}")
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["param"]
