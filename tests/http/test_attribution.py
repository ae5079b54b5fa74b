"""Attribution of cohorts on a model that learns in seconds, as an operator asks for them."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters import gates
from adapters.slice import Row, Slice
from adapters.training_job import CHECKPOINT
from appliance.attribution import aggregate, attribute, ground
from appliance.cli import report
from appliance.errors import ApplianceError, EngineFault
from appliance.evaluation import contamination, eval_sets, evidence
from appliance.evaluation.arms import Arm
from appliance.evaluation.contamination import Contamination, training_rows
from appliance.evaluation.evidence import ArmEvaluations
from appliance.evaluation.lineup import Lineup, lineups
from appliance.jobs import Progress
from appliance.serving import Serving
from appliance.store.releases import Release
from appliance.store.slices import SliceRow
from appliance.training import ablation
from appliance.training.planning import Planning, RetrainOptions
from tests.http.learnable import begun, finished
from tests.http.learned import learned
from tests.http.running import Json, Running


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    with learned(tmp_path_factory.mktemp("attribution"), tiny_base) as appliance:
        yield appliance


@pytest.fixture(scope="module")
def attributed(learning: Running) -> Json:
    job = finished(learning, begun(learning, "attribute"), patience=60)
    assert job["error"] is None, job
    result: Json = job["result"]
    return result


def of(result: Json, cohort: str) -> Json:
    (found,) = (one for one in result["cohorts"] if one["cohort"] == cohort)
    return dict(found)


def test_every_cohort_has_a_verdict_in_words(attributed: Json) -> None:
    legal, support = of(attributed, "legal"), of(attributed, "support")
    words = {"keep": "keep legal's adapter", "merge": "could be merged with all others", "undecided": "not settled"}
    assert words[legal["verdict"]] in legal["says"] and legal["release"] == "legal@1"
    steps = next(note for note in legal["notes"] if note.startswith("the aggregate learned from 1.3 times the rows"))
    assert re.fullmatch(r".* rows in (\d+) of \1 steps; this one made (\d+) of \2 steps", steps), steps
    assert any(note.startswith("breadth is held, general: ") for note in legal["notes"])
    assert support["verdict"] == "undecided" and "no live release" in support["says"]
    arms = {one["arm"]: one for one in legal["against"]}
    assert set(arms) == {"base", "prompted base", "aggregate"}, "there is no release before, and no neighbour has one"
    assert arms["base"]["better"] and arms["base"]["wins"]["mean"] > 0.85 and arms["base"]["n"] == 60
    assert arms["base"]["mine"] == of(attributed, "legal")["breadth"]["yes"]["candidate"]


def test_breadth_stands_beside_depth(attributed: Json) -> None:
    breadth = of(attributed, "legal")["breadth"]
    assert {one["cohort"] for one in breadth.values()} == {"legal", "support", "general"}
    assert breadth["general"]["metric"] == "likelihood"


def test_one_adapter_for_all_is_trained_once(learning: Running, attributed: Json) -> None:
    before = sorted(path.name for path in (learning.home / "jobs").iterdir())
    again = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]
    assert sorted(path.name for path in (learning.home / "jobs").iterdir()) == before
    assert of(again, "legal")["against"] == of(attributed, "legal")["against"]
    kept = {path.name for folder in (learning.home / "jobs").iterdir() for path in folder.iterdir()}
    assert "rows.jsonl" not in kept and "adapter.gguf" in kept, "what it was trained on does not stay"
    assert not [name for name in kept if name.endswith(".npz")], "nor megabytes that nothing is compared with again"


@pytest.mark.usefixtures("attributed")
def test_without_the_aggregate_none_is_trained(learning: Running) -> None:
    result = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]
    (legal,) = result["cohorts"]
    assert {one["arm"] for one in legal["against"]} == {"base", "prompted base"}
    neighbours = dict.fromkeys(("healthcare", "finance", "support", "coding"), "no release is live")
    assert legal["left_out"] == {"previous": "there was none", "aggregate": "it was not asked for", **neighbours}
    assert "no aggregate: it was not asked for" in legal["notes"]
    assert "no healthcare, finance, support, coding: no release is live" in legal["notes"]


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_cut_short_answers_nothing_and_is_said(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation.Ablation, "cut_short", True)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert {one["arm"] for one in legal["against"]} == {"base", "prompted base"}
    assert legal["left_out"]["aggregate"].startswith("its minutes, those of all cohorts, were over")
    assert (
        legal["verdict"] == "undecided"
        and "whether one adapter for all would do as well as legal's is not" in legal["says"]
    )
    assert f"no aggregate: {legal['left_out']['aggregate']}" in legal["notes"]


MADE = {"step": 7, "horizon": 9, "stopped_by": "patience"}


def same(live: Release) -> Release:
    return live


def together(
    learning: Running, change: Callable[[Release], Release] = same, **more: Sequence[Row]
) -> aggregate.Aggregate:
    """As if legal's release were another one, and beside the eval rows that there are, these of other cohorts."""
    serving, material = learning.box.ready(), learning.box.material()
    sets = eval_sets.eval_sets(material, list(serving.config.cohorts))
    sets = replace(sets, cohorts={**sets.cohorts, **more})
    live = {name: line.live and change(line.live) for name, line in lineups(serving).items()}
    return aggregate.Aggregate(serving, material, live, sets)


