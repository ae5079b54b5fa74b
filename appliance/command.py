"""What every verb of the command has in common."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import config as configuration
from appliance import show
from appliance.client import Operator, connect
from appliance.config import Config

Json = Annotated[bool, typer.Option("--json", help="One JSON value on stdout, progress on stderr.")]
Cohort = Annotated[str, typer.Option("--cohort", help="The cohort's name.")]


def configured() -> tuple[Config, Path]:
    """The configuration and its file. Raises ConfigError."""
    path = configuration.config_path()
    return configuration.load(path), path


def call(
    work: Callable[[Operator], Coroutine[Any, Any, Any]],
    *,
    as_json: bool,
    shown: Callable[[Any], None],
    needs_base: bool = True,
    needs_engine: bool = False,
) -> Any:  # noqa: ANN401 - any JSON value
    """Do `work` through the operator API, print what it gives, and return it."""

    async def run() -> Any:  # noqa: ANN401
        config, path = configured()
        with show.progress() as report:
            home = configuration.home_path()
            needs = {"needs_base": needs_base, "needs_engine": needs_engine}
            async with connect(config, path, home, report, **needs) as operator:
                return await work(operator)

    result = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(result))
    else:
        shown(result)
    return result
