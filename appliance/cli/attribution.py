"""`cohort attribute` and `curve`: is a cohort worth its adapter, and are more rows worth their making?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli import show_attribution
from appliance.cli.command import Json, call, check_files, finite, job, write_page

UNDECIDED = 101


def attribute(
    cohort: Annotated[str | None, typer.Argument(help="By default all.")] = None,
    aggregate: Annotated[bool, typer.Option(help="Train one adapter for all cohorts to compare with.")] = True,
    html: Annotated[Path | None, typer.Option(help="Write the report with its pictures into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Is each cohort worth its adapter: keep it, collapse it into the base, or merge it with a neighbour?

    Exit codes: 0 every cohort with a live release is decided, 101 one is not, or there is none.
    """
    check_files(html, drawn=html is not None)
    asked = {"cohort": cohort, "aggregate": aggregate}
    found = call(
        lambda o: job(o, "attribute", asked), as_json=as_json, shown=show_attribution.attributed, needs="engine"
    )
    write_page("attribution", found, html)
    verdicts = {one["verdict"] for one in found["cohorts"] if one["release"]}
    raise typer.Exit(UNDECIDED if "undecided" in verdicts or not verdicts else 0)


def curve(
    cohort: Annotated[str, typer.Argument(help="The cohort's name.")],
    seeds: Annotated[int, typer.Option(min=1, max=10, help="Rounds, each with other parts of the rows.")] = 1,
    minutes: Annotated[
        float | None,
        typer.Option("--max-minutes", min=0.1, max=100_000, callback=finite, help="Begin no round beyond."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the curve with its picture into this file.")] = None,
    as_json: Json = False,
) -> None:
    """Train on 25, 50, 75 and 100 % of a cohort's rows: how many are enough, and what would more of them buy?"""
    check_files(html, drawn=html is not None)
    asked = {"cohort": cohort, "seeds": seeds, "minutes": minutes}
    found = call(lambda o: job(o, "curve", asked), as_json=as_json, shown=show_attribution.curve, needs="engine")
    write_page("curve", found, html)
