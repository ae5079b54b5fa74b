"""What the command prints for people. Logged text is shown inert: no markup, no control characters."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from appliance.progress import Report

_UNBROKEN = 1000
_MARKS = {"ok": "ok", "warning": "WARNING", "missing": "MISSING"}


def out() -> Console:
    """In a terminal as wide as that; into a file or a pipe no line is broken."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBROKEN
    return console


def printable(text: object) -> str:
    """One line, without control characters: terminals obey them."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def inert(text: object, limit: int = 80) -> Text:
    """One printable line, cut at `limit`."""
    line = printable(text)
    return Text(line if len(line) <= limit else line[: limit - 1] + "…")


@contextmanager
def progress() -> Iterator[Report]:
    """A bar on stderr, shown from the first report on; stdout stays where it goes."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task: list[Any] = []
    said, shown = "", 0.0

    def report(fraction: float, doing: str) -> None:
        nonlocal said, shown
        if not task:
            bar.start()
            task.append(bar.add_task(doing, total=1.0))
        bar.update(task[0], completed=fraction, description=doing)
        told = doing.partition(":")[0]  # what follows changes with every step
        if not console.is_terminal and (told != said or fraction >= shown + 0.05):
            print(f"{fraction:4.0%} {doing}", file=sys.stderr)  # noqa: T201
            said, shown = told, fraction

    try:
        yield report
    finally:
        bar.stop()


def log_progress() -> Report:
    """Progress as lines on stderr, for a process whose stderr is a journal."""

    def report(fraction: float, doing: str) -> None:
        print(f"{fraction:4.0%} {doing}", file=sys.stderr, flush=True)  # noqa: T201

    return report


def served(url: str) -> None:
    print(f"100% serving on {url}", file=sys.stderr, flush=True)  # noqa: T201


def served_json(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)  # noqa: T201


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Its first column, by which a row is named, is never cut."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    table.columns[0].no_wrap, table.columns[0].overflow = True, "fold"
    for row in rows:
        table.add_row(*(inert("" if cell is None else cell) for cell in row))
    out().print(table)


def cohorts(rows: list[dict[str, Any]]) -> None:
    columns = ("cohort", "owner", "weight", "live", "score", "base", "before", "due", "next")
    told = [
        (
            one["cohort"],
            one["owner"],
            f"{one['weight']:g}",
            one["live"] or "the base",
            *(points((one["score"] or {}).get(arm), " %") for arm in ("candidate", "base", "previous")),
            f"{(one['due'] or '-')[:10]}{' LATE' if one['overdue'] else ''}",
            one["next"]["says"] or "-",
        )
        for one in rows
    ]
    table(columns, told)
    for one in rows:
        if one["next"]["command"]:
            out().print(inert(f"{one['cohort']}: {one['next']['command']}", 200))


def points(share: float | None, unit: str = "") -> str:
    """Of 100."""
    return "-" if share is None else f"{100 * share:.1f}{unit}"


def releases(rows: list[dict[str, Any]], cohort: str | None = None) -> None:
    if not rows:
        whose = {None: "every cohort (cohort retrain NAME)", "base": "what is no cohort's"}.get(cohort)
        out().print(f"no releases yet: the base answers for {whose or f'{cohort} (cohort retrain {cohort})'}")
        return
    table(
        ("release", "state", "gated", "digest", "created"),
        [
            (
                f"{r['cohort']}@{r['version']}",
                r["state"],
                "yes" if r["gated"] else "no",
                r["digest"][:12],
                r["created"][:19],
            )
            for r in rows
        ],
    )
    for row in rows:
        if row.get("warning"):
            out().print(inert(f"warning: {row['warning']}", 200))


def switched(result: dict[str, Any]) -> None:
    before = result["previous"] or "the base"
    out().print(f"{result['cohort']}: {result['live'] or 'the base'} is live; a rollback returns to {before}")


def decision(result: dict[str, Any]) -> None:
    out().print(
        f"{result['cohort']} (answered by {result['release']}), layer {result['layer']}, "
        f"reason {result['reason']}, confidence {result['confidence']:.2f}"
    )
    for layer, scores in result["scores"].items():
        out().print(f"  {layer}: " + ", ".join(f"{name} {score:.2f}" for name, score in scores.items()))


