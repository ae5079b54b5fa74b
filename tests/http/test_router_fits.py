"""The text router in a running appliance: fits, refusals, the way back, and starts without one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from appliance import children
from appliance.children import ChildFailed
from appliance.routing.router_rows import LabelledText
from appliance.routing.routers import Routers
from router import artefact
from router.classifier import FittedRouter
from tests.fitted import Fitted, rows
from tests.http.learnable import begun, finished
from tests.http.routed import (
    CODING,
    FEW,
    LEGAL,
    ask,
    ready,
    states,
    told,
    written,
)
from tests.http.running import Json, Running, running, until
from tests.process.conftest import mounted

# -- fits ------------------------------------------------------------------------------------------------------------


def fitted(appliance: Running, **wanted: object) -> Json:
    """The job at its end."""
    return finished(appliance, begun(appliance, "router/fit", **wanted))


def mislabelled(path: Path) -> Path:
    """Rows of coding said to be of finance, beside finance's own; those among the few examples are not touched."""
    coding, finance = ([row for row in rows("train") if row.cohort == name] for name in ("coding", "finance"))
    wrong = [*coding[FEW : FEW + 40], *finance[:20]]
    return written(path, [{"prompt": row.prompt, "text": row.text, "cohort": "finance"} for row in wrong])


def exchanged(given: Fitted, folder: Path) -> str:
    """The same router, that takes coding for finance and finance for coding."""
    made = artefact.manifest_of(given.artefact)
    other = {"coding": "finance", "finance": "coding"}
    classes = [other.get(name, name) for name in made.pop("classes")]
    files = {name: (given.artefact / name).read_bytes() for name in made.pop("files")}
    facts = {name: value for name, value in made.items() if name not in ("format", "policy")}
    return artefact.write(folder, files, classes, given.load().policy, facts)


@pytest.mark.parametrize("child", ["told", pytest.param("real", marks=pytest.mark.slow)])
def test_a_refusal_a_fit_and_the_way_back(
    fresh: Running, fitted_router: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str
) -> None:
    """The child tells of what lies there already; or the first is fitted here, to rows that are wrong."""
    given: list[list[str]] = []

    def makes(digest: str) -> None:
        def run(_module: str, job: str, **_limits: float) -> Iterator[str]:
            given.append(Path(json.loads(Path(job).read_text())["rows"]).read_text().splitlines())
            yield json.dumps({"fraction": 1.0, "doing": "done", "digest": digest})

        monkeypatch.setattr(children, "run", run)

    if child == "told":
        makes(exchanged(fitted_router, fresh.home / "router"))
    file = str(mislabelled(tmp_path / "wrong.jsonl"))
    done = fitted(fresh, paths=[file])
    assert done["error"] is None, done
    refused = done["result"]
    held = refused["report"]["cohorts"]["finance"]["n"]
    assert (refused["version"], refused["state"], refused["report"]["n"]) == (2, "refused", 5 * FEW + held)
    assert 0 < held < 20 and refused["report"]["unjudged"] == [], "finance's own rows, since it brought some"
    assert any(why.startswith("coding lost") for why in refused["refusals"])
    assert ready(fresh)["router"] == "router@1" and states(fresh) == {2: "refused", 1: "live"}
    assert told(ask(fresh, CODING))[0] == "coding"

    makes(refused["digest"])
    assert fitted(fresh, paths=[file])["result"]["state"] == "refused"
    learned = {row["text"] for row in map(json.loads, given[-1]) if row["cohort"] == "finance"}
    named = [json.loads(line)["prompt"] for line in Path(file).read_text().splitlines()]
    assert sum(prompt in learned for prompt in named) == 60 - held, "all but those that it is judged by"
    forced = fitted(fresh, paths=[file], force=True)["result"]
    assert (forced["version"], forced["state"], forced["refusals"]) == (4, "live", [])
    assert fresh.row(ask(fresh, LEGAL).headers["x-request-id"])["router"] == "router@4"
    makes(fitted_router.digest)
    assert fitted(fresh)["result"]["state"] == "live"
    assert states(fresh) == {5: "live", 4: "retired", 3: "refused", 2: "refused", 1: "retired"}

    assert fresh.operated("POST", "/router/switch", {})["version"] == 4
    assert fresh.operated("POST", "/router/switch", {})["version"] == 1, "not a refused one"
    assert fresh.operator("POST", "/router/switch", {}).status_code == 409
    assert fresh.operated("POST", "/router/switch", {"version": 5})["state"] == "live"
    assert fresh.operator("POST", "/router/switch", {"version": 9}).status_code == 404
    late = fresh.operator("POST", "/router/switch", {"version": 4, "live": "router@4"})
    assert late.status_code == 409 and "router@5 is in force by now" in late.text
    assert ready(fresh)["router"] == "router@5"
    refusals_and_switches_are_audited(fresh, refused)

    shutil.rmtree(fresh.home / "router" / refused["digest"])
    gone = fresh.operator("POST", "/router/switch", {"version": 4})
    assert gone.status_code == 409 and "manifest" in gone.json()["error"]["message"]
    assert ready(fresh)["router"] == "router@5" and states(fresh)[5] == "live"
    assert fresh.operator("POST", "/router/replay", {"router": 4}).status_code == 409