@pytest.mark.usefixtures("attributed")
def test_the_aggregate_is_neither_trained_nor_chosen_by_what_is_an_eval_row_by_now(learning: Running) -> None:
    before = together(learning).learned["legal"]
    judged = [before.slice.train[0], before.slice.validation[0]]
    after = together(learning, support=judged).learned["legal"]
    assert (before.lost, after.lost, after.instead) == (0, 1, "")
    assert (after.slice.train, after.slice.validation) == (before.slice.train[1:], before.slice.validation[1:])


@pytest.mark.usefixtures("attributed")
def test_it_watches_itself_by_one_row_of_those_it_learned_from_if_no_other_is_left(learning: Running) -> None:
    before = together(learning).learned["legal"]
    after = together(learning, support=before.slice.validation).learned["legal"]
    assert (after.lost, after.instead) == (1, "")
    assert (*after.slice.train, *after.slice.validation) == before.slice.train and len(after.slice.validation) == 1


@pytest.mark.usefixtures("attributed")
def test_today_s_rows_stand_for_those_that_are_gone(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate, "training_rows", lambda *_: (Slice("legal", (), ()), []))
    whole = together(learning)
    assert whole.learned["legal"].slice.train
    assert whole.unequal("legal", MADE)[0] == (
        "the aggregate learned from today's rows, where those of a release are gone, or eval rows by now: legal"
    )


@pytest.mark.usefixtures("attributed")
def test_a_release_that_was_made_elsewhere_may_have_had_other_chances(learning: Running) -> None:
    whole = together(learning, lambda live: replace(live, manifest={}, system_prompt="As it was."))
    assert whole.prompt("legal") == "As it was." and whole.prompt("support") == "You are support."
    why = "where a release was made elsewhere, from what is not known"
    today, *more = whole.unequal("legal", MADE)
    assert today == f"the aggregate learned from today's rows, {why}: legal"
    assert more == [
        "the aggregate learned from no rows, where no release is live: healthcare, finance, coding",
        "the aggregate learned from today's rows, where no release is live: support",
    ]
    assert whole.plan("coding") == "coding has no rows here that it could learn from"
    whole.learned["legal"] = replace(whole.learned["legal"], slice=Slice("legal", (), ()))
    assert f"the aggregate learned from no rows, {why}: legal" in whole.unequal("legal", MADE)


@pytest.mark.usefixtures("attributed")
def test_what_it_began_from_is_said(learning: Running) -> None:
    whole = together(learning, lambda live: replace(live, version=2, digest="b" * 64, parent=live.digest))
    began, steps, *_ = whole.unequal("legal", MADE)
    assert began == "legal@2 began from legal@1 and had its passes too, the aggregate from nothing"
    assert "rows in 7 of 9 steps, ended by its patience; this one made " in steps


