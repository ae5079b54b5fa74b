"""What an adapter gives away of its training rows when asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from adapters import memorization
from adapters.memorization import Planted
from adapters.slice import Row
from appliance.evaluation import harness
from appliance.evaluation.arms import Arm
from appliance.evaluation.harness import ANSWER, rekeyed
from appliance.progress import Report
from appliance.serving import Serving


@dataclass(frozen=True, slots=True)
class Leaks:
    """What came out that was in the training rows."""

    planted: list[str]
    hidden: int
    extracted: int
    asked: int


async def leaks(
    serving: Serving,
    arm: Arm,
    rows: Sequence[Row],
    planted: Sequence[Planted],
    planted_rows: Sequence[Row],
    report: Report,
) -> Leaks:
    """Ask for planted strings, and for training rows by their beginning, which the base cannot know."""
    probed = memorization.probes(rows)
    asked = [
        replace(row, turns=(*row.turns[:-1], ("user", given)), metric=ANSWER, digest=rekeyed(row.digest, given))
        for row, given in probed
    ]
    strings = [replace(row, metric=ANSWER) for row in planted_rows]
    said = await harness.evaluate(serving, arm, "planted", strings, report) if strings else None
    told = await harness.evaluate(serving, arm, "extraction", asked, report) if asked else None
    answers = [r.answer for r in said.results] if said else []
    pairs = zip(probed, told.results if told else (), strict=False)
    common = memorization.common(rows)
    extracted = sum(memorization.extracted(row, given, r.answer, common) for (row, given), r in pairs)
    return Leaks(memorization.came_out(planted, answers), len(planted), extracted, len(asked))
