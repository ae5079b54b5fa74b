"""The operator API over HTTP, as the console asks it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

TIMEOUT_S = 20.0  # adding nothing big; a dead appliance shows within it
_CHANGES_S = 300.0  # a promotion loads the adapter first


class ApplianceGone(Exception):
    """It does not answer; the message says where it was looked for."""


class KeyWanted(Exception):
    """The key is missing or not known."""


class Refused(Exception):
    """The appliance said no; the message is its own."""


class Forbidden(Refused):
    """The key may not."""


class Client:
    """JSON in, JSON out. Raises ApplianceGone, KeyWanted, Refused and Forbidden; nothing else of the network's."""

    def __init__(self, url: str, key: str, authorities: Path | None = None, *, local: bool = False) -> None:
        """`authorities`: a PEM file by which the appliance's certificate is judged, instead of the system's; `local`:
        the URL is from the home's own lock file, where the certificate names the box rather than this address."""
        self.url, self.key = url.rstrip("/"), key
        # trust_env: a proxy in the environment must not see the operator's key.
        trusted = ssl.create_default_context(cafile=authorities) if not local else _unjudged()
        self._http = httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT_S, trust_env=False, verify=trusted)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def get(self, path: str, /, **params: object) -> Any:  # noqa: ANN401 - any JSON value
        """Of /admin/v1; parameters that are None or empty are left out."""
        given = {name: str(value) for name, value in params.items() if value not in (None, "")}
        return await self._asked("GET", f"/admin/v1/{path}", params=given)

    async def post(self, path: str, /, **body: object) -> Any:  # noqa: ANN401
        """To /admin/v1."""
        return await self._asked("POST", f"/admin/v1/{path}", json=body, timeout=_CHANGES_S)

    async def feedback(self, request_id: str, **said: object) -> None:
        """What a person thinks of an answer."""
        await self._asked("POST", "/v1/feedback", json={"request_id": request_id, **said})

    async def _asked(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401
        key = self.key.strip()
        if not (key.isascii() and key.isprintable()):
            raise KeyWanted("the key has characters that no key has")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            reply = await self._http.request(method, path, headers=headers, **more)
        except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
            raise ApplianceGone(f"{self.url} does not answer ({_why(error)})") from error
        return _json(reply)


def _unjudged() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def together(*questions: Awaitable[Any]) -> list[Any]:
    """Their answers; when one fails the others are not waited for, nor left to go on."""
    asked = [asyncio.ensure_future(question) for question in questions]
    try:
        return await asyncio.gather(*asked)
    finally:
        for one in asked:
            one.cancel()


def part(text: str) -> str:
    """As one part of a path."""
    return quote(text, safe="").replace(".", "%2E")  # httpx takes . and .. for folders


def _why(error: Exception) -> str:
    """Of a request that breaks the protocol not its words: they may quote a header."""
    return "" if isinstance(error, httpx.LocalProtocolError) else str(error) or type(error).__name__


def _json(reply: httpx.Response) -> Any:  # noqa: ANN401
    try:
        body = reply.json()
    except ValueError:
        raise ApplianceGone(f"{reply.url} did not answer with JSON; is another program on that port?") from None
    if reply.is_success:
        return body
    error = body.get("error") if isinstance(body, dict) else None
    said = str(error.get("message", reply.reason_phrase) if isinstance(error, dict) else error or reply.reason_phrase)
    raise {401: KeyWanted, 403: Forbidden}.get(reply.status_code, Refused)(said)