@pytest.mark.usefixtures("attributed")
def test_unequal_chances_are_said(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the release's rows two are gone, of which one was learned from; and its own training was cut short."""
    gone = [SliceRow(part, "a" * 64, None, None, "imported") for part in ("train", "validation")]
    ended = {"training": {"stopped_by": "minutes"}}
    line = lineups(learning.box.ready())
    assert line["legal"].live is not None
    hurried = replace(line["legal"].live, manifest={**line["legal"].live.manifest, **ended})
    monkeypatch.setattr(ground, "lineups", lambda _: {**line, "legal": Lineup(hurried)})
    monkeypatch.setattr(aggregate, "training_rows", lambda *of: (training_rows(*of)[0], gone))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert any(note.startswith("legal@1's own training ended with its minutes before its") for note in legal["notes"])
    assert legal["notes"][-1] == "the aggregate lacks rows that are gone, or eval rows by now: 1 of legal"


@pytest.mark.usefixtures("attributed")
def test_rows_that_were_learned_from_count_for_nobody(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is live, and of what it stands beside."""
    known = [row.digest for row in learning.box.material().rows("legal", "eval")]
    monkeypatch.setattr(Contamination, "learned", lambda *_: frozenset(known[:2]))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]["cohorts"]
    assert {one["n"] for one in legal["against"]} == {58}
    assert "eval rows that do not count, since they were learned from, or nearly: 2 of legal@1" in legal["notes"]
    monkeypatch.setattr(Contamination, "learned", lambda *_: frozenset(known))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]["cohorts"]
    assert (legal["verdict"], legal["against"]) == ("undecided", []) and "shows anything" in legal["says"]


@pytest.mark.usefixtures("attributed")
def test_nor_in_the_evaluation_of_what_is_live(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [row.digest for row in learning.box.material().rows("legal", "eval")]
    monkeypatch.setattr(Contamination, "learned", lambda *_: frozenset(known[:12]))
    (legal,) = finished(learning, begun(learning, "evaluate", cohort="legal"))["result"]["cohorts"]
    says = [one["says"] for one in legal["reasons"] if one["check"] == "enough_rows"]
    assert says == [
        "48 eval rows of its own, 50 are needed",
        "eval rows that do not count, since they were learned from, or nearly: 12 of legal@1",
    ]
    assert legal["verdict"] == "insufficient"
    monkeypatch.undo()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "datasketch", None)
        (legal,) = finished(learning, begun(learning, "evaluate", cohort="legal"))["result"]["cohorts"]
    assert legal["verdict"] == "pass" and legal["reasons"][-1]["says"] == contamination.NOT_CHECKED


@pytest.mark.usefixtures("attributed")
def test_what_a_release_began_from_knows_it_knows(learning: Running) -> None:
    serving, material = learning.box.ready(), learning.box.material()
    release, learned = lineups(serving)["legal"].live, together(learning).learned["legal"].slice.train
    assert release is not None
    child = replace(release, digest="c" * 64, version=2, parent=release.digest, manifest={})
    stranger = replace(release, digest="d" * 64, version=3, manifest={})
    asked_loudly = replace(learned[0], digest="e" * 64, turns=(("user", learned[0].turns[-1][1].upper()),))
    other = replace(learned[1], digest="f" * 64, text="something else", turns=(("user", "something else entirely"),))
    known = Contamination(serving, material, [asked_loudly, other])
    assert known.learned(release) == known.learned(child) == {asked_loudly.digest}
    assert known.learned(stranger) == frozenset()


def test_what_its_minutes_ended_goes_on_when_it_may_take_more(learning: Running, tmp_path: Path) -> None:
    serving = learning.box.ready()
    planning = Planning(serving, learning.box.material(), RetrainOptions(cohort="legal", key_id=""))
    plan = ablation.of_a_part(planning, together(learning).learned["legal"].slice, 1.0, 7)

    def made(minutes: float) -> ablation.Ablation:
        given = replace(plan, minutes=minutes)
        return asyncio.run(ablation.find_or_train(serving, given, tmp_path, Progress(), lambda *_: None))

    short = made(1e-9)
    assert short.cut_short and short.told["step"] == 1 < short.told["horizon"]
    assert made(1e-9) == short, "with no more of them it is what it is"
    (folder,) = tmp_path.iterdir()
    assert (folder / CHECKPOINT).exists()
    whole = made(10.0)
    assert not whole.cut_short and whole.told["step"] == whole.told["horizon"] and whole.digest != short.digest
    assert not (folder / CHECKPOINT).exists() and made(1e-9) == whole


@pytest.mark.usefixtures("attributed")
def test_breadth_that_was_lost_is_named(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [gates.Reason("cohort_loss", False, "support: -20.0 points"), gates.Reason("guard_loss", True, "none")]
    monkeypatch.setattr(gates, "losses", lambda *_: reasons)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]["cohorts"]
    assert legal["notes"][-2:] == ["breadth is lost, support: -20.0 points", "breadth is held, none"]


def test_without_the_training_packages(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for where there is something to compare, and where an aggregate is wanted."""
    monkeypatch.setitem(sys.modules, "datasketch", None)
    refused = finished(learning, begun(learning, "attribute", cohort="legal"))
    assert refused["state"] == "failed" and "make train-tools" in refused["error"]
    unchecked = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))
    assert unchecked["result"]["cohorts"][0]["notes"][-1] == contamination.NOT_CHECKED
    (support,) = finished(learning, begun(learning, "attribute", cohort="support"))["result"]["cohorts"]
    assert "no live release" in support["says"]


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_that_cannot_be_made_is_left_out(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failed(*_: object) -> ablation.Ablation:
        raise ApplianceError("training was stopped")

    monkeypatch.setattr(ablation, "find_or_train", failed)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert legal["left_out"]["aggregate"] == "training was stopped" and legal["verdict"] == "undecided"


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_that_cannot_be_served_is_owed(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_arm = evidence.evaluate_arm

    async def refused(serving: Serving, arm: Arm, *more: Any) -> ArmEvaluations:  # noqa: ANN401
        if arm.name == "aggregate":
            raise EngineFault("no", code="adapter_refused")
        return await evaluate_arm(serving, arm, *more)

    monkeypatch.setattr(evidence, "evaluate_arm", refused)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert legal["left_out"]["aggregate"] == "aggregate cannot be served: no" and legal["verdict"] == "undecided"


@pytest.mark.usefixtures("attributed")
def test_nothing_is_released(learning: Running) -> None:
    assert [r["version"] for r in learning.operated("GET", "/releases")] == [1]


def test_an_unknown_cohort_is_refused_before_a_job(learning: Running) -> None:
    for kind in ("attribute", "curve"):
        reply = learning.operator("POST", f"/{kind}", {"cohort": "legl"})
        assert reply.status_code == 404 and reply.json()["error"]["param"] == "cohort"


def test_its_page_has_its_pictures_and_escapes_what_it_quotes(attributed: Json) -> None:
    page = report.attribution(attributed)
    assert "legal@1" in page and "<th>breadth" in page
    (legal,) = (one for one in attributed["cohorts"] if one["release"])
    assert page.count("<svg") == 2 + bool(legal["forms"]), "gain, breadth and forms"
    wins = legal["against"][0]["wins"]
    assert f"{100 * wins['mean']:.1f} % ({100 * wins['low']:.1f} to {100 * wins['high']:.1f})" in page
    scores = {"base_as_it_stands": 0.2, "base": 0.1, "as_it_stands": 0.9, "release": 0.5}
    form = {"n": 9, **scores, "change": {"mean": -0.4, "low": -1, "high": 0}}
    told = {**attributed, "cohorts": [{**legal, "forms": {"reordered<b>": form}}]}
    assert report.attribution(told).count("<svg") == 3 and "<b>" not in report.attribution(told)


@pytest.mark.usefixtures("attributed")
def test_of_which_releases_nobody_knows_what_they_learned_from(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, material = learning.box.ready(), learning.box.material()
    found = ground.Ground.of(serving, material, ["legal"], aggregate=False)
    assert found.unchecked("legal", []) == []
    monkeypatch.setattr(Contamination, "gone", lambda *_: 3)
    (gone,) = found.unchecked("legal", [])
    assert gone.startswith("3 rows that legal@1 learned from are gone")
    line = found.lines["legal"]
    assert line.live is not None
    elsewhere = {**found.lines, "legal": replace(line, live=replace(line.live, manifest={}))}
    monkeypatch.undo()
    told = "what legal@1 learned from is not known, so its scores may be memory"
    assert told in replace(found, lines=elsewhere).unchecked("legal", [])


def test_a_merge_names_who_is_better_alone() -> None:
    against = {"arm": "aggregate", "better": True}
    alone: Json = {"cohort": "support", "verdict": "keep", "merge_with": None, "against": [against], "notes": []}
    merged: Json = {"cohort": "legal", "verdict": "merge", "merge_with": None, "against": [], "notes": []}
    with_one: Json = {**merged, "merge_with": "support", "notes": []}
    attribute._contradicted([alone, merged, with_one])
    assert merged["notes"] == ["proven better with an adapter of their own: support"]
    assert alone["notes"] == with_one["notes"] == []
