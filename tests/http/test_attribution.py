"""Attribution and learning curves of a cohort on a model that learns in seconds, as an operator asks for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters import registry
from appliance import ablation, attribution, evaluation, judgement, learning_curve, report
from appliance.errors import ApplianceError
from appliance.jobs import Progress
from appliance.planning import frozen
from appliance.store.evaluations import Evaluation
from appliance.store.releases import Release
from appliance.store.slices import SliceRow
from tests.http.in_process import trained_here
from tests.http.learnable import SETTINGS, begun, brief, finished, material, retrained, rows
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
    assert legal["left_out"]["aggregate"].startswith("its minutes were over")
    assert f"no aggregate: {legal['left_out']['aggregate']}" in legal["says"]


@pytest.mark.usefixtures("attributed")
def test_the_aggregate_is_neither_trained_nor_chosen_by_what_is_an_eval_row_by_now(learning: Running) -> None:
    run = attribution.Attributing(learning.box.ready(), learning.box.material(), learning.home / "jobs", Progress())
    exam = judgement.prepared(run.material, list(run.serving.config.cohorts))
    before, none = run.learned(exam)["legal"]
    judged = [before.train[0], before.validation[0]]
    after, lost = run.learned(replace(exam, cohorts={**exam.cohorts, "support": judged}))["legal"]
    assert (none, lost) == (0, 1)
    assert (after.train, after.validation) == (before.train[1:], before.validation[1:])


@pytest.mark.usefixtures("attributed")
def test_unequal_chances_are_said(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the release's rows two are gone, of which one was learned from; and its own training was cut short."""
    gone = [SliceRow(part, "a" * 64, None, None, "imported") for part in ("train", "validation")]
    release = attribution.Attributing.release

    def hurried(run: attribution.Attributing, cohort: str) -> Release | None:
        live = release(run, cohort)
        return live and replace(live, manifest={**live.manifest, "training": {"ended": "its minutes are over"}})

    monkeypatch.setattr(attribution.Attributing, "release", hurried)
    monkeypatch.setattr(attribution, "frozen", lambda *of: (frozen(*of)[0], gone))
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert "; legal@1's own training ended with its minutes before its passes" in legal["says"]
    assert legal["says"].endswith("; the aggregate lacks rows that are gone, or eval rows by now: 1 of legal")


def test_without_the_training_packages(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for where there is something to compare, and where an aggregate is wanted."""
    monkeypatch.setitem(sys.modules, "datasketch", None)
    refused = finished(learning, begun(learning, "attribute", cohort="legal"))
    assert refused["state"] == "failed" and "make train-tools" in refused["error"]
    assert finished(learning, begun(learning, "attribute", cohort="legal", aggregate=False))["error"] is None
    (support,) = finished(learning, begun(learning, "attribute", cohort="support"))["result"]["cohorts"]
    assert "no live release" in support["says"]


@pytest.mark.usefixtures("attributed")
def test_an_aggregate_that_cannot_be_made_is_left_out(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failed(*_: object) -> ablation.Ablation:
        raise ApplianceError("training was stopped")

    monkeypatch.setattr(ablation, "trained", failed)
    (legal,) = finished(learning, begun(learning, "attribute", cohort="legal"))["result"]["cohorts"]
    assert legal["left_out"]["aggregate"] == "training was stopped"


@pytest.mark.parametrize("known", [True, False], ids=["known at start", "found when loaded"])
def test_a_release_before_that_cannot_be_served_is_left_out(
    known: bool,
    tmp_path: Path,
    tiny_base: Path,
    tiny_adapters: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written(tmp_path / "examples" / "legal" / "eval.jsonl", rows(0, 4))
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        digests = [appliance.release(adapter, "legal")["digest"] for adapter in tiny_adapters]
    (tmp_path / "home" / "releases" / digests[0] / "adapter.gguf").write_bytes(b"GGUF, once")
    if not known:
        monkeypatch.setattr(registry, "damage", lambda *_: None)
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        job = finished(appliance, begun(appliance, "attribute", cohort="legal", aggregate=False))
    assert job["error"] is None, job
    (legal,) = job["result"]["cohorts"]
    assert [one["arm"] for one in legal["against"]] == ["base"]
    assert legal["left_out"]["previous"].startswith("legal@1 cannot be served: ")
    assert f"; no previous: {legal['left_out']['previous']}" in legal["says"]


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


def test_what_judging_takes_counts_in_the_minutes(
    learning: Running, drawn: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainings alone would leave time for a second round."""
    judge = evaluation.evaluate

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
