"""What changed from one release to another."""

from __future__ import annotations

from appliance.training import lineage
from tests.store.samples import release


def test_scores_are_those_of_a_cohort_s_task() -> None:
    """Whichever cohort has the task without its name before it."""
    was = {"-": {"cohort": "health", "candidate": 0.8}, "legal/-": {"cohort": "legal", "candidate": 0.1}}
    now = {"-": {"cohort": "legal", "candidate": 0.2}, "health/-": {"cohort": "health", "candidate": 0.9}}
    assert lineage._scores(release(manifest={"scores": was})) == {"health/-": 0.8, "legal/-": 0.1}
    assert lineage._scores(release(manifest={"scores": now})) == {"legal/-": 0.2, "health/-": 0.9}
    assert lineage._scores(release(manifest={})) == {}
