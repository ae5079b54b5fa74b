"""`cohort router` and `cohort route` with a router in the home: what they print, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from appliance.cli import router
from tests.fitted import COHORTS, Fitted

from .premises import Premises, chat, running
from .test_cli import Desk

LEGAL = "Does the indemnity clause of this agreement survive its termination?"
ROWS = [
    {"prompt": LEGAL, "cohort": "legal", "tenant": "acme"},
    {"prompt": "Why does this Python function raise a KeyError?", "cohort": "coding"},
    {"prompt": "What is the capital of Norway?", "cohort": "none"},
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, fitted_router: Fitted) -> Iterator[Desk]:
    """An appliance runs, and has answered one request."""
    premises = Premises(tmp_path_factory.mktemp("router"), tiny_base, cohorts=COHORTS).seeded()
    (premises.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    fitted_router.into(premises.home)
    with running(premises) as served, served.client() as client:
        assert client.post("/v1/chat/completions", json=chat(LEGAL, model="auto")).status_code == 200
        yield Desk(premises, served)


def test_a_route(desk: Desk) -> None:
    found = desk.json("route", LEGAL)
    assert {"cohort", "layer", "reason", "confidence", "scores", "router"} <= set(found)
    assert (found["cohort"], found["router"]) == ("legal", "router@1")
    assert found["layer"] in ("semantic", "classifier") and 0 < found["confidence"] <= 1
    assert set(found["scores"]["semantic"]) == {*COHORTS, "base"}
    assert "legal" in desk.text("route", LEGAL)


def test_the_list(desk: Desk) -> None:
    (entry,) = desk.json("router", "list")
    assert {"version", "digest", "state", "created", "rows", "held_back", "report", "refusals"} <= set(entry)
    assert "router@1" in desk.text("router", "list")


def test_eval(desk: Desk) -> None:
    found = desk.json("router", "eval", "rows.jsonl")
    assert {"auroc", "coverage", "accuracy", "ood_accepted", "misrouted", "threshold", "n"} <= set(found)
    assert (found["n"], found["auroc"], found["accuracy"]) == (3, 1.0, 1.0)
    shown = desk.text("router", "eval", "rows.jsonl", "--no-metadata")
    assert "auroc" in shown and "belongs to" in shown
    assert shown.count("calibration error") == 2 and "of them wrong" in shown, "per cohort and layer, and the curve"
    assert found["unjudged"] == ["healthcare", "finance", "support"] and "healthcare" in shown
    assert "there is no file" in desk.fails("router", "eval", "gone.jsonl")


@pytest.mark.parametrize(("name", "begins"), [("x.svg", b"<?xml"), ("x.PNG", b"\x89PNG")])
def test_pictures(desk: Desk, name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    assert desk.json("router", "eval", "rows.jsonl", "--plot", name)["n"] == 3
    assert (desk.premises.folder / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["x.docx", "x", "svg"])
def test_pictures_of_another_kind(desk: Desk, name: str) -> None:
    done = desk.premises.cohort("router", "eval", "rows.jsonl", "--plot", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert ".svg or .png" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_picture_where_none_can_be_written(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    assert "nowhere" in desk.fails("router", "eval", "rows.jsonl", "--plot", "nowhere/x.svg")


def test_a_picture_of_rows_of_no_cohort(desk: Desk) -> None:
    pytest.importorskip("matplotlib")
    (desk.premises.folder / "none.jsonl").write_text(json.dumps(ROWS[2]) + "\n")
    found = desk.json("router", "eval", "none.jsonl", "--plot", "none.svg")
    assert (found["coverage"], found["ood_accepted"]) == (None, 0)


def test_replay(desk: Desk) -> None:
    found = desk.json("router", "replay")
    assert {"router", "threshold", "n", "changed", "moves", "before", "after", "examples"} <= set(found)
    assert (found["n"], found["changed"]) == (1, 0)
    assert "0 of 1 logged requests" in desk.text("router", "replay")
    assert desk.json("router", "replay", "--threshold", "1")["threshold"] == 1
    assert "there is no router@9" in desk.fails("router", "replay", "--router", "9")


def test_rollback(desk: Desk) -> None:
    assert "no earlier router" in desk.fails("router", "rollback")
    again = desk.json("router", "rollback", "1")
    assert (again["version"], again["state"]) == (1, "live")
    assert "router@1 is in force" in desk.text("router", "rollback", "1")


def test_a_fit_that_fails(desk: Desk) -> None:
    """No examples lie beside this configuration."""
    done = desk.premises.cohort("router", "fit", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    says = "error: router/fit failed: legal has 0 different texts: at least 20 are needed of each"
    assert done.stderr.splitlines()[-1] == says
    assert [entry["version"] for entry in desk.json("router", "list")] == [1]


def test_offline(premises: Premises, fitted_router: Fitted) -> None:
    """The same application in the command's own process."""
    premises.cohorts = COHORTS
    premises.configure()
    fitted_router.into(premises.seeded().home)
    (premises.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    assert "no router is in force" not in premises.cohort("router", "eval", "rows.jsonl").stdout
    done = premises.cohort("route", LEGAL, "--json")
    assert json.loads(done.stdout)["cohort"] == "legal", done.stderr


def test_eval_without_a_router_says_so(premises: Premises) -> None:
    premises.cohorts = COHORTS
    premises.configure()
    premises.seeded()
    (premises.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    done = premises.cohort("router", "eval", "rows.jsonl")
    assert done.stdout.startswith("no router is in force"), done.stderr


ENTRY: dict[str, Any] = {"version": 2, "rows": {}, "report": {}, "refusals": []}


@pytest.mark.parametrize(("state", "code"), [("live", None), ("refused", 100)])
def test_the_exit_code_of_a_fit(monkeypatch: pytest.MonkeyPatch, state: str, code: int | None) -> None:

    monkeypatch.setattr(router, "call", lambda *_given, **_named: {**ENTRY, "state": state})
    if code is None:
        router.fit()
    else:
        with pytest.raises(typer.Exit) as ended:
            router.fit()
        assert ended.value.exit_code == code


def test_blame_shows_what_a_person_must_judge(desk: Desk) -> None:
    assert desk.served is not None
    with desk.served.client() as client:
        asked = client.post("/v1/chat/completions", json=chat(LEGAL, model="legal")).headers["x-request-id"]
        said = {"request_id": asked, "rating": -1, "cohort": "coding"}
        assert client.post("/v1/feedback", json=said).is_success
    (one,) = desk.json("router", "blame")["requests"]
    assert (one["verdict"], len(one["answers"])) == ("for_a_person", 2)
    shown = desk.text("router", "blame")
    assert "for a person" in shown and f"{asked}, before:" in shown and f"{asked}, now:" in shown
