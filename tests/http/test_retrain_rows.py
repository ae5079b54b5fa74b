"""Rows that come from feedback, and go again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.http.learnable import SETTINGS, begun, finished, material, retrained, rows
from tests.http.routed import written
from tests.http.running import Json, Running, chat, running


@pytest.mark.usefixtures("here")
def test_feedback_that_cannot_be_a_row_or_is_taken_back(learning: Running) -> None:
    """Token ids are no text; and who marks an answer against training afterwards takes its row out."""
    with learning.http() as client:
        ids = client.post("/v1/completions", json={"model": "healthcare", "prompt": [5, 6, 7], "max_tokens": 1})
        text = client.post("/v1/chat/completions", json=chat("Of the patient", model="healthcare"))
        for reply in (ids, text):
            marked: Json = {"request_id": reply.headers["x-request-id"], "use": "for", "correction": "not you"}
            assert client.post("/v1/feedback", json=marked).is_success
        finished(learning, begun(learning, "retrain", cohort="healthcare", epochs=1))
        query = (
            "SELECT source, completion, split FROM examples WHERE cohort = 'healthcare' AND origin = 'interaction'"
        )
        taken = {"source": text.headers["x-request-id"], "completion": "not you", "split": "train"}
        assert learning.rows(query) == [taken]
        against = {"request_id": text.headers["x-request-id"], "use": "against"}
        assert client.post("/v1/feedback", json=against).is_success
    finished(learning, begun(learning, "retrain", cohort="healthcare", epochs=1))
    assert learning.rows(query) == []


def approved(appliance: Running, cohort: str, text: str) -> str:
    """An answer of the cohort's, marked for training. Returns the request's id."""
    with appliance.http() as client:
        reply = client.post("/v1/chat/completions", json=chat(text, model=cohort))
        request = reply.headers["x-request-id"]
        marked = {"request_id": request, "use": "for", "correction": "when who"}
        assert client.post("/v1/feedback", json=marked).is_success
    return request


@pytest.mark.usefixtures("here")
def test_a_rebuild_names_the_row_that_was_erased(learning: Running) -> None:
    first, _ = (approved(learning, "healthcare", asked) for asked in ("Which more will it", "The function of a loan"))
    release = retrained(learning, "healthcare", epochs=1, force=True, live=False)["release"]
    with learning.http() as client:
        assert client.post("/v1/feedback", json={"request_id": first, "use": "against"}).is_success
    assert learning.operated("GET", "/slices/healthcare")["train"] == 1, "it is taken out"
    version = int(release.rpartition("@")[2])
    refused = learning.operator("POST", "/rebuild", {"cohort": "healthcare", "version": version})
    assert refused.status_code == 409
    assert f"{release} cannot be made again" in refused.json()["error"]["message"]
    assert f"({first})" in refused.json()["error"]["message"]


@pytest.mark.usefixtures("here")
def test_feedback_is_taken_in_before_the_rows_are_shown_or_judged_by(tmp_path: Path, tiny_base: Path) -> None:
    """A cohort whose first own row it is has shipped ones no longer, to learn from or to be judged by."""
    for (cohort, split), lines in material().items():
        written(tmp_path / "examples" / cohort / f"{split}.jsonl", lines)
    with running(tmp_path, tiny_base, SETTINGS) as appliance:
        shown = appliance.operated("GET", "/slices/support")
        assert shown["mix"]["origin"] == {"imported": 16}
        request = approved(appliance, "support", "Of the patient")
        shown = appliance.operated("GET", "/slices/support")
        assert shown["mix"]["origin"] == {"interaction": 1}
        with appliance.http() as client:
            client.post("/v1/feedback", json={"request_id": request, "use": "none"})
        assert appliance.operated("GET", "/slices/support")["mix"]["origin"] == {"imported": 16}
        approved(appliance, "support", "Of the contract")
        result = retrained(appliance, "support", epochs=1)
        assert result["verdict"] == "insufficient"
        assert (result["slice"]["train"], result["mix"]["support"]) == (1, 0)
        approved(appliance, "legal", "Of the function")
        reviewed = finished(appliance, begun(appliance, "evaluate", cohort="support"))["result"]
        assert reviewed["mix"]["legal"] == 0


@pytest.mark.usefixtures("here")
def test_one_row_is_trained_on_and_is_no_evidence(learning: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "one.jsonl", rows(100, 1, "one two"))
    learning.operated("POST", "/examples", {"path": str(file), "cohort": "coding", "split": "train"})
    assert retrained(learning, "coding", epochs=1)["verdict"] == "insufficient"