def test_an_operator_is_not_overruled(fresh: Running, fitted_router: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who puts another router in force while a fit is judged: that was compared with the one before."""
    digest, decisions = exchanged(fitted_router, fresh.home / "router"), Routers.decisions

    async def meanwhile(routers: Routers, judged: list[LabelledText], router: FittedRouter) -> Any:  # noqa: ANN401
        found = await decisions(routers, judged, router)
        if router is routers.current:
            monkeypatch.setattr(routers, "current", copy(router))
        return found

    monkeypatch.setattr(children, "run", lambda *_a, **_k: iter([json.dumps({"digest": digest})]))
    monkeypatch.setattr(Routers, "decisions", meanwhile)
    done = fitted(fresh)
    assert done["result"]["state"] == "refused", done
    assert "another router was put in force while this one was judged: fit again" in done["result"]["refusals"]
    assert ready(fresh)["router"] == "router@1"


def refusals_and_switches_are_audited(appliance: Running, refused: Json) -> None:
    audit = [row for row in appliance.operated("GET", "/audit") if row["action"].startswith("router.")]
    assert [(row["action"], row["object"]) for row in audit] == [
        ("router.switch", "router@5"),
        ("router.switch", "router@1"),
        ("router.switch", "router@4"),
        ("router.fit", "router@5"),
        ("router.fit", "router@4"),
        ("router.refuse", "router@3"),
        ("router.refuse", "router@2"),
    ]
    assert {row["key_id"] for row in audit} == {"admin"}
    assert (audit[1]["before"]["router"], audit[1]["after"]["router"]) == ("router@4", "router@1")
    assert audit[-1]["after"]["refusals"] == refused["refusals"]


def test_one_fit_at_a_time(lent: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile requests are served; the child's end is told, and nothing has changed."""
    go_on = threading.Event()

    def slow(*_arguments: str, **_limits: float) -> Iterator[str]:
        yield "a line of some library"
        yield json.dumps({"fraction": 0.5, "doing": "reading 2 texts"})
        assert go_on.wait(60)
        raise ChildFailed("it was ended by signal 9 (SIGKILL)")

    monkeypatch.setattr(children, "run", slow)
    job = begun(lent, "router/fit")
    until(lambda: lent.operated("GET", f"/jobs/{job['id']}")["doing"] == "reading 2 texts")
    second = lent.operator("POST", "/router/fit", {})
    assert (second.status_code, second.json()["error"]["code"]) == (409, "conflict")
    assert told(ask(lent, LEGAL))[0] == "legal"
    go_on.set()
    job = finished(lent, job)
    assert (job["error"], job["result"]) == ("it was ended by signal 9 (SIGKILL)", None)
    unchanged(lent)


def unchanged(appliance: Running) -> None:
    assert (states(appliance), ready(appliance)["router"]) == ({1: "live"}, "router@1")
    assert not [path for path in (appliance.home / "router").iterdir() if path.name.startswith("fit-")]


def fitting() -> list[Popen[str]]:
    return [child for child in children._running if "router.fit" in str(child.args)]


def test_a_child_that_is_killed(lent: Running) -> None:
    job = begun(lent, "router/fit")
    until(fitting)[0].kill()
    job = finished(lent, job)
    assert "SIGKILL" in job["error"] and job["result"] is None
    unchanged(lent)


def test_a_fit_is_cancelled(lent: Running) -> None:
    """Its child ends with it, and the texts that it was given are gone."""
    job = begun(lent, "router/fit")
    until(fitting)
    job = lent.operated("POST", f"/jobs/{job['id']}/cancel", {})
    assert (job["kind"], job["state"], job["result"]) == ("fit", "cancelled", None)
    assert not fitting()
    unchanged(lent)


def test_a_folder_that_cannot_be_written(fresh: Running) -> None:
    folder = fresh.home / "router"
    folder.rename(fresh.home / "elsewhere")
    folder.write_text("no folder")
    error = fitted(fresh)["error"]
    assert str(folder) in error and "Not a directory" in error
    assert ready(fresh)["router"] == "router@1", "what is loaded goes on"
    assert told(ask(fresh, LEGAL))[0] == "legal"


@pytest.mark.slow  # a training's is told of in the same way
def test_a_disk_that_is_full(fresh: Running, fitted_router: Fitted) -> None:
    """The encoder fits, the router does not."""
    kept = next(fitted_router.folder.glob("encoder-*.onnx"))
    room = kept.stat().st_size + (2 << 20)
    with mounted(fresh.home / "router", "-o", f"size={room}") as folder:
        shutil.copy(kept, folder)
        assert "No space left" in fitted(fresh)["error"]
        assert states(fresh) == {1: "live"}


def test_what_feedback_confirmed_is_learned(lent: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when told so; of a cohort that is gone nothing; the newest word on a request counts."""
    given: list[list[str]] = []

    def catch(_module: str, job: str, **_limits: float) -> Iterator[str]:
        lines = Path(json.loads(Path(job).read_text())["rows"]).read_text().splitlines()
        given.append([row["cohort"] for row in map(json.loads, lines) if row["text"].startswith("Confirmed")])
        raise ChildFailed("enough")
        yield ""

    monkeypatch.setattr(children, "run", catch)
    for number, words in enumerate((["legal"], ["legal", "coding"], ["base"], [])):
        request = ask(lent, f"Confirmed {number}").headers["x-request-id"]
        with lent.http() as client:
            for cohort in words:
                body = {"request_id": request, "cohort": cohort}
                assert client.post("/v1/feedback", json=body).is_success
    assert fitted(lent)["error"] == fitted(lent, interactions=True)["error"] == "enough"
    without, confirmed = given
    assert without == [] and sorted(confirmed) == ["base", "coding", "legal"]


# -- without a router, or with one that is of no use -----------------------------------------------------------------


def test_without_a_router_it_serves_and_says_so(served: Running) -> None:
    assert ready(served)["router"].startswith("none") and ready(served)["alarms"] == []
    assert told(ask(served, LEGAL)) == ("base", "fallback", "no_text_router")
    assert served.operated("GET", "/status")["router"] is None
    assert served.operated("GET", "/routers") == []
    assert served.operator("POST", "/router/replay", {}).status_code == 409
    assert served.operator("POST", "/router/switch", {}).status_code == 409


def test_evaluating_no_router(served: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{"prompt": "x", "cohort": "legal", "vertical": "legal"}])
    found = served.operated("POST", "/router/eval", {"paths": [str(file)]})
    assert (found["accuracy"], found["router"], found["threshold"]) == (1, None, None)


@pytest.mark.parametrize("fault", ["cut", "missing", "other cohorts"])
def test_a_router_of_no_use_at_the_start(
    tmp_path: Path, tiny_base: Path, fitted_router: Fitted, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """It serves without, an alarm says why, and what a killed fit left is gone."""
    fitted_router.into(tmp_path / "home")
    folder = tmp_path / "home" / "router"
    (folder / "fit-left").mkdir()
    (folder / "fit-left" / "rows.jsonl").write_text("what people asked")
    if fault == "missing":
        shutil.rmtree(folder / fitted_router.digest)
    elif fault == "cut":
        (folder / fitted_router.digest / "arrays.npz").write_bytes(b"PK")
    else:
        monkeypatch.setattr("tests.http.running.COHORTS", ("legal", "coding", "astronomy"))
    says = {"cut": "arrays.npz", "missing": "no manifest", "other cohorts": "it does not know astronomy; it knows"}
    with running(tmp_path, tiny_base, "context = 1024") as appliance:
        found = ready(appliance)
        assert found["router"].startswith("none")
        (alarm,) = found["alarms"]
        assert alarm.startswith("router@1 cannot be used: ") and says[fault] in alarm
        assert told(ask(appliance, LEGAL)) == ("base", "fallback", "no_text_router")
        assert not (folder / "fit-left").exists()
        assert states(appliance) == {1: "live"}
