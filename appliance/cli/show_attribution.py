"""What attribution and learning curves print for people."""

from __future__ import annotations

from typing import Any

from appliance.cli.show import inert, out, points, table

UNASKED = "asked otherwise: not checked, for no eval row has a text of its own beside one instruction"
LONGEST = 500  # of a line
FORMS = ("base_as_it_stands", "base", "as_it_stands", "release")
VERDICTS = {"keep": "KEEP", "base": "COLLAPSE INTO THE BASE", "merge": "MERGE", "undecided": "UNDECIDED"}


def attributed(found: dict[str, Any]) -> None:
    for one in found["cohorts"]:
        out().print(f"\n{one['cohort']}: {one['release'] or 'no live release'}")
        _against(one)
        _tasks(one)
        _breadth(one)
        _forms(one)
        out().print(inert(f"{VERDICTS[one['verdict']]}: {one['says']}", LONGEST))
        for line in one["notes"]:
            out().print(inert(f"  {line}", LONGEST))


def _against(one: dict[str, Any]) -> None:
    rows = [
        (
            a["arm"],
            a["n"],
            points(a["mine"]),
            points(a["theirs"]),
            f"{a['wins']['mean']:.0%} ({a['wins']['low']:.0%}-{a['wins']['high']:.0%})",
            _change(a["gain"]),
            settled(a),
        )
        for a in one["against"]
    ]
    if rows:
        table(("against", "rows", "this", "other", "wins (95 %)", "gain (95 %), points", "proven"), rows)


def settled(against: dict[str, Any]) -> str:
    """What is proven of the release beside another arm."""
    if against["better"]:
        return "better"
    if against["worse"]:
        return "WORSE"
    return "within margin" if against["replaceable"] else f"open: {against['needed'] or 'no number of'} rows"


def _tasks(one: dict[str, Any]) -> None:
    rows = [
        (arm, task, t["n"], points(t["mine"]), points(t["theirs"]), _change(t["gain"]))
        for arm, tasks in one["tasks"].items()
        for task, t in tasks.items()
    ]
    if rows:
        table(("against", "task", "rows", "this", "other", "gain (95 %), points"), rows)


def _breadth(one: dict[str, Any]) -> None:
    rows = [
        (
            s["cohort"],
            task,
            s["metric"],
            s["n"],
            points(s["base"]),
            points(s["candidate"]),
            _change(s["gain"]) if "gain" in s else "",
        )
        for task, s in one["breadth"].items()
    ]
    if rows:
        table(("breadth", "task", "metric", "rows", "before (base)", "after", "change (95 %), points"), rows)


def _forms(one: dict[str, Any]) -> None:
    rows = [
        (name, f["n"], *(points(f[arm]) for arm in FORMS), _change(f["change"])) for name, f in one["forms"].items()
    ]
    if rows:
        columns = ("base as it stands", "base so", "as it stands", "so")
        table(("asked otherwise", "rows", *columns, "change (95 %), points"), rows)
    elif one["breadth"]:
        out().print(UNASKED)


def curve(found: dict[str, Any]) -> None:
    steps = steps_by_rows(found["trainings"])
    rows = [("0 (the base)", "", points(found["base"]), "", "")]
    rows += [
        (
            str(level["rows"]),
            steps[level["rows"]],
            points(level["score"]["mean"]),
            f"{points(level['score']['low'])} to {points(level['score']['high'])}",
            ", ".join(points(mean) for mean in level["seeds"]),
        )
        for level in found["levels"]
    ]
    table(("rows", "steps", "score", "95 %", "of each seed"), rows)
    for line in found["says"]:
        out().print(inert(line, 300))
    out().print(f"{len(found['trainings'])} trainings, {found['seconds']:.0f} s in all")


def steps_by_rows(trainings: list[dict[str, Any]]) -> dict[int, str]:
    """Of each seed, where they differ."""
    found: dict[int, list[str]] = {}
    for one in trainings:
        found.setdefault(one["rows"], []).append(str(one["steps"]))
    return {rows: ", ".join(dict.fromkeys(steps)) for rows, steps in found.items()}


def _change(change: dict[str, float]) -> str:
    return f"{100 * change['mean']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})"
