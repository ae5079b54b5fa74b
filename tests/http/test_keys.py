"""Who may do what: every route under every kind of key, grants, tenants and quotas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts

from appliance.app import application
from appliance.edge import Edge
from tests.http.running import Json, Running, chat, running, until

CHAT = "/v1/chat/completions"
OPEN = {"/health", "/ready", "/metrics", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"}
ASSETS = "/static-offline-docs"  # the documentation's own files
# What each route demands, with a body that passes its checks so that only the key decides.
SCOPES = ("infer", "feedback", "viewer", "operator")
Table: TypeAlias = dict[tuple[str, str], Json | None]
INFER: Table = {
    ("POST", "/v1/chat/completions"): chat(max_tokens=1),
    ("POST", "/v1/completions"): {"model": "base", "prompt": "a", "max_tokens": 1},
    ("POST", "/v1/embeddings"): {},
    ("GET", "/v1/models"): None,
    ("GET", "/v1/models/{name:path}"): None,
}
FEEDBACK: Table = {("POST", "/v1/feedback"): {"request_id": "req_none", "rating": 1}}
VIEWER: Table = {
    ("GET", "/admin/v1/status"): None,
    ("POST", "/admin/v1/route"): {"text": "x"},
    ("GET", "/admin/v1/cohorts"): None,
    ("GET", "/admin/v1/releases"): None,
    ("GET", "/admin/v1/releases/{cohort}/{version}"): None,
    ("GET", "/admin/v1/interactions"): None,
    ("GET", "/admin/v1/interactions/{request_id}"): None,
    ("GET", "/admin/v1/audit"): None,
}
OPERATOR: Table = {
    ("POST", "/admin/v1/releases"): {"path": "/none", "cohort": "legal"},
    ("POST", "/admin/v1/promote"): {"cohort": "none"},
    ("POST", "/admin/v1/rollback"): {"cohort": "none"},
    ("GET", "/admin/v1/keys"): None,
    ("POST", "/admin/v1/keys"): {"name": "made by the table", "cohorts": ["none"]},
    ("DELETE", "/admin/v1/keys/{identity}"): None,
}
ROUTES: Table = {**INFER, **FEEDBACK, **VIEWER, **OPERATOR}
# Which scopes each kind of key has; without any the answer is 401.
KINDS: dict[str, set[str]] = {
    "none": set(),
    "garbage": set(),
    "forged": set(),
    "revoked": set(),
    "expired": set(),
    "infer": {"infer"},
    "feedback": {"feedback"},
    "viewer": {"viewer"},
    "operator": {"infer", "feedback", "viewer", "operator"},
    "admin": {"infer", "feedback", "viewer", "operator"},
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("keyed")
    with running(folder, tiny_base, "context = 65536", max_per_key=2) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def secrets(keyed: Running) -> dict[str, str | None]:
    """A key of every kind."""
    made: dict[str, str | None] = {name: keyed.key(scopes=[name]) for name in SCOPES}
    made["none"], made["garbage"], made["admin"] = None, "ck_x", keyed.admin
    made["forged"] = str(made["operator"])[:-8] + "0" * 8
    made["expired"] = keyed.key(scopes=["operator"], expires="2020-01-01T00:00:00Z")
    entry = keyed.operated("POST", "/keys", {"name": "revoked", "scopes": ["operator"]})
    keyed.operated("DELETE", f"/keys/{entry['id']}")
    made["revoked"] = entry["secret"]
    return made


def needed(route: tuple[str, str]) -> str:
    return next(s for s, table in zip(SCOPES, (INFER, FEEDBACK, VIEWER, OPERATOR), strict=True) if route in table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_route_under_every_key(
    keyed: Running, secrets: dict[str, str | None], route: tuple[str, str], kind: str
) -> None:
    method, template = route
    path = template.replace("{name:path}", "base").replace("{cohort}/{version}", "legal/1")
    path = path.replace("{request_id}", "req_none").replace("{identity}", "none")
    with keyed.http(secrets[kind]) as client:
        reply = client.request(method, path, json=ROUTES[route])
    scopes = KINDS[kind]
    if not scopes:
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    elif needed(route) in scopes:
        assert reply.status_code not in (401, 403), reply.text
        assert reply.status_code < 500 or template == "/v1/embeddings", reply.text
    else:
        assert reply.status_code == 403
        assert needed(route) in reply.json()["error"]["message"]


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "BEARER", "Bearer  ", "Bearerish", "Token"])
def test_schemes(keyed: Running, secrets: dict[str, str | None], scheme: str) -> None:
    with keyed.http() as client:
        reply = client.get("/v1/models", headers={"Authorization": f"{scheme} {secrets['infer']}"})
    assert reply.status_code == (200 if scheme.strip().lower() == "bearer" else 401)


def test_a_new_route_must_be_listed(keyed: Running) -> None:
    """Every route is in the tables above or among those that are open by intent."""
    edge = application(keyed.box)
    assert isinstance(edge, Edge) and isinstance(edge._app, FastAPI)
    found: set[tuple[str, str]] = set()
    for context in iter_route_contexts(edge._app.routes):
        path = str(context.path)
        if path in OPEN or path.startswith(ASSETS):
            continue
        assert isinstance(context.route, APIRoute), f"{path} is no API route"
        found |= {(method, path) for method in context.methods or ()}
    assert found == set(ROUTES)


@pytest.mark.parametrize("path", sorted(OPEN))
def test_open_routes_need_no_key(keyed: Running, path: str) -> None:
    with keyed.http() as client:
        assert client.get(path).status_code == 200


def test_inference_is_open_until_a_key_exists(served: Running) -> None:
    with served.http() as client:
        assert client.post(CHAT, json=chat(max_tokens=1)).status_code == 200
        assert client.get("/admin/v1/status").status_code in (401, 403)


def ask(keyed: Running, key: str, model: str = "auto", **more: Any) -> httpx.Response:  # noqa: ANN401 - any JSON
    with keyed.http(key) as client:
        return client.post(CHAT, json=chat(model=model, max_tokens=1, **more))


def test_cohort_grants(keyed: Running) -> None:
    key = keyed.key(cohorts=["legal", "finance"])
    assert ask(keyed, key, "legal").headers["x-cohort"] == "legal"
    assert ask(keyed, key, metadata={"vertical": "finance"}).headers["x-cohort"] == "finance"
    for refused in (ask(keyed, key, "coding"), ask(keyed, key, "base"), ask(keyed, key, "tiny"), ask(keyed, key)):
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "cohort_not_granted"
    # A rule of a cohort outside the grant does not count, so nothing speaks for one: the base, which is not granted.
    assert ask(keyed, key, metadata={"vertical": "coding"}).status_code == 403


def test_with_the_base_granted_the_rest_falls_back_to_it(keyed: Running) -> None:
    key = keyed.key(cohorts=["legal", "base"])
    reply = ask(keyed, key, metadata={"vertical": "coding"})
    assert (reply.status_code, reply.headers["x-cohort"]) == (200, "base")
    both = ask(keyed, key, metadata={"vertical": "coding", "tenant": "legal-house"})
    assert both.headers["x-cohort"] == "legal", "the only granted one that matches"


def test_the_keys_tenant_overrides_what_the_request_says(keyed: Running) -> None:
    key = keyed.key(tenant="legal-house")
    reply = ask(keyed, key, metadata={"tenant": "coding-house"})
    assert reply.headers["x-cohort"] == "legal"
    assert keyed.row(reply.headers["x-request-id"])["tenant"] == "legal-house"


def test_without_hints_metadata_is_not_heard(keyed: Running) -> None:
    key = keyed.key(hints=False)
    reply = ask(keyed, key, metadata={"vertical": "legal"})
    assert (reply.headers["x-cohort"], reply.headers["x-cohort-layer"]) == ("base", "fallback")
    tenant = keyed.key(hints=False, tenant="coding-house")
    assert ask(keyed, tenant, metadata={"vertical": "legal"}).headers["x-cohort"] == "coding"


def test_the_row_names_the_key_and_never_its_secret(keyed: Running) -> None:
    entry = keyed.operated("POST", "/keys", {"name": "logged"})
    reply = ask(keyed, entry["secret"], "base")
    row = keyed.row(reply.headers["x-request-id"])
    assert row["key_id"] == entry["id"]
    secret = entry["secret"].rpartition("_")[2]
    assert secret not in str(row)
    for listing in ("/keys", "/audit?limit=1000"):
        assert secret not in keyed.operator("GET", listing).text
    assert all(key["secret"] is None for key in keyed.operated("GET", "/keys"))


def test_a_key_over_its_share_is_told_to_wait(keyed: Running) -> None:
    """Two answers of one key run; its third is refused, another key's is not, and an ended one makes room."""
    key, other = keyed.key(name="greedy"), keyed.key(name="modest")
    stored = "SELECT count(*) AS n FROM interactions"
    with keyed.http(key) as client:
        long = chat(stream=True, max_tokens=60_000)
        with client.stream("POST", CHAT, json=long), client.stream("POST", CHAT, json=long):
            before = keyed.rows(stored)
            refused = ask(keyed, key, "base")
            assert keyed.rows(stored) == before, "refusals are counted, not stored"
            assert ask(keyed, other, "base").status_code == 200
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
        until(lambda: ask(keyed, key, "base").status_code == 200)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x", "scopes": ["root"]}, "scopes"),
        ({"name": "x", "cohorts": ["none"]}, "cohorts"),
        ({"name": "x", "expires": "soon"}, "expires"),
        ({"name": "x", "secret": "mine"}, "secret"),
    ],
)
def test_bad_keys_are_refused(keyed: Running, body: Json, field: str) -> None:
    reply = keyed.operator("POST", "/keys", body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"].split(".")[0] == field
