"""Feedback on answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.running import Json, Running, chat, running

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"


@pytest.fixture
def asked(client: httpx.Client) -> str:
    """The id of an answered request."""
    return client.post(CHAT, json=chat(model="legal", max_tokens=1)).headers["x-request-id"]


def test_feedback_is_stored_whole(served: Running, client: httpx.Client, asked: str) -> None:
    given: Json = {"rating": -1, "correction": "No.", "comment": "wrong", "cohort": "finance", "use": "against"}
    reply = client.post(FEEDBACK, json={"request_id": asked, **given})
    assert reply.status_code == 200, reply.text
    assert reply.json()["request_id"] == asked
    (row,) = served.rows("SELECT * FROM feedback WHERE id = ?", reply.json()["id"])
    assert {name: row[name] for name in given} == given
    assert served.row(asked)["rating"] == -1


def test_the_last_rating_counts_and_a_comment_keeps_it(served: Running, client: httpx.Client, asked: str) -> None:
    for body in ({"rating": -1}, {"rating": 1}, {"comment": "thanks"}):
        assert client.post(FEEDBACK, json={"request_id": asked, **body}).status_code == 200
    assert served.row(asked)["rating"] == 1
    assert len(served.rows("SELECT id FROM feedback WHERE request_id = ?", asked)) == 3


def test_the_log_tells_it_and_the_queue_loses_it(served: Running, client: httpx.Client, asked: str) -> None:
    def queued(reviewed: str) -> list[Json]:
        found = served.operated("GET", f"/interactions?limit=1000&origin=live&reviewed={reviewed}")
        return [row for row in found if row["id"] == asked]

    (fresh,) = queued("false")
    assert queued("true") == []
    given: Json = {
        "rating": -1,
        "use": "for",
        "correction": "No.",
        "cohort": "finance",
        "comment": "It was repealed.",
    }
    assert client.post(FEEDBACK, json={"request_id": asked, **given}).is_success
    told = {**given, "right_cohort": "finance", "reviewed": True}
    del told["cohort"]
    assert {**fresh, **told} == served.operated("GET", f"/interactions/{asked}")
    assert queued("true") == [{**fresh, **told}] and queued("false") == []
    assert fresh["cohort"] == "legal" and {fresh[name] for name in told} == {None, False}
    assert client.post(FEEDBACK, json={"request_id": asked, "use": "none"}).is_success
    assert queued("true") == [{**fresh, **told, "use": None}]


def test_an_idempotency_key_stores_once(served: Running, client: httpx.Client, asked: str) -> None:
    headers, body = {"Idempotency-Key": f"once-{asked}"}, {"request_id": asked, "rating": 1}
    replies = [client.post(FEEDBACK, json=body, headers=headers).json() for _ in range(3)]
    assert replies[0] == replies[1] == replies[2]
    assert len(served.rows("SELECT id FROM feedback WHERE request_id = ?", asked)) == 1


def test_an_idempotency_key_for_other_feedback_is_a_conflict(client: httpx.Client, asked: str) -> None:
    headers = {"Idempotency-Key": f"twice-{asked}"}
    statuses = [
        client.post(FEEDBACK, json={"request_id": asked, "rating": rating}, headers=headers).status_code
        for rating in (1, -1)
    ]
    assert statuses == [200, 409]


def test_an_unknown_request(client: httpx.Client) -> None:
    reply = client.post(FEEDBACK, json={"request_id": "req_none", "rating": 1})
    assert reply.status_code == 404
    assert reply.json()["error"]["param"] == "request_id"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ({"rating": 2}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": "1"}, "rating"),
        ({"cohort": "astrology"}, "cohort"),
        ({"use": "maybe"}, "use"),
        ({"comment": "x" * 8193}, "comment"),
        ({"rating": 1, "ratting": 1}, "ratting"),
    ],
)
def test_bad_feedback(client: httpx.Client, asked: str, body: Json, field: str | None) -> None:
    reply = client.post(FEEDBACK, json={"request_id": asked, **body})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("keyed"), tiny_base) as appliance:
        yield appliance


def test_a_key_judges_its_own_requests_only(keyed: Running) -> None:
    """To another key the request does not exist, word for word."""
    mine, other = keyed.key(name="mine"), keyed.key(name="other")
    with keyed.http(mine) as me, keyed.http(other) as you, keyed.http(keyed.admin) as operator:
        asked = me.post(CHAT, json=chat(max_tokens=1)).headers["x-request-id"]
        foreign = you.post(FEEDBACK, json={"request_id": asked, "rating": -1})
        absent = you.post(FEEDBACK, json={"request_id": asked[:-1] + "x", "rating": -1})
        assert (foreign.status_code, absent.status_code) == (404, 404)
        assert foreign.text.replace(asked, "") == absent.text.replace(asked[:-1] + "x", "")
        assert keyed.row(asked)["rating"] is None
        assert me.post(FEEDBACK, json={"request_id": asked, "rating": 1}).status_code == 200
        assert operator.post(FEEDBACK, json={"request_id": asked, "rating": 0}).status_code == 200
    assert keyed.row(asked)["rating"] == 0


def test_two_keys_may_use_the_same_idempotency_key(keyed: Running) -> None:
    ids = set()
    for name in ("first", "second"):
        with keyed.http(keyed.key(name=name)) as client:
            asked = client.post(CHAT, json=chat(max_tokens=1)).headers["x-request-id"]
            body = {"request_id": asked, "rating": 1}
            ids.add(client.post(FEEDBACK, json=body, headers={"Idempotency-Key": "same"}).json()["id"])
    assert len(ids) == 2


def test_feedback_is_counted_by_cohort_and_rating(client: httpx.Client, asked: str) -> None:
    def count() -> float:
        lines = client.get("/metrics").text.splitlines()
        wanted = 'cohort_feedback_total{cohort="legal",rating="0"} '
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    before = count()
    headers, body = {"Idempotency-Key": f"count-{asked}"}, {"request_id": asked, "rating": 0}
    for _ in range(2):
        client.post(FEEDBACK, json=body, headers=headers)
    assert count() == before + 1
