"""How the box is, for people, probes and metrics."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from appliance.engine.engine import BASE_LANE, STRIKES
from appliance.errors import StoreUnavailable
from appliance.http.box import Box
from appliance.store import jobs, timestamps

STUCK_SECONDS = 60.0  # one step of a large prompt on a slow machine takes a few


def alarms(box: Box) -> list[str]:
    """What a person has to look at."""
    found: list[str] = []
    if box.register is not None:
        found += box.register.alarms
        found += box.register.warnings
    if box.routers is not None and box.routers.fault is not None:
        found.append(box.routers.fault)
    if box.database.failing is not None:
        found.append(f"the log cannot be written: {box.database.failing}")
    if box.database.damage is not None:
        found.append(
            f"the database is damaged: stop the appliance and restore the last backup ({box.database.damage})"
        )
    if stuck(box):
        found.append("the engine has not moved for a minute")
    for lane in box.serving.engine.status() if box.serving else ():
        if lane.key == BASE_LANE and lane.strikes >= STRIKES:
            found.append(f"the base failed {lane.strikes} times in a row: start again")
    return found


def pending(box: Box) -> list[str]:
    """What waits for a person and harms nobody meanwhile: candidates, and jobs of the last day that failed and were
    not begun again."""
    named = box.register.table.named if box.register else {}
    waiting = [named[f"{cohort}@candidate"].name for cohort in box.config.cohorts if f"{cohort}@candidate" in named]
    found = [f"{name} waits to be judged: cohort promote {name}, or cohort reject {name}" for name in waiting]
    with suppress(StoreUnavailable), box.database.read() as connection:  # which is an alarm of its own
        for job in jobs.failed(connection, timestamps.in_days(-1)):
            whose = job.cohort or "all cohorts"
            found.append(f"{job.kind} of {whose} {job.state}: {job.error} (cohort job show {job.id})")
    return found


def stuck(box: Box) -> bool:
    """The engine thread hangs or is gone."""
    return box.serving is not None and time.monotonic() - box.serving.engine.heartbeat > STUCK_SECONDS


def status_of(box: Box) -> dict[str, Any]:
    """One JSON object; numbers are counts unless the name says otherwise."""
    base, serving = box.base, box.serving
    return {
        "phase": box.phase,
        "doing": box.doing,
        "base": base and {"id": base.id, "digest": base.digest, "format": base.format},
        "context_tokens": serving.context if serving else None,
        "router": _router(box),
        "live": {cohort: _live(box, cohort) for cohort in box.config.cohorts},
        "lanes": lanes(box),
        "waiting_requests": serving.engine.room.requests if serving else 0,
        "waiting_tokens": serving.engine.room.tokens if serving else 0,
        "open_without_keys": box.keys.open,
        "alarms": alarms(box),
        "pending": pending(box),
    }


def lanes(box: Box) -> list[dict[str, Any]]:
    """The resident releases and what they are doing."""
    if box.serving is None:
        return []
    names = {BASE_LANE: BASE_LANE, **(box.register.names if box.register else {})}
    return [
        {"release": names.get(lane.key, lane.key[:12]), "running": lane.running, "waiting": lane.waiting}
        for lane in box.serving.engine.status()
    ]


def gauges(box: Box) -> Iterable[tuple[str, str, dict[str, float]]]:
    """For the metrics: what is under way, by lane."""
    now = lanes(box)
    yield "cohort_requests_running", "Sequences decoding", {lane["release"]: lane["running"] for lane in now}
    yield "cohort_requests_waiting", "Sequences waiting", {lane["release"]: lane["waiting"] for lane in now}
    broken = box.serving.releases.out_of_service() if box.serving else {}
    yield "cohort_out_of_service", "1 for a release that cannot be served", dict.fromkeys(broken, 1)


def _router(box: Box) -> dict[str, Any] | None:
    """The text router in force."""
    found = box.routers.current if box.routers else None
    return None if found is None else {"version": found.version, "threshold": found.policy.classifier.threshold}


def _live(box: Box, cohort: str) -> str | None:
    live = box.register.table.live.get(cohort) if box.register else None
    return live.name if live else None
