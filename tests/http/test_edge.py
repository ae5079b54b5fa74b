"""What is refused before any endpoint sees it, and what is open to everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from router.decision import LAYERS, REASONS
from tests.http.raw import exchange, get
from tests.http.running import COHORTS, Running, chat
from tests.http.surface import ENDPOINTS

CHAT = "/v1/chat/completions"
PAGES = {  # of the documentation, which do not describe themselves
    *("GET /docs", "GET /docs/oauth2-redirect", "GET /redoc", "GET /static-offline-docs"),
    *("GET /openapi.json", "HEAD /openapi.json"),
}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:{port}", "localhost", "LocalHost:{port}", "[::1]", "[::1]:{port}", "127.9.9.9"]
)
def test_hosts_that_are_this_machine(served: Running, host: str) -> None:
    assert get(served, "/health", f"Host: {host.format(port=served.port)}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:{port}",
        "0.0.0.0",  # noqa: S104 - a name in a header, nothing binds to it
        "2130706433",
        "10.0.0.1",
        "[::2]",
        "localhost.",
        "xn--localhost",
    ],
)
def test_hosts_that_are_not(served: Running, host: str) -> None:
    answer = get(served, "/health", f"Host: {host.format(port=served.port)}")
    assert answer.status == 403
    assert json.loads(answer.body)["error"]["code"] == "host_refused"


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["127.0.0.1", "127.0.0.1"],
        ["127.0.0.1", "evil.example"],
        ["user@127.0.0.1"],
        ["127.0.0.1@evil.example"],
        ["127.0.0.1/a"],
        ["127.0.0.1?a"],
        ["127.0.0.1#a"],
        ["127.0.0.1\\evil"],
        ["127.0.0.1 evil"],
        ["127.0.0.1,evil.example"],
        ["http://127.0.0.1"],
        ["%3127.0.0.1"],
        ["ⓛocalhost".encode().decode("latin-1")],
        [""],
        ["[::1"],
        ["]["],
    ],
)
def test_hosts_that_are_no_hosts(served: Running, hosts: list[str]) -> None:
    assert get(served, "/health", *(f"Host: {host}" for host in hosts)).status in (400, 403)


def test_http_1_0_without_a_host(served: Running) -> None:
    assert get(served, "/health", version="1.0").status == 400


@pytest.mark.parametrize("url", ["http://evil.example/health", "http://127.0.0.1/admin/v1/status", "evil.example:80"])
@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_absolute_form(served: Running, url: str, host: str) -> None:
    """What stands in the request line opens nothing."""
    assert get(served, url, f"Host: {host}").status in ((400, 401, 404) if host == "127.0.0.1" else (400, 403))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_no_origin_is_allowed_unless_listed(client: httpx.Client, origin: str, method: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    reply = client.request(method, CHAT, json=chat(), headers=headers)
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "origin_refused"
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("APPLICATION/JSON", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_content_types(client: httpx.Client, kind: str | None, status: int) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    reply = client.post(CHAT, content=json.dumps(chat(max_tokens=1)), headers=headers)
    assert reply.status_code == status


@pytest.mark.parametrize(("count", "status"), [(90, 200), (101, 400), (2000, 400)])
def test_many_headers(served: Running, count: int, status: int) -> None:
    assert get(served, "/health", "Host: localhost", *(f"X-{i}: 1" for i in range(count))).status == status


@pytest.mark.parametrize("header", ["X-Long: " + "x" * 100_000, "x" * 100_000 + ": 1"])
def test_a_header_of_100_kb(served: Running, client: httpx.Client, header: str) -> None:
    assert get(served, "/health", "Host: localhost", header).status in (0, 400, 431)
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\x00\r\n\r\n",
    ],
)
def test_what_is_not_http(served: Running, request_: bytes) -> None:
    assert exchange(served, request_).status in (0, 400, 415)
    assert get(served, "/health", "Host: localhost").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/admin/v1/status",
        "//admin/v1/status",
        "/admin//v1/status",
        "/%61dmin/v1/status",
        "/ADMIN/v1/status",
        "/admin/v1/status/",
        "/admin/v1/status?x=/health",
        "/admin/v1/./status",
        "/v1/../admin/v1/status",
        "/health/../admin/v1/status",
        "/health/%2e%2e/admin/v1/status",
        "/health%2f..%2fadmin/v1/status",
        "/admin/v1/status%00",
        "/admin/v1/status;a=b",
        "/static-offline-docs/../admin/v1/status",
        "/static-offline-docs/%2e%2e/%2e%2e/__init__.py",
        "/static-offline-docs/..%2f..%2f__init__.py",
        "/static-offline-docs//etc/passwd",
        "/v1/models/%2e%2e/%2e%2e/admin/v1/status",
        "/" + "a" * 5000,
        "/%ff%fe",
    ],
)
def test_path_tricks(served: Running, path: str) -> None:
    answer = get(served, path, "Host: localhost")
    assert answer.status in (307, 400, 401, 403, 404)
    assert b"waiting_requests" not in answer.body and b"root:" not in answer.body


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "GET", "TRACE", "CONNECT"])
def test_other_methods(client: httpx.Client, method: str) -> None:
    reply = client.request(method, CHAT, json={})
    assert reply.status_code in (404, 405) if method == "CONNECT" else reply.status_code == 405
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/admin/v1/keys", "GET, POST"), ("/admin/v1/keys/x", "DELETE"), (CHAT, "POST"), ("/v1/models/a/b", "GET")],
)
@pytest.mark.parametrize("method", ["PUT", "OPTIONS"])
def test_other_methods_are_told_which_there_are(client: httpx.Client, method: str, path: str, methods: str) -> None:
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, methods)


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/chat", "/admin/v1/nothing", "/favicon.ico"])
def test_nothing_there(client: httpx.Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "not_found"


def test_probes(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    ready = client.get("/ready")
    assert (ready.status_code, ready.json()["status"], ready.json()["alarms"]) == (200, "ready", [])


def test_damage_that_is_found_while_serving_is_an_alarm(
    client: httpx.Client, served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.box.database, "damage", "Page 4: broken")
    ready = client.get("/ready")
    assert ready.status_code == 200
    remedy = "stop the appliance and restore the last backup"
    assert ready.json()["alarms"] == [f"the database is damaged: {remedy} (Page 4: broken)"]


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_documentation_works_offline(client: httpx.Client, page: str) -> None:
    """All it loads comes from here."""
    html = client.get(page).text
    links = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)["']""", html)
    links += re.findall(r"""(?:url|spec-url)\s*[:=]\s*["']([^"']+)["']""", html)
    assert len(links) >= 2
    for link in links:
        assert link.startswith("/") and not link.startswith("//"), f"{page} loads {link}"
        assert client.get(link).status_code == 200, link
    assert not re.findall(r"https?://(?!127\.0\.0\.1)", html)


