"""`cohort retrain`, `eval`, `slice`, `job`, `lineage`, `diff` and `rebuild`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli import show, show_train
from appliance.cli.client import Operator, part
from appliance.cli.command import Json, call, check_files, finite, job, named, write_page
from appliance.wire.jobs import JobKind

EXIT_CODES = {"pass": 0, "fail": 100, "insufficient": 101, "parity": 102}

Identity = Annotated[str, typer.Argument(help="As cohort job list shows it.")]

slice_cli = typer.Typer(no_args_is_help=True, help="What would be trained on.")
job_cli = typer.Typer(no_args_is_help=True, help="Long work: watch and cancel it.")


def retrain(
    cohort: Annotated[str, typer.Argument(help="The cohort's name.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            "--max-minutes",
            min=0.1,
            max=10_000,
            callback=finite,
            help="Of training (default: the configuration's, 60).",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Passes over the rows (default: the configuration's, 4).")
    ] = None,
    warm: Annotated[int | None, typer.Option(min=1, help="Begin from this version of the cohort.")] = None,
    live: Annotated[bool, typer.Option(help="Promote what is released.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Release it though the gate says no; audited.")] = False,
    as_json: Json = False,
) -> None:
    """Train an adapter on the cohort's own rows, judge it, and release what passes.

    Exit codes: 0 pass, 100 the gate failed, 101 insufficient evidence, 102 served is not what was trained.
    """
    asked = {"cohort": cohort, "minutes": minutes, "epochs": epochs, "warm": warm, "live": live, "force": force}
    found = call(lambda o: job(o, "retrain", asked), as_json=as_json, shown=show_train.retrained, needs="engine")
    raise typer.Exit(EXIT_CODES[found["verdict"]])


def evaluate(
    cohort: Annotated[str | None, typer.Argument(help="By default all.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report with its plots into this file.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write it as JUnit XML, for CI.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write JSON, JUnit XML and page into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """How good what is live is, sliced: on its own eval rows, on the others', on the guard set.

    Exit codes as of retrain: the worst verdict of the cohorts. A cohort without a live release counts if it is named.
    """
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
    check_files(html, junit, *_kept(report), drawn=html is not None or report is not None)
    whole: dict[str, Any] = {}

    async def work(operator: Operator) -> Any:  # noqa: ANN401 - any JSON value
        whole.update(await job(operator, "evaluate", {"cohort": cohort}))
        _write(whole, html, junit)
        if report is not None:
            _keep(whole, report)
        about = {name: value for name, value in whole.items() if name != "cohorts"}
        return whole if cohort is None else {**whole["cohorts"][0], **about}

    call(work, as_json=as_json, shown=lambda _: show_train.reviewed(whole), needs="engine")
    named = [one["verdict"] for one in whole["cohorts"] if one["release"] or cohort is not None]
    verdicts = named or ["insufficient"]
    raise typer.Exit(next((EXIT_CODES[v] for v in ("fail", "insufficient") if v in verdicts), 0))


@slice_cli.command("show")
def slice_show(cohort: Annotated[str, typer.Argument(help="The cohort's name.")], as_json: Json = False) -> None:
    """What a retrain would train on now: counts, mix, and what would be left out and why."""
    path = f"slices/{part(cohort)}"
    call(lambda o: o.get(path), as_json=as_json, shown=show_train.slice_, needs="engine")


@job_cli.command("list")
def jobs(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="How many.")] = 20,
    kind: Annotated[JobKind | None, typer.Option("--kind", help="Those of this kind alone.")] = None,
    cohort: Annotated[str | None, typer.Option("--cohort", help="Those of this cohort alone.")] = None,
    as_json: Json = False,
) -> None:
    """Newest first."""
    call(lambda o: o.get("jobs", limit=limit, kind=kind, cohort=cohort), as_json=as_json, shown=show_train.jobs)


@job_cli.command("show")
def job_show(identity: Identity, as_json: Json = False) -> None:
    """One job: how far it is, or what came of it."""
    path = f"jobs/{part(identity)}"
    call(lambda o: o.get(path), as_json=as_json, shown=show.tree)


@job_cli.command("cancel")
def job_cancel(identity: Identity, as_json: Json = False) -> None:
    """End it; what it made so far is found by the next one."""
    call(
        lambda o: o.post(f"jobs/{part(identity)}/cancel"),
        as_json=as_json,
        shown=lambda ended: show_train.jobs([ended]),
    )


def lineage(release: Annotated[str, typer.Argument(help="Like legal@3.")], as_json: Json = False) -> None:
    """What a release was made of: rows by source and subject, recipe, the releases it was begun from."""
    cohort, version = named(release)
    path = f"releases/{part(cohort)}/{version}/lineage"
    call(lambda o: o.get(path), as_json=as_json, shown=show_train.lineage)


def diff(
    release: Annotated[str, typer.Argument(help="Like legal@2.")],
    other: Annotated[str, typer.Argument(help="Like legal@3.")],
    as_json: Json = False,
) -> None:
    """What changed from one release of a cohort to another: rows, recipe, scores."""
    (cohort, version), (same, to) = named(release), named(other)
    if cohort != same:
        raise typer.BadParameter(f"{release} and {other} have to be releases of one cohort")
    call(lambda o: o.get(f"releases/{part(cohort)}/{version}/diff/{to}"), as_json=as_json, shown=show.tree)


def rebuild(release: Annotated[str, typer.Argument(help="Like legal@3.")], as_json: Json = False) -> None:
    """Train a release again from its manifest and compare the bytes. Changes nothing."""
    cohort, version = named(release)
    asked = {"cohort": cohort, "version": version}
    found = call(lambda o: job(o, "rebuild", asked), as_json=as_json, shown=show_train.rebuilt, needs="engine")
    if not found["same"]:
        raise typer.Exit(1)


def _kept(folder: Path | None) -> list[Path]:
    return [folder / f"evaluation.{ending}" for ending in ("json", "html", "xml")] if folder is not None else []


def _keep(found: dict[str, Any], folder: Path) -> None:
    """The report in every form."""
    plain, html, junit = _kept(folder)
    plain.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _write(found, html, junit)
    typer.echo(f"written: evaluation.json, .xml and .html in {folder}", err=True)


def _write(found: dict[str, Any], html: Path | None, junit: Path | None) -> None:
    if junit is not None:
        from appliance.cli import report

        junit.write_text(report.junit(found), encoding="utf-8")
    write_page("evaluation", found, html)
