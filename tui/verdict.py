"""What came of a job, in lines. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from appliance.wire.router import VERDICTS
from tui import inert, words

Line = tuple[str, bool]  # and whether it is bad news
_SETTLED = {"better": "better", "worse": "WORSE", "replaceable": "within the margin"}
_CHECKS = 6  # validation losses that are told, the newest


def verdict(kind: str, result: dict[str, Any]) -> list[Line]:
    """Of a job of that kind; no lines without a result."""
    if not result:
        return []
    if kind == "curve":
        return [(says, False) for says in result.get("says", [])]
    if kind == "rebuild":
        return [(f"{result['release']}: {'the same bytes' if result['same'] else 'OTHER bytes'}", not result["same"])]
    if kind == "blame":
        return _blamed(result)
    if kind == "fit":
        return _fitted(result)
    found = result.get("cohorts", [result] if "cohort" in result else None)
    if found is None:  # of a kind that this console does not know
        return [(json.dumps(result, ensure_ascii=False), False)]
    return [line for one in found for line in _judged(one)]


def _blamed(result: dict[str, Any]) -> list[Line]:
    told = ", ".join(f"{result[name]} {says}" for name, says in VERDICTS.items() if result.get(name))
    lines = [f"{result['n']} answers that people did not like: {told}"]
    for one in result["requests"]:
        lines.append(f"  {one['request_id']}: {one['verdict']}; it went to {one['sent']}, right is {one['right']}")
    return [(line, False) for line in lines]


def _fitted(result: dict[str, Any]) -> list[Line]:
    rows = sum(result["rows"].values())
    lines = [(f"router@{result['version']} is {result['state']}; fitted to {rows} texts", bool(result["refusals"]))]
    return lines + [(f"  NO {why}", True) for why in result["refusals"]]


def _judged(one: dict[str, Any]) -> list[Line]:
    """A cohort's verdict, what stopped it, the scores it rests on, and what it passed: the first screen decides."""
    verdict = one.get("verdict", "")
    named = f"{one['cohort']}: {verdict}, release {one.get('release') or words.NONE}"
    reasons = [(f"{reason['check']}: {reason['says']}", reason["passed"]) for reason in one.get("reasons", [])]
    lines = [(named, verdict in ("fail", "parity"))]
    lines += [(f"  {says}", False) for says in (one.get("says", ""), *one.get("notes", ())) if says]
    lines += [(f"  NO {says}", True) for says, passed in reasons if not passed]
    lines += [(f"  {line}", False) for line in scores(one["cohort"], one.get("scores", {}))]
    lines += [(f"  {beside(arm)}", False) for arm in one.get("against", [])]
    return lines + [(f"  ok {says}", False) for says, passed in reasons if passed]


def scores(cohort: str, found: Mapping[str, dict[str, Any]]) -> list[str]:
    """A table, the cohort's own tasks first; of another cohort with its name. It fits into 76 columns."""
    if not found:
        return []
    lines = [_columns("task", "rows", "this % (95 %)", "base %", "before %", "gain, points")]
    for task, one in sorted(found.items(), key=lambda item: item[1]["cohort"] != cohort):
        whose = one["cohort"]
        name = task if whose in (cohort, task) or "/" in task else f"{whose}/{task}"
        this, base, before, low, high = (_of_100(one[at]) for at in ("candidate", "base", "previous", "low", "high"))
        gain = one.get("gain") or {}
        gained = (
            "{mean:+.1f} ({low:+.1f}/{high:+.1f})".format(**{n: 100 * v for n, v in gain.items()}) if gain else ""
        )
        this += f" ({low}-{high})" if one["candidate"] is not None else ""
        lines.append(_columns(name, str(one["n"]), this, base, before, gained))
    return lines


def _of_100(score: float | None) -> str:
    return words.NONE if score is None else f"{100 * score:.1f}"


def _columns(name: str, rows: str, this: str, base: str, before: str, gained: str) -> str:
    return f"{inert.plain(name, 13):<14}{rows:>5} {this:>17} {base:>6} {before:>8}  {gained}".rstrip()


def beside(arm: dict[str, Any]) -> str:
    """A release against what could stand in for it."""
    wins = arm["wins"]
    share = f"{words.percent(wins['mean'])} ({100 * wins['low']:.0f}-{100 * wins['high']:.0f})"
    settled = next((says for name, says in _SETTLED.items() if arm.get(name)), "open")
    told = f"{words.points(arm['mine'])} against {words.points(arm['theirs'])}"
    return f"{arm['arm']}: {settled}; {told}, {words.change(arm['gain'])}, wins {share}, {arm['n']} rows"


def losses(found: list[dict[str, Any]]) -> str:
    """How a training went; empty without one."""
    steps = [one for one in found if "loss" in one]
    checks = [one for one in found if "validation" in one]
    told = []
    if steps:
        first, last = steps[0], steps[-1]
        told.append(f"loss {first['loss']:.3f} to {last['loss']:.3f} at step {last['step']}")
    if checks:
        best = min(checks, key=lambda one: float(one["validation"]))
        shown = ", ".join(f"{one['validation']:.3f}" for one in checks[-_CHECKS:])
        told.append(f"of rows it did not see {shown}: best {best['validation']:.3f} at step {best['step']}")
    return "; ".join(told)
