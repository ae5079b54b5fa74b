"""What every verb of the command has in common."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance import config as configuration
from appliance.cli import show
from appliance.cli.client import Needs, Operator, connect
from appliance.config import Config
from appliance.errors import ApplianceError, SetupError

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
    needs: Needs = "base",
) -> Any:  # noqa: ANN401 - any JSON value
    """Do `work` through the operator API, print what it gives, and return it."""

    async def run() -> Any:  # noqa: ANN401
        config, path = configured()
        with show.progress() as report:
            home = configuration.home_path()
            async with connect(config, path, home, report, needs=needs) as operator:
                return await work(operator)

    result = asyncio.run(run())
    if as_json:
        typer.echo(json.dumps(result))
    else:
        shown(result)
    return result


async def job(operator: Operator, kind: str, asked: dict[str, Any]) -> Any:  # noqa: ANN401
    """Begin it and watch it to its end. Leaving (Ctrl-C) cancels it."""
    begun = await operator.post(kind, **asked)
    try:
        with show.progress() as report:
            while begun["state"] == "running":
                await asyncio.sleep(0.5)
                begun = await operator.get(f"jobs/{begun['id']}")
                report(begun["fraction"], begun["doing"])
    except asyncio.CancelledError:
        ended = await asyncio.shield(operator.post(f"jobs/{begun['id']}/cancel"))
        if ended["state"] in ("done", "failed"):  # a release that has begun is finished
            typer.echo(f"it came too late: {begun['id']} is {ended['state']} (cohort job show)", err=True)
        raise
    if begun["result"] is None:
        raise ApplianceError(f"{kind} {begun['state']}: {begun['error']}")
    return begun["result"]


def named(release: str) -> tuple[str, int]:
    """Cohort and version of `legal@3`."""
    cohort, _, version = release.partition("@")
    if not (cohort and version.isascii() and version.isdigit()):
        raise typer.BadParameter(f"{release!r} is not a release: write it like legal@3")
    return cohort, int(version)


def finite(value: float | None) -> float | None:
    """Of an option: nan lies in every range."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number")
    return value


def check_files(*files: Path | None, drawn: bool) -> None:
    """Before the long work whose report they get. Raises SetupError."""
    for file in filter(None, files):
        if file.is_dir():
            raise SetupError(f"{file} is a folder: name a file in it")
        if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise SetupError(f"{file} cannot be written: look whether its folder is there, and whose it is")
    if drawn and importlib.util.find_spec("matplotlib") is None:
        raise SetupError("drawing wants matplotlib: make train-tools")


def write_page(page: str, found: dict[str, Any], html: Path | None) -> None:
    """A report as an HTML file, if wanted, once `check_files` has been asked."""
    if html is None:
        return
    from appliance.cli import report

    html.write_text(report.PAGES[page](found), encoding="utf-8")
