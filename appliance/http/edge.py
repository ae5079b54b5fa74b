"""The outermost layer: refuses what no endpoint should ever see. Pure ASGI, since BaseHTTPMiddleware hides
disconnects, and decided on `scope["path"]`, since a URL rebuilt from the Host header can be forged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.config import is_loopback
from appliance.errors import (
    ApplianceError,
    Forbidden,
    InvalidRequest,
    PayloadTooLarge,
    Unavailable,
    UnsupportedMedia,
)
from appliance.http.failures import as_response
from appliance.http.streams import ClientGone

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
BODY_SECONDS = 30
ARRIVING = 64 << 20  # bytes of bodies that have not come whole yet, of all connections together
_HOST_CHARACTERS = set("abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")
Refused = Callable[[ApplianceError], None]


class Edge:
    """Checks Host, Origin, content type and size. `hosts` are allowed beside loopback names, `any_host` for boxes
    behind a proxy that checks; no Origin is allowed but the box's own and those listed."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        origins: Iterable[str],
        any_host: bool,
        max_body: int,
        refused: Refused,
    ) -> None:
        self._app, self._max_body, self._any_host, self._refused = app, max_body, any_host, refused
        self._arriving = 0
        self._hosts = {host.lower() for host in hosts}
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(Headers(scope=scope), scope["method"])
            await self._app(scope, await self._whole_body(receive), send)
        except ApplianceError as error:
            self._refused(error)
            await as_response(error)(scope, receive, send)

    async def _whole_body(self, receive: Receive) -> Receive:
        """Take the body in, counting: a chunked one announces no length, and who has no key yet may send one too.
        Raises PayloadTooLarge, InvalidRequest, Unavailable, ClientGone."""
        body, more = b"", True
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            while more:
                message = await _next(receive, deadline)
                body += message.get("body", b"")
                self._arriving += len(message.get("body", b""))
                more = message.get("more_body", False)
                if len(body) > self._max_body:
                    raise _too_large(self._max_body)
                if more and self._arriving > max(ARRIVING, self._max_body):
                    raise Unavailable("too many bodies arrive at once", code="too_many_bodies", retry_after=5)
        finally:
            self._arriving -= len(body)
        return _replaying(body, receive)

    def _check(self, headers: Headers, method: str) -> None:
        if len(headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in headers.raw) > MAX_HEADER_BYTES:
            raise InvalidRequest(f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them")
        self._check_host(headers.getlist("host"))
        for origin in headers.getlist("origin"):
            same = origin.partition("://")[2] == headers["host"]
            if not same and origin not in self._origins:
                raise Forbidden(f"the origin {origin[:100]!r} is not in allowed_origins", code="origin_refused")
        if "transfer-encoding" in headers and "content-length" in headers:
            raise _framed_twice()
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._max_body:
            raise _too_large(self._max_body)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            raise UnsupportedMedia("send JSON with Content-Type: application/json")

    def _check_host(self, given: list[str]) -> None:
        if len(given) != 1 or not set(given[0].lower()) <= _HOST_CHARACTERS:
            raise InvalidRequest("send one valid Host header", code="bad_host")
        name = _host_name(given[0])
        if not (self._any_host or name in self._hosts or is_loopback(name)):
            raise Forbidden(f"the host {name!r} is not in allowed_hosts", code="host_refused")


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


async def _next(receive: Receive, deadline: float) -> Message:
    try:
        async with asyncio.timeout_at(deadline):
            message = await receive()
    except TimeoutError:
        raise InvalidRequest(f"the body did not arrive within {BODY_SECONDS} s", code="body_timeout") from None
    if message["type"] == "http.disconnect":
        raise ClientGone("the client went away in the middle of its request")
    return message


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body as one message, then whatever comes, which is the disconnect."""
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _framed_twice() -> InvalidRequest:
    """A proxy in front may have believed the other header, and taken for one request what are two."""
    error = InvalidRequest("send Content-Length or Transfer-Encoding, not both")
    error.headers["Connection"] = "close"
    return error


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {most} bytes (max_body_bytes in [appliance])")
