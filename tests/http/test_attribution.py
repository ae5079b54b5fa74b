"""Attribution and learning curves of a cohort on a model that learns in seconds, as an operator asks for them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters import gates
from adapters.slice import NearDuplicates, Row, Slice
from appliance.attribution import aggregate, attribute, learning_curve
from appliance.cli import report
from appliance.errors import ApplianceError, EngineFault
from appliance.evaluation import harness, judgement
from appliance.evaluation.harness import Arm
from appliance.evaluation.judgement import ArmEvaluations
from appliance.evaluation.lineup import Lineup, lineups
from appliance.serving import Serving
from appliance.store.evaluations import Evaluation
from appliance.store.releases import Release
from appliance.store.slices import SliceRow
from appliance.training import ablation
from appliance.training.planning import frozen
from appliance.training.trainer import Plan
from tests.http.in_process import trained_here
from tests.http.learnable import SETTINGS, begun, brief, finished, material, retrained
from tests.http.routed import written
from tests.http.running import Json, Running, running

PARTS = (0.5, 1.0)


@pytest.fixture(scope="module")
def learning(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    """legal@1 was trained here and is live; support has no release."""
    folder = tmp_path_factory.mktemp("attribution")
    for (cohort, split), lines in material().items():
        written(folder / "examples" / cohort / f"{split}.jsonl", lines)
    with running(folder, tiny_base, SETTINGS) as appliance, brief(), trained_here():
        assert retrained(appliance)["release"] == "legal@1"
        yield appliance


@pytest.fixture(scope="module")
def attributed(learning: Running) -> Json:
    job = finished(learning, begun(learning, "attribute"), patience=60)
    assert job["error"] is None, job
    result: Json = job["result"]
    return result


@pytest.fixture(scope="module")
def drawn(learning: Running) -> Iterator[Json]:
    """Of two parts: a training takes ten seconds even here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curve, "SHARES", PARTS)
        yield _drawn(learning)


def _drawn(learning: Running) -> Json:
    job = finished(learning, begun(learning, "curve", cohort="legal"), patience=60)
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
    assert support["verdict"] == "undecided" and "no live release" in support["says"]
    arms = {one["arm"]: one for one in legal["against"]}
    assert set(arms) == {"base", "aggregate"}, "there is no release before, and no neighbour has one"
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


@pytest.mark.usefixtures("attributed")
def test_without_the_aggregate_none_is_trained(learning: Running) -> None:
    result = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]
    (legal,) = result["cohorts"]
    assert {one["arm"] for one in legal["against"]} == {"base"}
    neighbours = dict.fromkeys(("healthcare", "finance", "support", "coding"), "no release is live")
    assert legal["left_out"] == {"previous": "there was none", "aggregate": "it was not asked for", **neighbours}
    assert "; no aggregate: it was not asked for" in legal["says"]
    assert "; no healthcare, finance, support, coding: no release is live" in legal["says"]


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_cut_short_answers_nothing_and_is_said(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation.Ablation, "cut_short", True)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert {one["arm"] for one in legal["against"]} == {"base"}
    assert legal["left_out"]["aggregate"].startswith("its minutes, those of all cohorts, were over")
    assert legal["verdict"] == "undecided" and "whether one adapter for all would do as well is not" in legal["says"]
    assert f"no aggregate: {legal['left_out']['aggregate']}" in legal["says"]


def same(live: Release) -> Release:
    return live


def together(
    learning: Running, change: Callable[[Release], Release] = same, **more: Sequence[Row]
) -> aggregate.Aggregate:
    """As if legal's release were another one, and beside the eval rows that there are, these of other cohorts."""
    serving, material = learning.box.ready(), learning.box.material()
    sets = judgement.eval_sets(material, list(serving.config.cohorts))
    sets = replace(sets, cohorts={**sets.cohorts, **more})
    live = {name: line.live and change(line.live) for name, line in lineups(serving).items()}
    return aggregate.Aggregate(serving, material, live, sets, aggregate.of_eval_rows(sets))


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
    monkeypatch.setattr(aggregate, "frozen", lambda *_: (Slice("legal", (), ()), []))
    whole = together(learning)
    assert whole.learned["legal"].slice.train
    assert whole.unequal("legal") == [
        "the aggregate learned from today's rows of legal: those of legal@1 are gone, or eval rows by now"
    ]


