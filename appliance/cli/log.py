"""`cohort log` and `feedback`: what was asked and answered, and what people think of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from appliance import config as configuration
from appliance.cli import show
from appliance.cli.client import Operator, part
from appliance.cli.command import Json, call, configured
from appliance.errors import SetupError
from router.decision import Layer

log_cli = typer.Typer(no_args_is_help=True, help="The log of requests.")


@log_cli.command("tail")
def log_tail(
    lines: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many.")] = 20,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Wait for more; without --since, --until, --code and --text.")
    ] = False,
    cohort: Annotated[str | None, typer.Option(help="Where it was sent; base for none.")] = None,
    release: Annotated[str | None, typer.Option(help="What answered, like legal@2, or base.")] = None,
    layer: Annotated[Layer | None, typer.Option(help="What decided where it goes.")] = None,
    status: Annotated[Literal["ok", "cancelled", "failed"] | None, typer.Option(help="How it ended.")] = None,
    origin: Annotated[
        Literal["live", "probe"] | None, typer.Option(help="Probes were asked again by router blame.")
    ] = None,
    rating: Annotated[int | None, typer.Option(min=-1, max=1, help="The newest: -1 bad, 1 good.")] = None,
    reviewed: Annotated[bool | None, typer.Option(help="Whose answer somebody, or nobody, has judged.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Like 90m, 2h or 3d ago; or a moment like 2027-01-31T12:00, in UTC."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="A moment, too.")] = None,
    code: Annotated[str | None, typer.Option(help="Of the error, like engine_fault.")] = None,
    text: Annotated[str | None, typer.Option(help="What stands in the messages or the answer.")] = None,
    as_json: Json = False,
) -> None:
    """The newest requests, oldest of them first; with --json one object a line."""
    where = {"cohort": cohort, "release": release, "layer": layer, "origin": origin}
    kinds = {**where, "status": status, "rating": rating, "reviewed": reviewed}
    within = {"since": since, "until": until, "code": code, "text": text}
    brief = not as_json
    if follow and any(within.values()):
        raise typer.BadParameter("--follow takes no --since, --until, --code or --text")

    shown = show.interactions_json if as_json else show.interactions

    async def tail(operator: Operator) -> None:
        if follow and not operator.serves:
            raise SetupError("no appliance serves this home, so nothing comes: cohort serve, or leave out --follow")
        newest = await operator.get("interactions", limit=1, brief=True)
        last = newest[0]["seq"] if newest else 0
        rows = await operator.get("interactions", before=last + 1, limit=lines, brief=brief, **kinds, **within)
        shown(rows[::-1])
        if not rows and not follow:
            typer.echo("no request in the log is like that" if last else "the log is empty", err=True)
            if not await operator.get("interactions", cohort=cohort, limit=1, brief=True):
                configured()[0].check_known(cohort)
        while follow:
            await asyncio.sleep(0.5)
            new = await operator.get("interactions", after=last, limit=1000, brief=brief)
            last = new[-1]["seq"] if new else last
            wanted = [row for row in new if all(value in (None, row[name]) for name, value in kinds.items())]
            shown(wanted)

    call(tail, as_json=False, shown=lambda _: None, needs="store")


@log_cli.command("show")
def log_show(request_id: Annotated[str, typer.Argument(help="As the log shows it.")], as_json: Json = False) -> None:
    """One request: asked, decided, answered."""
    path = f"interactions/{part(request_id)}"
    call(lambda o: o.get(path), as_json=as_json, shown=show.tree, needs="store")


@log_cli.command("export")
def log_export(
    sqlite: Annotated[
        Path | None, typer.Option("--sqlite", help="Write a copy of the database here instead.")
    ] = None,
    as_json: Json = True,  # noqa: ARG001 - there is no other form; every verb takes it
) -> None:
    """Every request as JSON, one object a line, oldest first."""
    if sqlite is not None:
        from appliance.store.copy import copy

        copy(configuration.home_path() / "appliance.db", sqlite)
        return

    async def export(operator: Operator) -> None:
        last = 0
        while rows := await operator.get("interactions", after=last, limit=250):
            show.interactions_json(rows)
            last = rows[-1]["seq"]

    call(export, as_json=False, shown=lambda _: None, needs="store")


def feedback(
    request_id: Annotated[str, typer.Argument(help="As X-Request-Id and the log have it.")],
    rating: Annotated[int | None, typer.Option(min=-1, max=1, help="-1 bad, 1 good.")] = None,
    correction: Annotated[str | None, typer.Option(help="The right answer.")] = None,
    comment: Annotated[str | None, typer.Option(help="Why.")] = None,
    cohort: Annotated[str | None, typer.Option(help="Where it belongs.")] = None,
    use: Annotated[
        Literal["for", "against", "none"] | None,
        typer.Option(help="Train on it, never, or none: take the mark back."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what you think of an answer."""
    said = {"rating": rating, "correction": correction, "comment": comment, "cohort": cohort, "use": use}
    call(
        lambda o: o.feedback(request_id=request_id, **said),
        as_json=as_json,
        shown=show.tree,
        needs="store",
    )
