"""The command `cohort`: the operator's verbs, for people and, with --json, for programs."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from appliance import config as configuration
from appliance.cli import attribution, release, show, train, tui
from appliance.cli.client import Operator
from appliance.cli.command import Json, call, configured
from appliance.cli.key import key_cli
from appliance.cli.log import feedback, log_cli
from appliance.cli.router import router_cli
from appliance.cli.train import job_cli, slice_cli
from appliance.errors import ApplianceError, SetupError

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
base_cli = typer.Typer(no_args_is_help=True, help="The base model.")
for name, group in (
    ("release", release.release_cli),
    ("base", base_cli),
    ("log", log_cli),
    ("key", key_cli),
    ("router", router_cli),
    ("slice", slice_cli),
    ("job", job_cli),
):
    cli.add_typer(group, name=name)
for name, verb in (
    ("releases", release.releases),
    ("show", release.show_release),
    ("promote", release.promote),
    ("reject", release.reject),
    ("rollback", release.rollback),
    ("retrain", train.retrain),
    ("eval", train.evaluate),
    ("attribute", attribution.attribute),
    ("curve", attribution.curve),
    ("tui", tui.tui),
    ("feedback", feedback),
    ("lineage", train.lineage),
    ("diff", train.diff),
    ("rebuild", train.rebuild),
):
    cli.command(name)(verb)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cohort {metadata.version('cohort-appliance')}")
        raise typer.Exit


@cli.callback(help=__doc__)
def any_verb(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command. Exit codes: 0 done, 1 failed (stderr says why), 2 usage."""
    try:
        _check_arguments(sys.argv)
        cli()
    except ApplianceError as error:
        fail(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader (head, less) has seen enough
        sys.exit(0)
    except OSError as error:
        fail(
            SetupError(f"{error.filename or 'the system'}: {error.strerror or error}; look at disk, path and rights")
        )


def _check_arguments(given: list[str]) -> None:
    """Bytes that are no UTF-8 come as lone surrogates, which no JSON takes."""
    for argument in given:
        if not argument.isascii() and any("\ud800" <= character <= "\udfff" for character in argument):
            raise SetupError(f"{argument!r} is not UTF-8: rename the file, or set the terminal to UTF-8")


def fail(error: ApplianceError) -> NoReturn:
    typer.echo(f"error: {show.printable(error.message)}", err=True)  # it may quote what a file says
    sys.exit(1)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: the configuration's).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one.")] = None,
    as_json: Json = False,
) -> None:
    """Serve the base and its releases until stopped."""
    from appliance import serve as process

    config, path = configured()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    limits = config.appliance.model_copy(update=given)
    config = config.model_copy(update={"appliance": limits})
    ready = show.served_json if as_json else show.served
    process.run(config, path, configuration.home_path(), show.log_progress(), ready)


@base_cli.command("import")
def base_import(as_json: Json = False) -> None:
    """Check the base, measure weight formats on this machine, and record the choice. Done once."""

    async def status(operator: Operator) -> Any:  # noqa: ANN401
        return (await operator.get("status"))["base"]

    call(status, as_json=as_json, shown=show.base)


@cli.command()
def cohorts(as_json: Json = False) -> None:
    """What answers for each cohort, how good it is, when to judge it anew, and what to do next."""
    call(lambda o: o.get("cohorts"), as_json=as_json, shown=show.cohorts)


@cli.command("import")
def import_examples(
    file: Annotated[Path, typer.Argument(help="One JSON object a line: prompt and completion, or messages.")],
    cohort: Annotated[str, typer.Option("--cohort", help="The cohort's name; base for rows of no cohort.")],
    split: Annotated[Literal["train", "eval"], typer.Option("--split", help="To learn from, or to judge by.")],
    as_json: Json = False,
) -> None:
    """Take labelled examples into the database: all of the file or nothing, and each row once."""
    path = str(file.expanduser().resolve())
    call(
        lambda o: o.post("examples", path=path, cohort=cohort, split=split),
        as_json=as_json,
        shown=show.imported,
        needs="store",
    )


@cli.command()
def examples(as_json: Json = False) -> None:
    """How many labelled examples there are of each cohort."""
    call(lambda o: o.get("examples"), as_json=as_json, shown=show.examples, needs="store")


@cli.command()
def route(
    text: Annotated[str, typer.Argument(help="What a user would ask.")],
    meta: Annotated[list[str] | None, typer.Option("--meta", help="name=value; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Dry run: which cohort would this prompt go to, and why."""
    metadata = dict(_pair(given) for given in meta or ())
    call(lambda o: o.post("route", text=text, metadata=metadata), as_json=as_json, shown=show.decision)


@cli.command()
def status(as_json: Json = False) -> None:
    """How the appliance is."""
    call(lambda o: o.get("status"), as_json=as_json, shown=show.tree)


@cli.command()
def traffic(
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="How many of the last ones.")] = 15,
    as_json: Json = False,
) -> None:
    """The last minutes as figures: requests, times, where they went."""
    call(lambda o: o.get("traffic", minutes=minutes), as_json=as_json, shown=show.traffic, needs="store")


@cli.command()
def system(as_json: Json = False) -> None:
    """Versions, disk, memory, and the configuration as it was read."""
    call(lambda o: o.get("system"), as_json=as_json, shown=show.tree)


@cli.command()
def audit(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """What operators did, newest first."""
    call(lambda o: o.get("audit", limit=limit), as_json=as_json, shown=show.audit, needs="store")


@cli.command()
def doctor(as_json: Json = False) -> None:
    """Versions, digests, disk, threads; what is missing and how to get it. Fails when something is missing."""
    from dataclasses import asdict

    from appliance.cli.doctor import examine

    config, path = configured()
    findings = examine(config, path, configuration.home_path())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        show.findings(findings)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def _pair(given: str) -> tuple[str, str]:
    name, found, value = given.partition("=")
    if not found:
        raise typer.BadParameter(f"--meta {given!r}: write it like tenant=acme")
    return name, value


if __name__ == "__main__":
    main()
