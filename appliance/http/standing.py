"""Where a cohort stands: how good what is live is, until when that is to be trusted, and what to do next. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.lifecycle import WAITING
from appliance.store.releases import Release


def standing(cohort: str, releases: Sequence[Release], trouble: str | None, now: str) -> dict[str, Any]:
    """Of the cohort's own `releases`; `trouble` is of the live one. `score` holds means of 1 over the rows of its own
    tasks, `due` is a moment, and `next` a step, told to people, with the command for it."""
    live = next((release for release in releases if release.state == "live"), None)
    due: str | None = live.manifest.get("revalidate") if live else None
    overdue = due is not None and due <= now
    return {
        "score": _score(live) if live else None,
        "due": due,
        "overdue": overdue,
        "next": _next(cohort, releases, live, trouble, due if overdue else None),
    }


def _score(live: Release) -> dict[str, float | None] | None:
    """None for a release made elsewhere, which nobody has judged."""
    own = [one for one in live.manifest.get("scores", {}).values() if one["cohort"] == live.cohort]
    if not own:
        return None
    return {arm: _mean(own, arm) for arm in ("candidate", "base", "previous")}


def _mean(tasks: Sequence[dict[str, Any]], arm: str) -> float | None:
    if any(task.get(arm) is None for task in tasks):
        return None
    return round(float(sum(task[arm] * task["n"] for task in tasks) / sum(task["n"] for task in tasks)), 4)


def _next(
    cohort: str, releases: Sequence[Release], live: Release | None, trouble: str | None, late: str | None
) -> dict[str, str | None]:
    waiting = max((r for r in releases if r.state in WAITING), key=lambda r: r.version, default=None)
    if waiting is not None:
        older = ", older than what is live" if live and waiting.version < live.version else ""
        return _step(
            "judge", f"judge {waiting.name}{older}", f"cohort promote {waiting.name} or cohort reject {waiting.name}"
        )
    if live is None:
        return _step("train", "train it", f"cohort retrain {cohort}")
    if trouble:
        return _step("look", f"{live.name}: {trouble}", f"cohort show {live.name}")
    if late:
        return _step("retrain", f"retrain, due {late[:10]}", f"cohort retrain {cohort}")
    return _step(None, "", None)


def _step(step: str | None, says: str, command: str | None) -> dict[str, str | None]:
    return {"step": step, "says": says, "command": command}