def test_openapi_describes_every_endpoint(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    documented = {f"{verb.upper()} {path}" for path, item in described["paths"].items() for verb in item}
    assert documented == {" ".join(one).replace(":path}", "}") for one in ENDPOINTS} - PAGES
    text = json.dumps(described)
    assert all(name in described["components"]["schemas"] for name in re.findall(r"#/components/schemas/(\w+)", text))


def labels(metrics: Iterable[Metric], label: str) -> set[str]:
    return {s.labels[label] for metric in metrics for s in metric.samples if label in s.labels}


def test_metrics_parse_and_list_idle_cohorts(client: httpx.Client) -> None:
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    metrics = {metric.name: metric for metric in text_string_to_metric_families(reply.text)}
    for name in ("cohort_requests", "cohort_prompt_tokens", "cohort_time_to_first_token_seconds"):
        assert labels([metrics[name]], "cohort") >= {*COHORTS, "base"}
    live = {s.labels["cohort"]: s.value for s in metrics["cohort_live_release"].samples}
    assert live == {"legal": 2, "coding": 1, "healthcare": 0, "finance": 0, "support": 0}
    assert {"cohort_requests_running", "cohort_requests_waiting", "cohort_errors"} <= set(metrics)


def test_labels_are_bounded(client: httpx.Client) -> None:
    """Nothing a caller makes up becomes a label."""
    for number in range(5):
        client.post(CHAT, json=chat(model=f"made-up-{number}"))
        client.post(CHAT, json={f"made_up_{number}": 1})
        client.post(CHAT, json=chat(model="auto", max_tokens=1, metadata={"vertical": f"made-up-{number}"}))
        client.get(f"/made-up-{number}")
        client.get("/health", headers={"Origin": f"https://made-up-{number}"})
    text = client.get("/metrics").text
    metrics = list(text_string_to_metric_families(text))
    assert "made-up" not in text and "made_up" not in text
    assert labels(metrics, "cohort") == {*COHORTS, "base"}
    releases = {"base", "legal@1", "legal@2", "legal@3", "coding@1"}
    for name, known in (("layer", set(LAYERS)), ("reason", set(REASONS)), ("release", releases)):
        assert labels(metrics, name) and labels(metrics, name) <= known, name
