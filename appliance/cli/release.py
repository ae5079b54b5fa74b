"""`cohort release add`, `releases`, `show`, `promote`, `reject` and `rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli import show
from appliance.cli.client import part
from appliance.cli.command import Cohort, Json, call, named

release_cli = typer.Typer(no_args_is_help=True, help="Releases of adapters.")


@release_cli.command("add")
def release_add(
    file: Annotated[Path, typer.Argument(help="A LoRA adapter for this base, in GGUF.")],
    cohort: Cohort,
    live: Annotated[bool, typer.Option("--live", help="Promote it at once.")] = False,
    as_json: Json = False,
) -> None:
    """Register a GGUF LoRA adapter made elsewhere: checked, loaded in a child, audited as ungated."""
    path = str(file.expanduser().resolve())
    call(
        lambda o: o.post("releases", path=path, cohort=cohort, live=live),
        as_json=as_json,
        shown=lambda release: show.releases([release]),
    )


def releases(
    cohort: Annotated[str | None, typer.Option("--cohort", help="Those of this cohort alone.")] = None,
    as_json: Json = False,
) -> None:
    """List releases with their states."""

    def shown(rows: list[dict[str, Any]]) -> None:
        show.releases(rows, cohort)

    call(lambda o: o.get("releases", cohort=cohort), as_json=as_json, shown=shown)


def show_release(release: Annotated[str, typer.Argument(help="Like legal@3.")], as_json: Json = False) -> None:
    """One release: manifest, and everything that happened to it."""
    cohort, version = named(release)
    call(lambda o: o.get(f"releases/{part(cohort)}/{version}"), as_json=as_json, shown=show.tree)


def promote(
    release: Annotated[str, typer.Argument(help="A cohort (its candidate) or a release like legal@3.")],
    as_json: Json = False,
) -> None:
    """Make a release live."""
    cohort, version = named(release) if "@" in release else (release, None)
    call(lambda o: o.post("promote", cohort=cohort, version=version), as_json=as_json, shown=show.switched)


def reject(release: Annotated[str, typer.Argument(help="A candidate like legal@3.")], as_json: Json = False) -> None:
    """Retire a candidate that shall not go live."""
    cohort, version = named(release)
    call(lambda o: o.post("reject", cohort=cohort, version=version), as_json=as_json, shown=show.switched)


def rollback(cohort: Annotated[str, typer.Argument(help="The cohort's name.")], as_json: Json = False) -> None:
    """Back to the release that was live before, or to the base."""
    call(lambda o: o.post("rollback", cohort=cohort), as_json=as_json, shown=show.switched)
