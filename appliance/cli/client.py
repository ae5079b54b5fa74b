"""The operator API from the command line: of the running appliance, or of one opened in this process.

Whoever holds the home's lock owns database and engine. While an appliance serves, the command is its client;
otherwise it opens the same application itself and speaks the same HTTP to it, without a socket.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import httpx
import typer

from appliance.config import Config
from appliance.errors import ApplianceError, SetupError
from appliance.progress import Report
from appliance.store.home import Home

TIMEOUT_S = 300.0
_TO_ITS_END = httpx.Timeout(TIMEOUT_S, read=None)  # a release is tried in a child, a log decided anew
Needs: TypeAlias = Literal["store", "base", "engine"]  # where no appliance runs: how much of one is opened


class Refused(ApplianceError):
    """The appliance said no; the message is its."""


class Operator:
    """Calls that return JSON or raise Refused."""

    def __init__(self, client: httpx.AsyncClient, *, serves: bool) -> None:
        """`serves`: it is a running appliance's, which others ask too."""
        self._client, self.serves = client, serves

    async def get(self, path: str, /, **params: object) -> Any:  # noqa: ANN401 - any JSON value
        given = {name: str(value) for name, value in params.items() if value is not None}
        return _json(await self._client.get(f"/admin/v1/{path}", params=given))

    async def post(self, path: str, /, **body: object) -> Any:  # noqa: ANN401
        return _json(await self._client.post(f"/admin/v1/{path}", json=body, timeout=_TO_ITS_END))

    async def feedback(self, **body: object) -> Any:  # noqa: ANN401
        return _json(await self._client.post("/v1/feedback", json=body))

    async def delete(self, path: str) -> Any:  # noqa: ANN401
        return _json(await self._client.delete(f"/admin/v1/{path}"))


def part(identity: str) -> str:
    """What a person typed, as one part of a path."""
    if not identity:
        raise typer.BadParameter("it is empty: give the id that a list shows")
    return quote(identity, safe="").replace(".", "%2E")  # httpx takes . and .. for folders


@asynccontextmanager
async def connect(
    config: Config,
    config_file: Path,
    home_path: Path,
    progress: Report,
    *,
    needs: Needs = "base",
) -> AsyncIterator[Operator]:
    """Raises SetupError when there is no way to the operator API. Of the store alone, log, keys, audit and
    examples can be asked for, and no base has to be there; with the engine models can be asked, too."""
    owner = Home(home_path).owner()
    if owner is not None and owner.url:
        headers = {"Authorization": f"Bearer {admin_key(home_path)}"}
        # The URL is from the home's own lock file, and its certificate names the box rather than this address.
        # trust_env: a proxy in the environment must not see the operator's key.
        async with httpx.AsyncClient(
            base_url=owner.url,
            headers=headers,
            timeout=TIMEOUT_S,
            verify=False,  # noqa: S501
            trust_env=False,
        ) as client:
            try:
                yield Operator(client, serves=True)
            except httpx.TransportError as error:
                raise SetupError(
                    f"process {owner.pid} holds {home_path} but does not answer at {owner.url} ({error}): "
                    "it may be starting or stopping; try again, or stop it"
                ) from error
        return
    async with _in_process(config, config_file, home_path, progress, needs) as client:
        yield Operator(client, serves=False)


def admin_key(home_path: Path) -> str:
    """Of the operator of this machine. Raises SetupError."""
    try:
        return (home_path / "admin.key").read_text(encoding="ascii").strip()
    except OSError as error:
        raise SetupError(
            f"the operator's key {home_path / 'admin.key'} cannot be read ({error.strerror}): "
            "the appliance may be starting for the first time; try again, or run this as its user"
        ) from error


@asynccontextmanager
async def _in_process(
    config: Config, config_file: Path, home_path: Path, progress: Report, needs: Needs
) -> AsyncIterator[httpx.AsyncClient]:
    from appliance import app  # here, since a client of a running appliance needs none of it

    new = not (home_path / "appliance.db").exists()
    box = app.open_home(config, home_path, "")
    if new:
        print(f"made a new home in {home_path}", file=sys.stderr)  # noqa: T201 - COHORT_HOME may be mistyped
    box.phase, box.doing = "closed", "no appliance serves this home: cohort serve"
    try:
        if needs != "store":
            await app.prepare(box, config_file, progress)
        if needs == "engine":
            await app.start_engine(box)
        transport = httpx.ASGITransport(app.application(box), raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {admin_key(box.home.path)}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
            yield client
    finally:
        await app.close(box)


def _json(response: httpx.Response) -> Any:  # noqa: ANN401
    try:
        body = response.json()
    except ValueError:
        raise SetupError(f"{response.url} did not answer with JSON; is another program on that port?") from None
    if response.is_error:
        raise Refused(body["error"]["message"], code=body["error"]["code"])
    return body
