"""Where a cohort stands, and what to do next."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.http.standing import standing
from appliance.store.releases import Release, State

NOW = "2026-11-22T12:00:00.000000+00:00"
PAST, TO_COME = "2026-11-22T11:59:59.000000+00:00", "2026-12-01T00:00:00.000000+00:00"


def release(version: int, state: State, **manifest: Any) -> Release:  # noqa: ANN401 - any JSON value
    return Release(
        digest=f"d{version}",
        cohort="legal",
        state=state,
        adapter_digest="a",
        template_digest="t",
        base_digest="b",
        system_prompt="",
        created=NOW,
        gated=True,
        manifest=manifest,
        version=version,
    )


def task(
    n: int, candidate: float, base: float, previous: float | None = None, cohort: str = "legal"
) -> dict[str, Any]:
    return {"cohort": cohort, "n": n, "candidate": candidate, "base": base, "previous": previous}


LIVE = release(2, "live", revalidate=TO_COME)

# name: (releases, trouble, step, says, command)
CASES: dict[str, tuple[list[Release], str | None, str | None, str, str | None]] = {
    "nothing yet": ([], None, "train", "train it", "cohort retrain legal"),
    "rolled back to the base": ([release(1, "retired")], None, "train", "train it", "cohort retrain legal"),
    "all is well": ([LIVE, release(1, "retired")], None, None, "", None),
    "the newest candidate first": (
        [release(4, "candidate"), release(3, "candidate"), release(2, "live", revalidate=PAST)],
        "it cannot be served",
        "judge",
        "judge legal@4",
        "cohort promote legal@4 or cohort reject legal@4",
    ),
    "trouble": (
        [LIVE],
        "it cannot be served: gone",
        "look",
        "legal@2: it cannot be served: gone",
        "cohort show legal@2",
    ),
    "past its day": (
        [release(2, "live", revalidate=PAST)],
        None,
        "retrain",
        "retrain, due 2026-11-22",
        "cohort retrain legal",
    ),
    "made elsewhere": ([release(1, "live")], None, None, "", None),
}


@pytest.mark.parametrize(("releases", "trouble", "step", "says", "command"), CASES.values(), ids=CASES)
def test_what_to_do_next(
    releases: list[Release], trouble: str | None, step: str | None, says: str, command: str | None
) -> None:
    assert standing("legal", releases, trouble, NOW)["next"] == {"step": step, "says": says, "command": command}


@pytest.mark.parametrize(("due", "overdue"), [(PAST, True), (NOW, True), (TO_COME, False)])
def test_when_it_is_due(due: str, overdue: bool) -> None:
    found = standing("legal", [release(2, "live", revalidate=due)], None, NOW)
    assert (found["due"], found["overdue"]) == (due, overdue)


def test_the_score_is_the_mean_over_its_own_rows() -> None:
    scores = {
        "clause": task(30, 0.8, 0.0, 0.6),
        "duty": task(10, 0.4, 0.2, 0.6),
        "general": task(99, 0.1, 0.1, cohort="general"),
    }
    told = standing("legal", [release(2, "live", scores=scores)], None, NOW)
    assert told["score"] == {"candidate": 0.7, "base": 0.05, "previous": 0.6}
    first = {"clause": task(30, 0.8, 0.0)}
    assert standing("legal", [release(1, "live", scores=first)], None, NOW)["score"]["previous"] is None
    assert standing("legal", [release(1, "live")], None, NOW)["score"] is None
    assert standing("legal", [release(1, "candidate", scores=scores)], None, NOW)["score"] is None
