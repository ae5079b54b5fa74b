"""What training and judging print for people."""

from __future__ import annotations

from typing import Any

from appliance.cli.show import inert, out, points, table

_NAMED = 3  # rows left out for one reason
_VERDICTS = {
    "pass": "PASS",
    "fail": "FAIL",
    "insufficient": "INSUFFICIENT EVIDENCE",
    "parity": "PARITY FAILED",
}


def retrained(found: dict[str, Any]) -> None:
    slice_(found["slice"])
    trained = found.get("training")
    if trained:
        console = out()
        console.print(
            f"trained {trained['step']} of {trained['horizon']} steps ({trained['ended']}), the best after "
            f"{trained['best_step']} with a validation loss of {trained['best_loss']:.3f}; "
            f"{trained['tokens'] / trained['seconds']:.0f} tokens/s"
        )
        if parity := trained.get("parity"):  # where it failed, the reason says by how much
            console.print(
                f"served as trained: the adapter's change correlates {parity['change']:.3f}, "
                f"{parity['scale']:.2f} times its size"
            )
    _mix(found)
    _judged(found)
    name, seconds = found["release"], f"{found['seconds']:.0f} s in all"
    if name is None:
        out().print(f"not released, what was live stays; {seconds}")
        return
    out().print(f"released as {name}{' by force' if found['forced'] else ''}; {seconds}")
    if found["not_live"]:
        out().print(f"it stays a candidate: {found['not_live']}")


def reviewed(found: dict[str, Any]) -> None:
    _mix(found)
    for one in found["cohorts"]:
        out().print(f"\n{one['cohort']}: {one['release'] or 'no live release'}")
        _judged(one)


def _mix(found: dict[str, Any]) -> None:
    """An average over unequal sets is the score of the largest."""
    total = sum(found["mix"].values()) or 1
    mix = ", ".join(f"{name} {n} ({n / total:.0%})" for name, n in found["mix"].items())
    out().print(f"eval rows: {mix}; {found['guard']} general ones")


def _judged(found: dict[str, Any]) -> None:
    rows = [
        (
            s["cohort"],
            task,
            s["metric"],
            s["n"],
            points(s["base"]),
            points(s["previous"]),
            _within(s),
            " ".join(f"{name} {points(value)}" for name, value in s["beside"].items()),
        )
        for task, s in found["scores"].items()
    ]
    if rows:
        table(("cohort", "task", "metric", "rows", "base", "before", "this one (95 %)", "beside"), rows)
    for reason in found["reasons"]:
        out().print(inert(f"{'ok  ' if reason['passed'] else 'NO  '} {reason['check']}: {reason['says']}", 200))
    out().print(f"verdict for {found['cohort']}: {_VERDICTS[found['verdict']]}")


def _within(score: dict[str, Any]) -> str:
    if score["candidate"] is None:
        return "-"
    return f"{points(score['candidate'])} ({points(score['low'])}-{points(score['high'])})"


def slice_(found: dict[str, Any]) -> None:
    mix = ", ".join(f"{task} {n}" for task, n in found["mix"]["task"].items())
    console = out()
    console.print(
        f"slice {found['digest'][:12]}: {found['train']} rows to train on, {found['validation']} to watch by"
    )
    console.print(
        inert(f"tasks: {mix}; from: {', '.join(f'{o} {n}' for o, n in found['mix']['origin'].items())}", 200)
    )
    for why, n in found["dropped"].items():
        named = [row["source"] or row["row"] for row in found["dropped_rows"] if row["why"] == why][:_NAMED]
        more = f" and {n - len(named)} more" if n > len(named) else ""
        console.print(inert(f"left out {n}: {why} ({', '.join(named)}{more})", 400))


def jobs(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            j["id"],
            j["kind"],
            j["cohort"] or "all",
            j["state"],
            f"{j['fraction']:.0%}",
            j["created"][:19],
            j["error"] or "",
        )
        for j in found
    ]
    table(("job", "kind", "cohort", "state", "done", "begun (UTC)", "why"), rows)


def lineage(found: dict[str, Any]) -> None:
    manifest = found["manifest"]
    console = out()
    console.print(f"{found['release']}, digest {found['digest'][:12]}, owner {manifest['owner']}")
    console.print(f"begun from: {', '.join(found['parents']) or 'the base'}")
    if "slice" not in manifest:
        console.print("made elsewhere: what it learned from, and of whom, is not known here")
        return
    console.print(f"rows: {found['rows']}; from {', '.join(f'{o} {n}' for o, n in found['origins'].items())}")
    if recipe := manifest.get("recipe"):
        told = (f"{name} {value}" for name, value in recipe.items() if name != "modules")
        console.print(f"recipe: {', '.join(told)}")
    console.print(inert(f"people in them: {', '.join(found['subjects']) or 'none named'}", 400))
    sources = [
        (s["release"], s["row"][:12], s["part"], s["source"] or s["origin"], s["subject"] or "")
        for s in found["sources"]
    ]
    table(("learned by", "row", "part", "source", "subject"), sources[:20])
    if len(sources) > 20:
        console.print(f"and {len(sources) - 20} more (--json lists all)")


def rebuilt(found: dict[str, Any]) -> None:
    same = "the same bytes" if found["same"] else "OTHER bytes"
    out().print(f"{found['release']} made again: {same} ({found['rebuilt'][:12]}, kept {found['adapter'][:12]})")
    for name, change in found["libraries"].items():
        out().print(f"{name} is {change['now']} now, and was {change['then']}")