@pytest.mark.usefixtures("attributed")
def test_a_release_that_was_made_elsewhere_may_have_had_other_chances(learning: Running) -> None:
    whole = together(learning, lambda live: replace(live, manifest={}, system_prompt="As it was."))
    assert whole.prompt("legal") == "As it was." and whole.prompt("support") == "You are support."
    why = "legal@1 was made elsewhere, from what is not known"
    assert whole.unequal("legal") == [f"the aggregate learned from today's rows of legal: {why}"]
    assert whole.plan("coding") == "coding has no rows here that it could learn from"
    whole.learned["legal"] = replace(whole.learned["legal"], slice=Slice("legal", (), ()))
    assert whole.unequal("legal") == [f"the aggregate learned from no rows of legal: {why}"]


@pytest.mark.usefixtures("attributed")
def test_what_it_began_from_is_said(learning: Running) -> None:
    whole = together(learning, lambda live: replace(live, version=2, digest="b" * 64, parent=live.digest))
    assert whole.unequal("legal") == ["legal@2 began from legal@1 and had its passes too, the aggregate from nothing"]


@pytest.mark.usefixtures("attributed")
def test_unequal_chances_are_said(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the release's rows two are gone, of which one was learned from; and its own training was cut short."""
    gone = [SliceRow(part, "a" * 64, None, None, "imported") for part in ("train", "validation")]
    ended = {"training": {"ended": "its minutes are over"}}
    line = lineups(learning.box.ready())
    assert line["legal"].live is not None
    hurried = replace(line["legal"].live, manifest={**line["legal"].live.manifest, **ended})
    monkeypatch.setattr(attribute, "lineups", lambda _: {**line, "legal": Lineup(hurried)})
    monkeypatch.setattr(aggregate, "frozen", lambda *of: (frozen(*of)[0], gone))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert "; legal@1's own training ended with its minutes before its passes" in legal["says"]
    assert legal["says"].endswith("; the aggregate lacks rows that are gone, or eval rows by now: 1 of legal")


@pytest.mark.usefixtures("attributed")
def test_rows_that_were_learned_from_are_named(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """They came into an eval set after the training."""
    learned = together(learning).learned["legal"].slice.train[:2]
    monkeypatch.setattr(aggregate, "of_eval_rows", lambda _: NearDuplicates(learned))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]["cohorts"]
    assert legal["says"].endswith("; rows learned from are eval rows by now, or nearly: 2 of legal@1")


@pytest.mark.usefixtures("attributed")
def test_what_a_rival_learned_from_matters_among_the_rows_it_is_asked(learning: Running) -> None:
    """And what it began from knows, it knows."""
    release, learned = lineups(learning.box.ready())["legal"].live, together(learning).learned["legal"].slice.train
    assert release is not None
    child = replace(release, digest="c" * 64, version=2, parent=release.digest, manifest={})
    contamination = aggregate.Contamination(
        learning.box.ready(), learning.box.material(), NearDuplicates(learned[:3])
    )
    unlearned = replace(release, digest="d" * 64, version=3, manifest={})
    counts = "rows learned from are eval rows by now, or nearly: "
    assert contamination.says(unlearned, [child], learned[:1]) == [f"{counts}1 of legal@2"]
    assert contamination.says(child, [release], learned[1:3]) == [f"{counts}3 of legal@2, 2 of legal@1"]
    assert contamination.says(unlearned, [child], learned[10:]) == []


@pytest.mark.usefixtures("attributed")
def test_breadth_that_was_lost_is_named(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = [gates.Reason("cohort_loss", False, "support: -20.0 points"), gates.Reason("guard_loss", True, "none")]
    monkeypatch.setattr(gates, "losses", lambda *_: reasons)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["result"]["cohorts"]
    assert legal["says"].endswith("; breadth is lost, support: -20.0 points")


def test_without_the_training_packages(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for where there is something to compare, and where an aggregate is wanted."""
    monkeypatch.setitem(sys.modules, "datasketch", None)
    refused = finished(learning, begun(learning, "attribute", cohort="legal"))
    assert refused["state"] == "failed" and "make train-tools" in refused["error"]
    unchecked = finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))
    assert unchecked["result"]["cohorts"][0]["says"].endswith(f"; {attribute.NO_TOOLS}")
    (support,) = finished(learning, begun(learning, "attribute", cohort="support"))["result"]["cohorts"]
    assert "no live release" in support["says"]


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_that_cannot_be_made_is_left_out(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failed(*_: object) -> ablation.Ablation:
        raise ApplianceError("training was stopped")

    monkeypatch.setattr(ablation, "trained", failed)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert legal["left_out"]["aggregate"] == "training was stopped" and legal["verdict"] == "undecided"


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_that_cannot_be_served_is_owed(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_arm = judgement.evaluate_arm

    async def refused(serving: Serving, arm: Arm, *more: Any) -> ArmEvaluations:  # noqa: ANN401
        if arm.name == "aggregate":
            raise EngineFault("no", code="adapter_refused")
        return await evaluate_arm(serving, arm, *more)

    monkeypatch.setattr(judgement, "evaluate_arm", refused)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert legal["left_out"]["aggregate"] == "aggregate cannot be served: no" and legal["verdict"] == "undecided"


@pytest.mark.usefixtures("attributed", "drawn")
def test_nothing_is_released(learning: Running) -> None:
    assert [r["version"] for r in learning.operated("GET", "/releases")] == [1]


def test_a_curve_has_its_levels_and_words(drawn: Json) -> None:
    rows = [level["rows"] for level in drawn["levels"]]
    assert rows == sorted(rows) and len(rows) == 2 and rows[1] == pytest.approx(2 * rows[0], abs=1)
    assert drawn["levels"][-1]["score"]["mean"] > 0.7 and drawn["base"] == 0.0
    assert drawn["enough"] in rows and drawn["best"] in rows and drawn["says"]
    assert [one["share"] for one in drawn["trainings"]] == list(PARTS)


def test_a_second_seed_finds_the_first_done(learning: Running, drawn: Json) -> None:
    result = finished(learning, begun(learning, "curve", cohort="legal", seeds=2, minutes=0.001), patience=60)[
        "result"
    ]
    assert result["levels"] == drawn["levels"], "no second round is begun beyond the minutes"
    assert result["seconds"] < drawn["seconds"]


def test_a_part_that_takes_too_long_leaves_the_smaller_ones(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [level["rows"] for level in drawn["levels"]]
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    monkeypatch.setattr(ablation.Ablation, "cut_short", property(lambda made: made.rows == rows[1]))
    result = _drawn(learning)
    assert result["levels"] == drawn["levels"][:1]
    assert result["says"][-1].startswith(f"a training on {rows[1]} rows ended with its minutes")


def test_a_part_that_fails_leaves_the_smaller_ones(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = drawn["levels"][1]["rows"]
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    made = ablation.trained

    async def failing(serving: Serving, plan: Plan, *more: Any) -> ablation.Ablation:  # noqa: ANN401
        if len(plan.slice.train) == most:
            raise ApplianceError("its loss is no number")
        return await made(serving, plan, *more)

    monkeypatch.setattr(ablation, "trained", failing)
    result = _drawn(learning)
    assert result["levels"] == drawn["levels"][:1]
    assert result["says"][-1] == f"the training on {most} rows, seed 1, failed: its loss is no number"


def test_what_judging_takes_counts_in_the_minutes(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainings alone would leave time for a second round."""
    judge = harness.evaluate

    async def slow(*asked: Any) -> Evaluation:  # noqa: ANN401
        return replace(await judge(*asked), seconds=9000.0)

    monkeypatch.setattr(learning_curve, "evaluate", slow)
    monkeypatch.setattr(learning_curve, "SHARES", PARTS)
    result = finished(learning, begun(learning, "curve", cohort="legal", seeds=2, minutes=200))["result"]
    assert result["levels"] == drawn["levels"]
    assert [one["took"] >= 9000 + one["seconds"] for one in result["trainings"]] == [True, True]


def test_a_cohort_without_rows_is_refused_by_name(learning: Running) -> None:
    job = finished(learning, begun(learning, "curve", cohort="coding"))
    assert job["state"] == "failed" and "coding has no eval rows: cohort import" in job["error"]


def test_an_unknown_cohort_is_refused_before_a_job(learning: Running) -> None:
    for kind in ("attribute", "curve"):
        reply = learning.operator("POST", f"/{kind}", {"cohort": "legl"})
        assert reply.status_code == 404 and reply.json()["error"]["param"] == "cohort"


def test_pages_have_their_pictures_and_escape_what_they_quote(attributed: Json, drawn: Json) -> None:
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
    hostile = {**drawn, "cohort": "<script>alert(1)</script>"}
    assert "<script>" not in report.curve(hostile) and report.curve(hostile).count("<svg") == 1
