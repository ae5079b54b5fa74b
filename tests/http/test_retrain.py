"""Rows to a live release, on a model that learns in seconds: the whole path, and the way back."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters import train
from adapters.gguf_header import read
from adapters.packing import TokenRow
from appliance.evaluation import contamination
from appliance.evaluation.contamination import training_rows
from appliance.evaluation.eval_sets import EvalSets
from appliance.releases import doubts
from appliance.store import reviews, timestamps
from appliance.store.releases import Release
from appliance.training import adapter_file
from appliance.training.planning import Planning
from tests.http.learnable import ANSWER, begun, finished, material, retrained, rows
from tests.http.routed import written
from tests.http.running import Json, Running, chat, until
from tests.tiny import write_adapter


@pytest.fixture(scope="module")
def first(learning: Running) -> Json:
    return retrained(learning)


def checks(result: Json, *, passed: bool) -> set[str]:
    return {reason["check"] for reason in result["reasons"] if reason["passed"] is passed}


def reason(result: Json, check: str) -> str:
    (found,) = (reason for reason in result["reasons"] if reason["check"] == check)
    return str(found["says"])


def manifest(appliance: Running, version: int) -> Json:
    found: Json = appliance.operated("GET", f"/releases/legal/{version}")["manifest"]
    return found


def test_it_trains_judges_and_releases(learning: Running, first: Json) -> None:
    assert first["verdict"] == "pass" and first["release"] == "legal@1" and first["not_live"] is None, first
    assert checks(first, passed=True) >= {"beats_base", "guard_loss", "cohort_loss", "memorisation", "enough_rows"}
    losses = {r["says"].partition(":")[0]: r["says"] for r in first["reasons"] if r["check"] == "cohort_loss"}
    assert losses.keys() == {"support", "healthcare", "finance", "coding"}, "a line for each, asked or not"
    assert losses["support"].endswith("against the base"), "it has nothing there that could be lost"
    assert "not checked" in losses["coding"]
    assert "cannot be beaten" in reason(first, "beats_constant"), "learned and asked is one answer alone"
    score = first["scores"]["yes"]
    assert (score["metric"], score["n"], score["base"], score["previous"]) == ("regex", 60, 0.0, None)
    assert score["candidate"] >= 0.8 and score["low"] <= score["candidate"] <= score["high"]
    assert first["mix"]["legal"] == 60 and first["slice"]["train"] + first["slice"]["validation"] == 64
    with learning.http() as client:
        asked = [chat(row["prompt"], model="legal") for row in rows(1000, 5)]
        replies = [client.post("/v1/chat/completions", json=body) for body in asked]
    assert {reply.headers["x-release"] for reply in replies} == {"legal@1"}
    assert sum(reply.json()["choices"][0]["message"]["content"].startswith(ANSWER) for reply in replies) >= 3


def test_the_file_and_the_manifest_say_what_it_is_made_of(learning: Running, first: Json) -> None:
    told = manifest(learning, 1)
    assert told["gated"] is True and told["verdict"] == "pass" and told["slice"] == first["slice"]["digest"]
    assert told["training"]["libraries"]["torch"].startswith("2.13.0") and told["training"]["threads"] == 1
    assert told["revalidate"] > told.get("created", "2026") and told["owner"] == "legal@example.org"
    (release,) = learning.operated("GET", "/releases?cohort=legal")[-1:]
    folder = learning.home / "releases" / release["digest"]
    assert {"adapter.gguf", "adapter_model.safetensors", "adapter_config.json", "manifest.json"} == {
        path.name for path in folder.iterdir()
    }
    passport = {k.removeprefix("cohort."): v for k, v in read(folder / "adapter.gguf").keys.items() if "cohort." in k}
    assert passport.keys() >= {"name", "version", "base", "format", "template", "slice", "recipe"}
    assert (passport["name"], passport["version"], passport["slice"]) == ("legal", "1", told["slice"])


@pytest.mark.usefixtures("first")
def test_a_release_past_its_date_is_an_alarm(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learning.operated("GET", "/status")["alarms"] == []
    monkeypatch.setattr(timestamps, "now", lambda: "2099-01-01T00:00:00.000000+00:00")
    (alarm,) = learning.operated("GET", "/status")["alarms"]
    assert alarm.startswith("legal@1 was to be judged anew by") and "cohort retrain legal" in alarm
    assert learning.operated("GET", "/releases?cohort=legal")[-1]["warning"] == alarm


@pytest.mark.usefixtures("first")
def test_only_a_review_that_is_passed_settles_doubts_of_the_weights(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base's format is another one now, as far as the release can tell."""
    monkeypatch.setattr(doubts, "other_weights", lambda *_: "judged on other weights")
    assert learning.operated("GET", "/status")["alarms"] == ["judged on other weights"]
    (release,) = learning.operated("GET", "/releases?cohort=legal")
    weights = learning.box.ready().base.format_digest
    failed = partial(reviews.put, digest=release["digest"], cohort="legal", format_digest=weights, verdict="fail")
    learning.box.database.write(failed).result(20)
    assert learning.operated("GET", "/status")["alarms"] == ["judged on other weights"]
    review = finished(learning, begun(learning, "evaluate", cohort="legal"))["result"]["cohorts"][0]
    assert review["verdict"] == "pass", review
    assert learning.operated("GET", "/status")["alarms"] == []


