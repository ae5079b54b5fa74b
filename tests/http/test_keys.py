"""Who may do what: every endpoint under every kind of key, grants, tenants and quotas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.running import Json, Running, chat, running, until
from tests.http.surface import ENDPOINTS, Endpoint

CHAT = "/v1/chat/completions"
# What each endpoint demands; None is open to everybody.
NEEDS: dict[str | None, set[str]] = {
    None: {
        "GET /health",
        "GET /ready",
        "GET /metrics",
        "GET /openapi.json",
        "HEAD /openapi.json",
        "GET /docs",
        "GET /docs/oauth2-redirect",
        "GET /redoc",
        "GET /static-offline-docs",
    },
    "infer": {
        "POST /v1/chat/completions",
        "POST /v1/completions",
        "POST /v1/embeddings",
        "GET /v1/models",
        "GET /v1/models/{name:path}",
    },
    "feedback": {"POST /v1/feedback"},
    "viewer": {
        "GET /admin/v1/status",
        "POST /admin/v1/route",
        "GET /admin/v1/cohorts",
        "GET /admin/v1/releases",
        "GET /admin/v1/releases/{cohort}/{version}",
        "GET /admin/v1/examples",
        "GET /admin/v1/interactions",
        "GET /admin/v1/interactions/{request_id}",
        "GET /admin/v1/audit",
        "GET /admin/v1/routers",
        "POST /admin/v1/router/eval",
        "POST /admin/v1/router/replay",
        "GET /admin/v1/traffic",
        "GET /admin/v1/system",
        "GET /admin/v1/jobs",
        "GET /admin/v1/jobs/{identity}",
        "GET /admin/v1/slices/{cohort}",
        "GET /admin/v1/evaluations",
        "GET /admin/v1/releases/{cohort}/{version}/lineage",
        "GET /admin/v1/releases/{cohort}/{version}/diff/{other}",
    },
    "operator": {
        "POST /admin/v1/releases",
        "POST /admin/v1/promote",
        "POST /admin/v1/reject",
        "POST /admin/v1/rollback",
        "POST /admin/v1/examples",
        "POST /admin/v1/router/fit",
        "POST /admin/v1/router/switch",
        "POST /admin/v1/router/blame",
        "POST /admin/v1/retrain",
        "POST /admin/v1/evaluate",
        "POST /admin/v1/attribute",
        "POST /admin/v1/curve",
        "POST /admin/v1/rebuild",
        "POST /admin/v1/jobs/{identity}/cancel",
        "GET /admin/v1/keys",
        "POST /admin/v1/keys",
        "DELETE /admin/v1/keys/{identity}",
    },
}
# Bodies that pass their checks, so that only the key decides, and change nothing.
BODIES: dict[str, Json] = {
    "/v1/chat/completions": chat(max_tokens=1),
    "/v1/completions": {"model": "base", "prompt": "a", "max_tokens": 1},
    "/v1/feedback": {"request_id": "req_none", "rating": 1},
    "/admin/v1/route": {"text": "x"},
    "/admin/v1/releases": {"path": "/none", "cohort": "legal"},
    "/admin/v1/promote": {"cohort": "none"},
    "/admin/v1/rollback": {"cohort": "none"},
    "/admin/v1/examples": {"path": "/none", "cohort": "legal", "split": "train"},
    "/admin/v1/router/fit": {"paths": ["/none"]},
    "/admin/v1/router/switch": {"version": 9},
    "/admin/v1/keys": {"name": "made by the table", "cohorts": ["none"]},
}
EVERYTHING = {"infer", "feedback", "viewer", "operator"}
# Which scopes each kind of key has; without any the answer is 401.
KINDS: dict[str, set[str]] = {
    "none": set(),
    "anything": set(),
    "unknown": set(),
    "forged": set(),
    "revoked": set(),
    "expired": set(),
    "scopeless": {"nothing"},
    "infer": {"infer"},
    "feedback": {"feedback"},
    "viewer": {"viewer"},
    "elsewhere": {"infer", "feedback"},
    "operator": EVERYTHING,
    "admin": EVERYTHING,
}
# While no key is configured: OpenAI's clients insist on sending some key.
KINDS_OF_AN_OPEN_BOX: dict[str, set[str]] = {
    "none": {"infer", "feedback"},
    "anything": {"infer", "feedback"},
    "unknown": set(),
    "admin": EVERYTHING,
}
# What a key gets that is granted one cohort, and the requests above go to others.
ELSEWHERE = {"/v1/chat/completions": 403, "/v1/completions": 403, "/v1/models/base": 404}
STRANGERS = {"none": None, "anything": "sk-anything", "unknown": f"ck_{'0' * 12}_{'0' * 64}"}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("keyed")
    with running(folder, tiny_base, "context = 65536", max_per_key=2) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def secrets(keyed: Running) -> dict[str, str | None]:
    """A key of every kind."""
    made: dict[str, str | None] = {name: keyed.key(scopes=[name]) for name in EVERYTHING}
    made |= {**STRANGERS, "admin": keyed.admin, "scopeless": keyed.key(scopes=[])}
    made["forged"] = str(made["operator"])[:-8] + "0" * 8
    made["elsewhere"] = keyed.key(cohorts=["finance"])
    made["expired"] = keyed.key(scopes=["operator"], expires="2099-01-01")
    past = "UPDATE keys SET expires = '2020-01-01T00:00:00.000000+00:00' WHERE expires IS NOT NULL"
    keyed.box.database.write(lambda connection: connection.execute(past) and None).result()
    keyed.box.reload_keys()
    entry = keyed.operated("POST", "/keys", {"name": "revoked", "scopes": ["operator"]})
    keyed.operated("DELETE", f"/keys/{entry['id']}")
    made["revoked"] = entry["secret"]
    return made


def call(appliance: Running, key: str | None, endpoint: Endpoint) -> httpx.Response:
    body = BODIES.get(endpoint.path, {}) if endpoint.method == "POST" else None
    with appliance.http(key) as client:
        return client.request(endpoint.method, endpoint.path, json=body)


def needed(endpoint: Endpoint) -> str | None:
    return next(scope for scope, endpoints in NEEDS.items() if " ".join(endpoint) in endpoints)


def check(reply: httpx.Response, endpoint: Endpoint, scopes: set[str]) -> None:
    """Open to all, or 401 without a key, or let in, or 403 that names the scope it lacks."""
    scope = needed(endpoint)
    if scope is None:
        assert reply.status_code == 200
    elif not scopes:
        assert reply.status_code == 401
        assert reply.headers["www-authenticate"] == "Bearer"
    elif scope in scopes:
        assert reply.status_code not in (401, 403), reply.text
        assert reply.status_code < 500, reply.text
    else:
        assert reply.status_code == 403
        assert scope in reply.json()["error"]["message"]


def test_every_endpoint_has_its_line() -> None:
    """A new one must say above what it demands."""
    assert {" ".join(endpoint) for endpoint in ENDPOINTS} == set.union(*NEEDS.values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_every_endpoint_under_every_key(
    keyed: Running, secrets: dict[str, str | None], endpoint: Endpoint, kind: str
) -> None:
    reply = call(keyed, secrets[kind], endpoint)
    if kind == "elsewhere" and endpoint.path in ELSEWHERE:
        assert reply.status_code == ELSEWHERE[endpoint.path]
        assert reply.json()["error"]["code"] in ("cohort_not_granted", "model_not_found")
    else:
        check(reply, endpoint, KINDS[kind])


@pytest.mark.parametrize("kind", KINDS_OF_AN_OPEN_BOX)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_every_endpoint_of_a_box_without_keys(served: Running, endpoint: Endpoint, kind: str) -> None:
    """The operator API wants a key even there."""
    secrets = {**STRANGERS, "admin": served.admin}
    scopes = KINDS_OF_AN_OPEN_BOX[kind]
    if kind in ("none", "anything") and str(needed(endpoint)) in ("viewer", "operator"):
        scopes = set()
    check(call(served, secrets[kind], endpoint), endpoint, scopes)


@pytest.mark.parametrize("scheme", ["Basic", "bearer", "BEARER", "Bearer  ", "Bearerish", "Token"])
def test_schemes(keyed: Running, secrets: dict[str, str | None], scheme: str) -> None:
    with keyed.http() as client:
        reply = client.get("/v1/models", headers={"Authorization": f"{scheme} {secrets['infer']}"})
    assert reply.status_code == (200 if scheme.strip().lower() == "bearer" else 401)


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
