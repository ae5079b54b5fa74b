"""`cohort tui`: the operator's console, on this machine or another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from appliance import config as configuration
from appliance.cli.client import admin_key
from appliance.errors import SetupError
from appliance.store.home import Home


def tui(
    url: Annotated[
        str | None, typer.Option(help="Of an appliance; by default the one that serves this home.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(envvar="COHORT_KEY", help="An operator's or a viewer's; asked for if wanted.")
    ] = None,
    authorities: Annotated[
        Path | None, typer.Option(help="PEM file that the appliance's certificate is judged by.")
    ] = None,
) -> None:
    """The operator's console. Wants an appliance that serves."""
    from tui.client import Client
    from tui.console import Console

    if url is not None:
        try:
            client = Client(url, key or "", authorities)
        except OSError as error:  # of ssl, which does not name the file
            raise SetupError(f"--authorities {authorities}: {error.strerror or error}; name a PEM file") from error
        Console(client).run()
        return
    home = configuration.home_path()
    owner = Home(home).owner()
    if owner is None or not owner.url:
        raise SetupError(f"no appliance serves {home}: make serve, or name one with --url")
    Console(Client(owner.url, key or admin_key(home), local=True)).run()
