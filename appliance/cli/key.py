"""`cohort key`: who may ask, and for what."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from appliance.cli import show
from appliance.cli.client import Operator, part
from appliance.cli.command import Json, call
from appliance.keys import Scope

SCOPES = get_args(Scope)

key_cli = typer.Typer(no_args_is_help=True, help="API keys.")


@key_cli.command("add")
def key_add(
    name: Annotated[str, typer.Argument(help="Whose it is, for people.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"{', '.join(SCOPES)}; repeatable.")] = None,
    cohort: Annotated[list[str] | None, typer.Option(help="Limit to these cohorts, or base; repeatable.")] = None,
    tenant: Annotated[str | None, typer.Option(help="The tenant this key speaks for.")] = None,
    hints: Annotated[bool, typer.Option(help="May its requests steer routing by metadata?")] = True,
    expires: Annotated[
        str | None, typer.Option(help="Like 2027-01-31: refused from 00:00 UTC of that day on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key; it is shown once."""
    if unknown := set(scope or ()) - set(SCOPES):
        raise typer.BadParameter(f"--scope {min(unknown)}: there are {', '.join(SCOPES)}")
    call(
        lambda o: o.post(
            "keys",
            name=name,
            scopes=scope or ["infer", "feedback"],
            cohorts=cohort,
            tenant=tenant,
            hints=hints,
            expires=expires,
        ),
        as_json=as_json,
        shown=show.new_key,
        needs="store",
    )


@key_cli.command("list")
def key_list(as_json: Json = False) -> None:
    """The keys, without their secrets."""
    call(lambda o: o.get("keys"), as_json=as_json, shown=show.keys, needs="store")


@key_cli.command("revoke")
def key_revoke(
    identity: Annotated[str, typer.Argument(help="As cohort key list shows it.")], as_json: Json = False
) -> None:
    """Refuse a key from now on."""
    path = f"keys/{part(identity)}"

    async def work(operator: Operator) -> Any:  # noqa: ANN401 - any JSON value
        revoked = await operator.delete(path)
        if all(key["revoked"] for key in await operator.get("keys")):
            is_open = (await operator.get("status"))["open_without_keys"]
            then = "inference is open to whoever reaches the port" if is_open else "nobody is answered any more"
            typer.echo(f"no key is left: {then}", err=True)
        return revoked

    call(work, as_json=as_json, shown=lambda key: show.keys([key]), needs="store")