def base(result: dict[str, Any] | None) -> None:
    if result is None:
        out().print("the appliance that holds this home is still preparing its base: /ready says how far it is")
        return
    out().print(f"{result['id']}: served as {result['format']}, sha256 {result['digest'][:16]}")


def findings(rows: Sequence[Any]) -> None:
    for row in rows:
        remedy = f"  -> {row.remedy}" if row.remedy else ""
        out().print(Text(f"{_MARKS[row.state]:8}{row.subject:22} ") + inert(row.detail + remedy, 400))


def interactions_json(rows: list[dict[str, Any]]) -> None:
    """A line for each."""
    try:
        for row in rows:
            print(json.dumps(row))  # noqa: T201
        sys.stdout.flush()
    except BrokenPipeError:  # head, or less, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        raise SystemExit(0) from None


def interactions(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        asked = row["messages"][-1]["content"] if row["messages"] else ""
        took = "" if row["total_ms"] is None else f"{row['total_ms']:.0f} ms"
        line = Text(f"{row['created'][:19]} {row['id']} ")
        line += Text(f"{row['cohort']:<11} {row['layer']:<10} {row['release']:<12} {row['status']:<9} {took:>9}  ")
        out().print(
            line + inert(asked, 40) + Text(" -> ") + inert(row["answer"] or row["error"] or "", 60), soft_wrap=True
        )


def traffic(found: dict[str, Any]) -> None:
    times = (found["ttft_ms"], found["total_ms"])
    first, whole = (f"p50 {_ms(t['p50'])}, p95 {_ms(t['p95'])}, p99 {_ms(t['p99'])}" for t in times)
    console = out()
    console.print(f"{found['requests']} requests in {found['seconds'] / 60:.0f} min, {found['per_second']:.2f}/s")
    console.print(f"first token {first}; whole answer {whole}; {found['tokens_per_second']:.1f} tokens/s")
    rows = [
        (
            one["cohort"],
            one["requests"],
            f"{one['share']:.0%}",
            f"{one['by_base']} ({one['by_base'] / (one['requests'] or 1):.0%})",
            one["failed"],
            "-" if one["confidence"] is None else f"{one['confidence']:.2f}",
            _ms(one["ttft_ms"]["p95"]),
            f"+{one['liked']} -{one['disliked']}",
        )
        for one in found["cohorts"]
    ]
    table(("cohort", "requests", "share", "by base", "failed", "sure", "first token p95", "liked"), rows)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def audit(rows: list[dict[str, Any]]) -> None:
    table(
        ("when", "key", "action", "object", "after"),
        [
            (r["created"][:19], r["key_id"], r["action"], r["object"], json.dumps(r["after"], ensure_ascii=False))
            for r in rows
        ],
    )


def imported(result: dict[str, Any]) -> None:
    out().print("{cohort}, {split}: {read} rows read, {added} added, {known} known already".format_map(result))


def examples(rows: list[dict[str, Any]]) -> None:
    if not rows:
        out().print("no examples yet (cohort import FILE --cohort NAME --split train)")
        return
    table(("cohort", "split", "rows"), [(r["cohort"], r["split"], r["rows"]) for r in rows])


def keys(rows: list[dict[str, Any]]) -> None:
    listed = [{**r, "scopes": ",".join(r["scopes"]), "cohorts": ",".join(r["cohorts"] or ["all"])} for r in rows]
    columns = ("id", "name", "scopes", "cohorts", "tenant", "expires", "revoked")
    table(columns, [[row[column] for column in columns] for row in listed])


def new_key(key: dict[str, Any]) -> None:
    out().print(f"{key['secret']}\nKeep it now: only its digest is stored. Inference now wants a key from everybody.")


def tree(value: dict[str, Any]) -> None:
    """A JSON object, indented, with what it quotes inert."""
    for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines():
        out().print(inert(line, 2000), soft_wrap=True)