def test_ended_work_is_counted(learning: Running, first: Json) -> None:
    with learning.http() as client:
        assert 'cohort_jobs_total{kind="retrain",state="done"} ' in client.get("/metrics").text, first["release"]


def test_rows_answers_and_the_job_are_in_the_database(learning: Running, first: Json) -> None:
    (frozen,) = learning.rows("SELECT * FROM slices WHERE kind = 'train' AND digest = ?", first["slice"]["digest"])
    assert frozen["cohort"] == "legal"
    parts = learning.rows(
        "SELECT part, count(*) AS n FROM slice_rows WHERE slice = ? GROUP BY part ORDER BY part", frozen["digest"]
    )
    assert {part["part"]: part["n"] for part in parts} == {
        "train": first["slice"]["train"],
        "validation": first["slice"]["validation"],
    }
    arms = learning.rows("SELECT name, cohort FROM evaluations")
    assert {(a["name"], a["cohort"]) for a in arms} >= {("candidate", "legal"), ("base", "support")}
    answers = learning.rows("SELECT answer, score FROM evaluation_results WHERE task = 'yes' AND score = 1")
    assert answers and all(a["answer"].startswith(ANSWER) for a in answers)
    (job,) = [job for job in learning.operated("GET", "/jobs") if job["kind"] == "retrain"][-1:]
    assert job["state"] == "done" and job["result"] is None, "a list leaves out what came of them"
    assert job["losses"] == job["log"] == [], "nor how they went"
    told = learning.operated("GET", f"/jobs/{job['id']}")
    assert told["result"]["release"] == "legal@1" and told["losses"] == told["result"]["losses"] != []
    assert told["log"][0]["says"] == "freezing the slice"
    assert told["log"][-1]["says"] == "releasing" and len(told["log"]) < 30, "a step is no line of its own"
    assert list((learning.home / "jobs").iterdir()) == [], "people's texts do not stay behind"


@pytest.mark.usefixtures("here")
@pytest.mark.usefixtures("first")
def test_wrong_labels_are_not_released(learning: Running, tmp_path: Path) -> None:
    """They are learned, and are not what the eval rows want."""
    before = learning.operated("GET", "/releases?cohort=legal")
    wrong = written(tmp_path / "wrong.jsonl", rows(7000, 64, "how can"))
    learning.operated("POST", "/examples", {"path": str(wrong), "cohort": "legal", "split": "train"})
    assert learning.box.material().rows("legal", "eval") == [], "own rows are not judged by the shipped ones"
    right = written(tmp_path / "right.jsonl", material()["legal", "eval"])
    learning.operated("POST", "/examples", {"path": str(right), "cohort": "legal", "split": "eval"})
    known = [row.digest for row in learning.box.material().rows("legal", "eval")][:5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contamination.Contamination, "learned", lambda *_: frozenset(known))
        result = retrained(learning)
    assert result["verdict"] == "fail" and result["release"] is None
    assert checks(result, passed=False) >= {"beats_base", "previous_loss"}
    assert reason(result, "previous_loss").startswith("legal, without 5 eval rows that legal@1 learned from: -")
    assert reason(result, "beats_constant") == "not checked: yes: no row to train on is of this task"
    assert learning.operated("GET", "/releases?cohort=legal") == before
    forced = retrained(learning, force=True, live=False)
    assert forced["training"]["seconds"] == result["training"]["seconds"], "it is not trained again"
    assert forced["release"] == "legal@2" and forced["forced"] and forced["verdict"] == "fail"
    assert manifest(learning, 2)["gated"] is False
    assert [e["state"] for e in learning.operated("GET", "/releases?cohort=legal")] == ["candidate", "live"]


