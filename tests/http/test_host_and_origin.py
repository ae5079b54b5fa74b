"""Every endpoint under every kind of Host and Origin: which page of which name may talk to this box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.raw import Answer, get
from tests.http.running import Running, chat, running
from tests.http.surface import ENDPOINTS, Endpoint

CHAT = "/v1/chat/completions"
NAME, CONSOLE = "box.example", "https://console.example"  # the allowed ones
# The Host headers of a request, and the code that refuses it.
HOSTS: dict[tuple[str, ...], str | None] = {
    ("127.0.0.1",): None,
    ("localhost:8080",): None,
    ("[::1]",): None,
    (NAME,): None,
    ("BOX.example:444",): None,
    ("evil.example",): "host_refused",
    (f"{NAME}.evil.example",): "host_refused",
    (f"evil.{NAME}",): "host_refused",
    (): "bad_host",  # h11 already finds fault with none and with two
    (NAME, NAME): "bad_host",
}
ORIGINS: dict[tuple[str, ...], str | None] = {
    (): None,
    ("http://{host}",): None,
    ("https://{host}",): None,
    (CONSOLE,): None,
    ("http://console.example",): "origin_refused",
    (f"{CONSOLE}:444",): "origin_refused",
    (f"{CONSOLE}.evil.example",): "origin_refused",
    ("https://evil.example",): "origin_refused",
    ("null",): "origin_refused",
    (CONSOLE, "https://evil.example"): "origin_refused",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("named")
    allowed = {"allowed_hosts": [NAME], "allowed_origins": [CONSOLE]}
    with running(folder, tiny_base, "context = 256", **allowed) as appliance:
        yield appliance


def call(appliance: Running, endpoint: Endpoint, hosts: tuple[str, ...], origins: tuple[str, ...]) -> Answer:
    lines = [f"Host: {host}" for host in hosts] + [f"Origin: {origin}" for origin in origins]
    return get(appliance, endpoint.path, *lines, "Content-Type: application/json", method=endpoint.method)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_every_endpoint_under_every_host_and_origin(named: Running, endpoint: Endpoint) -> None:
    """Host is looked at first. A listed origin may read the reply, the box's own needs no leave."""
    for hosts, bad_host in HOSTS.items():
        for templates, bad_origin in ORIGINS.items():
            origins = tuple(template.format(host=(*hosts, "")[0]) for template in templates)
            answer = call(named, endpoint, hosts, origins)
            code = bad_host or bad_origin
            if bad_host == "bad_host":
                assert answer.status == 400
            elif code:
                assert answer.status == 403
                assert code in answer.body.decode() or endpoint.method == "HEAD"
            else:
                assert answer.status not in (0, 403, 500), (hosts, origins)
            readable = CONSOLE if origins == (CONSOLE,) and not code else None
            assert answer.headers.get("access-control-allow-origin") == readable


def test_a_page_of_a_listed_origin_asks_first(named: Running) -> None:
    """The preflight that browsers send before a POST of JSON with a key."""
    asks = ("Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type")
    lines = (f"Host: {NAME}", *asks)
    allowed = get(named, CHAT, *lines, f"Origin: {CONSOLE}", method="OPTIONS")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == CONSOLE
    assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
    refused = get(named, CHAT, *lines, "Origin: https://evil.example", method="OPTIONS")
    assert refused.status == 403
    assert not [name for name in refused.headers if name.startswith("access-control")]


@pytest.mark.parametrize("stream", [False, True])
def test_a_page_of_a_listed_origin_reads_answers_and_their_headers(named: Running, stream: bool) -> None:
    with named.http() as client:
        reply = client.post(CHAT, json=chat(stream=stream), headers={"Origin": CONSOLE, "Host": NAME})
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == CONSOLE
    assert reply.headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize(
    ("listed", "host", "status"),
    [([], "anything.example", 200), ([NAME], NAME, 200), ([NAME], "evil.example", 403), ([NAME], "127.0.0.1", 200)],
)
def test_behind_a_proxy_any_host_is_taken_unless_some_are_listed(
    tmp_path: Path, tiny_base: Path, listed: list[str], host: str, status: int
) -> None:
    with running(tmp_path, tiny_base, "context = 256", behind_proxy=True, allowed_hosts=listed) as appliance:
        assert get(appliance, "/health", f"Host: {host}").status == status
