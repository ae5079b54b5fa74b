"""`cohort router`: the verbs of the text router."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli import show_router
from appliance.cli.client import Operator
from appliance.cli.command import Json, call, check_files, finite, job

router_cli = typer.Typer(no_args_is_help=True, help="The text router: fit, evaluate, replay, go back.")
GATE_FAILED = 100  # exit code
Files = Annotated[list[Path] | None, typer.Argument(help="JSON lines with prompt or text, and cohort.")]


@router_cli.command("fit")
def fit(
    files: Files = None,
    interactions: Annotated[
        bool, typer.Option("--interactions", help="Also requests whose right cohort feedback named.")
    ] = False,
    contrastive: Annotated[bool, typer.Option("--contrastive", help="Tune the encoder first: minutes.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Put it in force though a cohort lost by it.")] = False,
    as_json: Json = False,
) -> None:
    """Fit a router on the shipped and imported examples, and put it in force unless it is provably worse.

    Exit code 100 when it was refused.
    """

    wanted = {"paths": _absolute(files), "interactions": interactions, "contrastive": contrastive, "force": force}
    fitted = call(lambda o: job(o, "router/fit", wanted), as_json=as_json, shown=show_router.fitted)
    if fitted["state"] == "refused":
        raise typer.Exit(GATE_FAILED)


@router_cli.command("eval")
def evaluate(
    files: Files = None,
    metadata: Annotated[bool, typer.Option(help="Use tenant, tier, locale and vertical of the rows.")] = True,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the report into this .svg or .png.")] = None,
    as_json: Json = False,
) -> None:
    """How good the router in force is on labelled rows; without files, on those kept apart from every fit."""
    if plot is not None and plot.suffix.lower() not in (".svg", ".png"):
        raise typer.BadParameter(f"--plot {plot}: a picture's name ends in .svg or .png")
    check_files(plot, drawn=plot is not None)

    async def work(operator: Operator) -> Any:  # noqa: ANN401 - any JSON value
        found = await operator.post("router/eval", paths=_absolute(files), metadata=metadata)
        if plot is not None:
            from appliance.cli import router_drawings

            router_drawings.draw(found, plot)
        return found

    call(work, as_json=as_json, shown=show_router.evaluated)


@router_cli.command("replay")
def replay(
    router: Annotated[int | None, typer.Option(help="Version of the router; by default the one in force.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, callback=finite, help="Another threshold.")] = None,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=1, max=10_000, help="How many of the newest requests.")
    ] = 1000,
    as_json: Json = False,
) -> None:
    """What logged requests would be decided to be by another router or threshold; nothing changes."""
    call(
        lambda o: o.post("router/replay", router=router, threshold=threshold, limit=limit),
        as_json=as_json,
        shown=show_router.replay,
    )


@router_cli.command("blame")
def blame(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=200, help="How many of the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """Misroute or bad adapter? Ask again what people did not like, of the cohort that they named."""

    async def work(operator: Operator) -> Any:  # noqa: ANN401 - any JSON value
        found = await job(operator, "router/blame", {"limit": limit})
        for one in found["requests"]:
            if one["verdict"] == "for_a_person":
                asked = [await operator.get(f"interactions/{row}") for row in (one["request_id"], one["probe"])]
                one["answers"] = [row["answer"] for row in asked]
        return found

    call(work, as_json=as_json, shown=show_router.blame, needs="engine")


@router_cli.command("list")
def listing(as_json: Json = False) -> None:
    """The routers fitted here, newest first."""
    call(lambda o: o.get("routers"), as_json=as_json, shown=show_router.listing)


@router_cli.command("rollback")
def rollback(
    version: Annotated[int | None, typer.Argument(help="By default the one before.")] = None, as_json: Json = False
) -> None:
    """Put an earlier router in force."""
    call(lambda o: o.post("router/switch", version=version), as_json=as_json, shown=show_router.switched)


def _absolute(files: list[Path] | None) -> list[str]:
    return [str(file.expanduser().resolve()) for file in files or ()]