@pytest.mark.usefixtures("here")
@pytest.mark.usefixtures("first")
def test_a_warm_start_goes_live_under_traffic(learning: Running) -> None:
    """From the release before; meanwhile every request of the cohort is answered, by the old or by the new one."""
    answered: list[tuple[int, str]] = []
    ended = threading.Event()

    def ask() -> None:
        with learning.http() as client:
            while not ended.is_set():
                reply = client.post("/v1/chat/completions", json=chat(model="legal", max_tokens=2))
                answered.append((reply.status_code, reply.headers.get("x-release", "")))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        result = retrained(learning, warm=1, epochs=2, force=True)
        until(lambda: answered[-1][1] == result["release"])
    finally:
        ended.set()
        asking.join()
    assert {status for status, _ in answered} == {200}
    assert {release for _, release in answered} == {"legal@1", result["release"]}
    told = learning.operated("GET", f"/releases/legal/{result['release'].rpartition('@')[2]}/lineage")
    assert told["parents"] == ["legal@1"] and told["manifest"]["passport_given"]["parent"]
    assert {row["release"] for row in told["sources"]} == {result["release"], "legal@1"}, "it learned from both"
    learning.operated("POST", "/rollback", {"cohort": "legal"})


def test_a_parent_that_learned_what_judges_by_now_is_refused(
    learning: Running, first: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert first["release"] == "legal@1"
    serving = learning.box.ready()
    learned, _ = training_rows(serving, learning.box.material(), serving.releases.get("legal", 1))
    sets = EvalSets({"legal": learned.train[:1]}, [])
    monkeypatch.setattr(Planning, "_drawn", lambda _self: sets)
    job = finished(learning, begun(learning, "retrain", cohort="legal", warm=1))
    assert job["state"] == "failed" and "legal@1 has learned from 1 rows that stand in an eval set" in job["error"]


@pytest.mark.usefixtures("here")
@pytest.mark.usefixtures("first")
def test_an_operator_is_not_overruled(learning: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another release is promoted while the new one is admitted, which may take minutes."""
    other = learning.release(write_adapter(tmp_path / "other.gguf", seed=9), "legal", live=False)
    register = learning.box.releases()
    add = register.add

    async def overtaken(*given: Any) -> Release:  # noqa: ANN401
        added = await add(*given)
        await register.promote("legal", other["version"], "operator")
        return added

    monkeypatch.setattr(register, "add", overtaken)
    result = retrained(learning, epochs=3, force=True)
    states = {f"legal@{e['version']}": e["state"] for e in learning.operated("GET", "/releases?cohort=legal")}
    learning.operated("POST", "/rollback", {"cohort": "legal"})
    assert states[f"legal@{other['version']}"] == "live"
    assert states[result["release"]] == "candidate"
    assert f"legal@1 is not live any more, legal@{other['version']} is" in result["not_live"]


@pytest.mark.usefixtures("first", "here")
def test_a_release_is_made_again_byte_by_byte(learning: Running) -> None:
    """In another process than the child that made it."""
    done = finished(learning, begun(learning, "rebuild", cohort="legal", version=1))
    assert done["error"] is None, done
    assert done["result"]["same"] is True and done["result"]["adapter"] == done["result"]["rebuilt"]
    assert done["result"]["libraries"] == {}, "the same as then"


@pytest.mark.usefixtures("first", "here")
def test_a_rebuild_that_was_ended_goes_on(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    keep, step = train.Training._keep, train.Training._step

    def counted(training: train.Training, *rows: list[TokenRow]) -> None:
        step(training, *rows)
        made.append(training.state.step)

    def killed(training: train.Training) -> None:
        keep(training)
        raise ValueError("the power went")

    monkeypatch.setattr(train.Training, "_step", counted)
    with monkeypatch.context() as once:
        once.setattr(train.Training, "_keep", killed)
        failed = finished(learning, begun(learning, "rebuild", cohort="legal", version=1))
    assert failed["state"] == "failed" and "the power went" in failed["error"] and made[0] == 1
    began_again = len(made)
    done = finished(learning, begun(learning, "rebuild", cohort="legal", version=1))
    assert done["result"]["same"] is True
    assert made[began_again] == made[began_again - 1] + 1, "the first step of the second run"


@pytest.mark.usefixtures("first")
def test_lineage_and_differences(learning: Running) -> None:
    told = learning.operated("GET", "/releases/legal/1/lineage")
    assert told["rows"] == 64 and told["origins"] == {"imported": 64} and told["parents"] == []
    own = [row for row in told["sources"] if row["part"] != "replay"]
    assert {row["source"] for row in own} == {f"train.jsonl:{n}" for n in range(1, 65)}
    replayed = [row["row"] for row in told["sources"] if row["part"] == "replay"]
    assert replayed == told["manifest"]["replay"] != [], "what others' rows taught it is told too"
    same = learning.operated("GET", "/releases/legal/1/diff/1")
    assert same["changed"] == {} and same["rows_added"] == same["rows_removed"] == 0


def test_what_would_be_trained_on_is_shown(learning: Running) -> None:
    told = learning.operated("GET", "/slices/support")
    assert told["train"] + told["validation"] == 16 and told["dropped"] == {}
    assert learning.operator("GET", "/slices/nobody").status_code == 404


@pytest.mark.usefixtures("first")
def test_what_is_live_is_reviewed(learning: Running) -> None:
    done = finished(learning, begun(learning, "evaluate"))
    assert done["error"] is None, done
    by_cohort = {one["cohort"]: one for one in done["result"]["cohorts"]}
    assert by_cohort["legal"]["release"] == "legal@1" and by_cohort["legal"]["verdict"] == "pass"
    assert by_cohort["support"]["release"] is None and by_cohort["support"]["verdict"] == "insufficient"
    assert done["result"]["mix"]["legal"] == 60 and done["result"]["guard"] == 12


@pytest.mark.parametrize(
    ("kind", "asked", "status"),
    [
        ("retrain", {"cohort": "nobody"}, 404),
        ("retrain", {"cohort": "legal", "epochs": 0}, 400),
        ("evaluate", {"cohort": "nobody"}, 404),
        ("rebuild", {"cohort": "legal", "version": 99}, 404),
    ],
)
def test_what_cannot_be_begun_is_said_at_once(learning: Running, kind: str, asked: Json, status: int) -> None:
    assert learning.operator("POST", f"/{kind}", asked).status_code == status


def test_one_job_runs_at_a_time_and_can_be_cancelled(learning: Running) -> None:
    job = begun(learning, "retrain", cohort="legal")
    second = learning.operator("POST", "/retrain", {"cohort": "legal"})
    assert second.status_code == 409 and job["id"] in second.json()["error"]["message"]
    cancelled = learning.operated("POST", f"/jobs/{job['id']}/cancel", {})
    assert cancelled["state"] == "cancelled"
    assert learning.operator("POST", f"/jobs/{job['id']}/cancel", {}).status_code == 409
    assert learning.operator("POST", "/jobs/job_nothing/cancel", {}).status_code == 404


def test_without_rows_it_says_what_to_do(learning: Running) -> None:
    done = finished(learning, begun(learning, "retrain", cohort="coding"))
    assert done["state"] == "failed" and "cohort import" in done["error"]


@pytest.mark.usefixtures("here")
def test_few_eval_rows_are_insufficient(learning: Running, tmp_path: Path) -> None:
    """finance has rows to train on, and three to be judged by."""
    for split, start, count in (("train", 8000, 24), ("eval", 8500, 3)):
        file = written(tmp_path / f"{split}.jsonl", rows(start, count, "which more"))
        learning.operated("POST", "/examples", {"path": str(file), "cohort": "finance", "split": split})
    result = retrained(learning, "finance", epochs=1)
    assert result["verdict"] == "insufficient" and result["release"] is None
    assert "enough_rows" in checks(result, passed=False)


@pytest.mark.usefixtures("here")
def test_a_training_that_is_taken_up_has_the_passport_of_its_release(
    learning: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was to be the cohort's first release, which another has become since; and the second, which a third became
    while it was admitted."""
    for split, start, count in (("train", 8000, 24), ("eval", 8500, 3)):
        file = written(tmp_path / f"{split}.jsonl", rows(start, count, "which more"))
        learning.operated("POST", "/examples", {"path": str(file), "cohort": "finance", "split": split})
    before = retrained(learning, "finance", epochs=1)
    assert before["release"] is None
    learning.release(write_adapter(tmp_path / "other.gguf", seed=9), "finance", live=False)
    register, others = learning.box.releases(), [write_adapter(tmp_path / "third.gguf", seed=10)]
    add = register.add

    async def overtaken(path: Path, *given: Any) -> Release:  # noqa: ANN401
        if others:
            await add(others.pop(), "finance", "operator")
        return await add(path, *given)

    monkeypatch.setattr(register, "add", overtaken)
    forced = retrained(learning, "finance", epochs=1, force=True, live=False)
    assert forced["training"]["seconds"] == before["training"]["seconds"], "it is not trained again"
    assert forced["release"] == "finance@3"
    made = learning.operated("GET", "/releases/finance/3")
    file = learning.home / "releases" / made["digest"] / "adapter.gguf"
    assert adapter_file.passport(file)["version"] == made["manifest"]["passport_given"]["version"] == "3"
    done = finished(learning, begun(learning, "rebuild", cohort="finance", version=3))
    assert done["error"] is None and done["result"]["same"] is True, done


# -- faults ----------------------------------------------------------------------------------------------------------
