"""The text router in a running appliance: live traffic, the dry run, sessions, fits, and the way back."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance import children
from appliance.children import ChildFailed
from router.decide import decide
from router.layers import Query
from tests.fitted import COHORTS, Fitted, rows
from tests.http.running import Json, Running, chat, running, until
from tests.process.conftest import mounted

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
LEGAL = "Does the indemnity clause of this agreement survive its termination?"
CODING = "Why does this Python function raise a KeyError when the dictionary is empty?"
FEW = 24
NOWHERE = "What is the capital of Norway?"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    """router@1 is in force; legal has a live release. Tests leave the router as it is."""
    folder = tmp_path_factory.mktemp("routed")
    fitted_router.into(folder / "home")
    with running(folder, tiny_base, "context = 2048\nsequences = 4") as appliance:
        yield appliance


@pytest.fixture
def fresh(tmp_path: Path, tiny_base: Path, fitted_router: Fitted) -> Iterator[Running]:
    """The same, for one test, with a few examples to fit on."""
    fitted_router.into(tmp_path / "home")
    few_examples(tmp_path / "examples")
    with running(tmp_path, tiny_base, "context = 1024") as appliance:
        yield appliance


def few_examples(folder: Path) -> None:
    """As many rows of each class to learn from as to judge by."""
    for split in ("train", "eval"):
        for name in (*COHORTS, "base"):
            found = [row for row in rows(split) if row.cohort == name][:FEW]
            written(folder / name / f"{split}.jsonl", [{"prompt": row.prompt, "text": row.text} for row in found])


def written(path: Path, lines: list[Json]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def ask(appliance: Running, text: str, key: str | None = None, session: str | None = None, **more: Any) -> Any:  # noqa: ANN401
    headers = {"X-Session-Id": session} if session else {}
    with appliance.http(key) as client:
        reply = client.post(CHAT, json=chat(text, **{"model": "auto", "max_tokens": 1, **more}), headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


def told(reply: httpx.Response) -> tuple[str, str, str]:
    return tuple(reply.headers[f"x-{name}"] for name in ("cohort", "cohort-layer", "cohort-reason"))  # type: ignore[return-value]


def ready(appliance: Running) -> Json:
    with appliance.http() as client:
        reply = client.get("/ready")
    assert reply.status_code == 200
    found: Json = reply.json()
    return found


def states(appliance: Running) -> dict[int, str]:
    return {entry["version"]: entry["state"] for entry in appliance.operated("GET", "/routers")}


# -- one decision, wherever it is made -------------------------------------------------------------------------------

TEXTS = {
    "near examples": next(row.prompt for row in rows("train") if row.cohort == "legal"),
    "law": LEGAL,
    "code": CODING,
    "chat": NOWHERE,
    "noise": "asdkjh qwe zzxcv",
    "another script": "今日の天気はどうですか。",
    "blank": " \n ",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_live_dry_and_offline_agree(ours: Running, fitted_router: Fitted, text: str) -> None:
    reply, dry = ask(ours, text), ours.operated("POST", "/route", {"text": text})
    offline = decide(Query(text), ours.box.config.routing(), fitted_router.load())
    row = ours.row(reply.headers["x-request-id"])
    assert (dry["cohort"], dry["layer"], dry["router"]) == (offline.cohort, offline.layer, "router@1")
    assert dry["confidence"] == pytest.approx(offline.confidence, abs=1e-6)
    assert dry["scores"] == {layer: pytest.approx(dict(scores)) for layer, scores in offline.scores.items()}
    assert told(reply)[:2] == (offline.cohort, offline.layer) == (row["cohort"], row["layer"])
    unserved = offline.cohort != "base"
    assert told(reply)[2] == row["reason"] == dry["reason"] == ("no_live_release" if unserved else offline.reason)
    assert float(reply.headers["x-cohort-confidence"]) == pytest.approx(row["confidence"], rel=1e-3)
    assert row["confidence"] == pytest.approx(offline.confidence, abs=1e-6)
    assert json.loads(row["scores"]) == dry["scores"]
    assert row["router"] == "router@1"


def test_texts_go_where_they_should(ours: Running) -> None:
    assert told(ask(ours, LEGAL))[0] == "legal"
    assert told(ask(ours, CODING))[0] == "coding"
    assert told(ask(ours, NOWHERE)) == ("base", "fallback", "unclear")
    assert told(ask(ours, "")) == ("base", "fallback", "no_text")


def test_the_whole_conversation_is_read_and_the_newest_first(ours: Running) -> None:
    messages = [
        {"role": "user", "content": CODING},
        {"role": "assistant", "content": LEGAL},
        {"role": "user", "content": "And now?"},
    ]
    reply = ask(ours, "", messages=messages)
    dry = ours.operated("POST", "/route", {"messages": messages})
    assert told(reply)[0] == dry["cohort"] == "coding"
    assert dry["scores"] == ours.operated("POST", "/route", {"text": f"And now?\n{CODING}"})["scores"]


def test_a_completion_is_routed_by_its_prompt(ours: Running) -> None:
    with ours.http() as client:
        body = {"model": "auto", "prompt": LEGAL, "max_tokens": 1}
        assert told(client.post(COMPLETIONS, json=body))[0] == "legal"
        ids = client.post(COMPLETIONS, json={**body, "prompt": [5, 6, 7]})
    assert told(ids) == ("base", "fallback", "no_text")


def test_names_and_rules_come_first_and_read_nothing(ours: Running) -> None:
    for more, layer in (({"model": "finance"}, "pinned"), ({"metadata": {"vertical": "finance"}}, "metadata")):
        reply = ask(ours, LEGAL, **more)
        assert told(reply)[:2] == ("finance", layer)
        row = ours.row(reply.headers["x-request-id"])
        assert row["router"] == "router@1" and "classifier" not in json.loads(row["scores"])


def test_rules_that_contradict_each_other_leave_it_to_the_text(ours: Running) -> None:
    reply = ask(ours, LEGAL, metadata={"vertical": "legal", "tenant": "coding-house"})
    assert told(reply)[0] == "legal" and told(reply)[1] in ("semantic", "classifier")


def test_a_key_gets_the_best_of_its_cohorts_or_the_base(fresh: Running) -> None:
    key = fresh.key(cohorts=["finance", "base"])
    assert told(ask(fresh, LEGAL, key))[:2] == ("base", "fallback")
    alone = fresh.key(cohorts=["finance"])
    with fresh.http(alone) as client:
        reply = client.post(CHAT, json=chat(LEGAL, model="auto"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "cohort_not_granted")


def test_ready_and_status_name_the_router(ours: Running) -> None:
    assert ready(ours)["router"] == "router@1"
    assert ready(ours)["alarms"] == []
    status = ours.operated("GET", "/status")["router"]
    assert status["version"] == "router@1" and 0 < status["threshold"] < 1


def test_the_table_has_its_row(ours: Running, fitted_router: Fitted) -> None:
    (row,) = ours.rows("SELECT * FROM routers")
    assert (row["version"], row["state"], row["digest"]) == (1, "live", fitted_router.digest)
    (entry,) = ours.operated("GET", "/routers")
    assert entry["rows"]["legal"] > 100 and 0 < entry["held_back"]["coverage"] <= 1


# -- sessions --------------------------------------------------------------------------------------------------------


def unclear_but_near(appliance: Running, cohort: str) -> str:
    """A text that goes to the cohort only when something beside it speaks for it."""
    assert appliance.box.routers is not None
    router = appliance.box.routers.current
    assert router is not None
    words = {"legal": "agreement", "coding": "function"}[cohort]
    known = appliance.box.config.routing()
    for row in rows("train"):
        if row.cohort not in (cohort, "base"):
            continue
        for n in range(2, 12):
            text = " ".join(row.text.split()[:n]) + f" {words}"
            if (
                decide(Query(text), known, router).cohort == "base"
                and decide(Query(text, session=cohort), known, router).reason == "session_kept"
            ):
                return text
    raise AssertionError("no such text was found")


def test_a_session_stays_and_turns(ours: Running) -> None:
    unclear = unclear_but_near(ours, "legal")
    assert told(ask(ours, unclear, session="first"))[:2] == ("base", "fallback"), "nothing came before"
    ask(ours, LEGAL, session="first")
    kept = ask(ours, unclear, session="first")
    assert told(kept)[:2] == ("legal", "classifier")
    turned = ask(ours, CODING, session="first")
    assert told(turned)[0] == "coding"
    assert told(ask(ours, unclear, session="first"))[0] == "base", "it is another session now"
    assert told(ask(ours, unclear))[0] == "base", "no session"
    assert told(ask(ours, unclear, session="second"))[0] == "base", "a session of its own"


def test_why_a_session_stays_and_turns(fresh: Running, tiny_adapters: tuple[Path, Path]) -> None:
    """With live releases the reason is the router's."""
    for cohort in ("legal", "coding"):
        fresh.release(tiny_adapters[0], cohort)
    unclear = unclear_but_near(fresh, "legal")
    assert told(ask(fresh, LEGAL, session="s"))[2] in ("classified", "near_examples")
    assert told(ask(fresh, unclear, session="s")) == ("legal", "classifier", "session_kept")
    cohort, layer, reason = told(ask(fresh, CODING, session="s"))
    assert (cohort, reason) == ("coding", "session_turned") and layer in ("semantic", "classifier")


def test_sessions_of_different_keys_never_meet(fresh: Running) -> None:
    unclear = unclear_but_near(fresh, "legal")
    one, same, other = (fresh.key(tenant=tenant) for tenant in ("a", "a", "b"))
    keyless = fresh.key()
    ask(fresh, LEGAL, one, session="s")
    assert told(ask(fresh, unclear, one, session="s"))[0] == "legal"
    assert told(ask(fresh, unclear, same, session="s"))[0] == "legal", "of the same tenant"
    assert told(ask(fresh, unclear, other, session="s"))[0] == "base"
    assert told(ask(fresh, unclear, keyless, session="s"))[0] == "base"


# -- replay ----------------------------------------------------------------------------------------------------------


def test_replay_of_the_same_router_changes_nothing(fresh: Running) -> None:
    """Whatever beside the text decided: sessions, grants, a key's tenant, metadata that counts and that does not."""
    unclear = unclear_but_near(fresh, "legal")
    tenant = fresh.key(tenant="coding-house")
    mute = fresh.key(hints=False)
    narrow = fresh.key(cohorts=["finance", "base"])
    free = fresh.key()
    for text in TEXTS.values():
        ask(fresh, text, free)
    ask(fresh, LEGAL, free, session="s")
    assert told(ask(fresh, unclear, free, session="s"))[0] == "legal"
    assert told(ask(fresh, unclear, free, model="legal", session="t"))[1] == "pinned"
    assert told(ask(fresh, unclear, free, session="t"))[0] == "legal"
    assert told(ask(fresh, NOWHERE, tenant))[0] == "coding"
    assert told(ask(fresh, NOWHERE, mute, metadata={"vertical": "legal"}))[0] == "base"
    assert told(ask(fresh, LEGAL, narrow))[0] == "base"
    count = "SELECT count(*) AS n FROM interactions"
    before = fresh.rows(count)
    found = fresh.operated("POST", "/router/replay", {})
    assert (found["changed"], found["moves"], found["examples"]) == (0, [], [])
    assert found["n"] == len(TEXTS) + 6, "pinned requests are not decided again"
    assert found["before"] == found["after"]
    assert (found["router"], fresh.rows(count), states(fresh)) == ("router@1", before, {1: "live"})

    never = fresh.operated("POST", "/router/replay", {"threshold": 1.0})
    assert never["threshold"] == 1.0 and never["changed"] > 0
    assert {move["to"] for move in never["moves"]} == {"base"}
    assert never["examples"][0]["request_id"].startswith("req_")
    always = fresh.operated("POST", "/router/replay", {"threshold": 0.0, "router": 1})
    assert always["changed"] > 0 and always["after"].get("base", 0) < found["after"]["base"]
    assert fresh.operated("GET", "/status")["router"]["threshold"] == found["threshold"], "live traffic keeps its own"
    assert fresh.operated("POST", "/router/replay", {"limit": 1})["n"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"router": 9}, 404),
        ({"router": 0}, 400),
        ({"threshold": 1.5}, 400),
        ({"threshold": "high"}, 400),
        ({"limit": 0}, 400),
        ({"dry": True}, 400),
    ],
)
def test_replays_that_cannot_be(ours: Running, body: Json, status: int) -> None:
    assert ours.operator("POST", "/router/replay", body).status_code == status


# -- evaluation ------------------------------------------------------------------------------------------------------


def test_eval_of_files(ours: Running, tmp_path: Path) -> None:
    file = written(
        tmp_path / "rows.jsonl",
        [
            {"prompt": LEGAL, "cohort": "legal"},
            {"text": CODING, "cohort": "coding", "style": "ignored"},
            {"prompt": NOWHERE, "cohort": "none"},
            {"prompt": NOWHERE, "cohort": "base", "vertical": "legal"},
        ],
    )
    found = ours.operated("POST", "/router/eval", {"paths": [str(file)]})
    assert (found["n"], found["coverage"], found["accuracy"]) == (4, 1, 1)
    assert (found["ood_accepted"], found["misrouted"]) == (0.5, 0.25), "its metadata names a cohort"
    assert found["router"] == "router@1" and 0 < found["threshold"] < 1
    assert found["confusion"]["base"] == {"base": 1, "legal": 1}
    alone = ours.operated("POST", "/router/eval", {"paths": [str(file), str(file)], "metadata": False})
    assert (alone["n"], alone["ood_accepted"], alone["misrouted"]) == (8, 0, 0)
    assert alone["auroc"] == 1


def test_eval_of_rows_of_no_cohort_alone(ours: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{"prompt": NOWHERE, "cohort": "none"}] * 3)
    found = ours.operated("POST", "/router/eval", {"paths": [str(file)]})
    assert (found["auroc"], found["coverage"], found["accuracy"], found["ood_accepted"]) == (None, None, None, 0)


BAD_LINES = {
    "no JSON": ("{", "line 2 is not JSON"),
    "no object": ("[1]", "line 2 is not a JSON object"),
    "no text": ('{"cohort": "legal"}', "line 2 has neither prompt nor text"),
    "text of another kind": ('{"prompt": 7, "cohort": "legal"}', "line 2 has neither prompt nor text"),
    "no cohort": ('{"prompt": "x"}', "line 2 has no cohort"),
    "an unknown cohort": (
        '{"prompt": "x", "cohort": "lawyers"}',
        "line 2 is of cohort 'lawyers', which the configuration has not",
    ),
    "half a character": ('{"prompt": "\\ud83d", "cohort": "legal"}', "line 2 is not JSON"),
    "depth": ("[" * 100_000, "line 2 is not JSON"),
}


@pytest.mark.parametrize(("line", "says"), BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("verb", ["eval", "fit"])
def test_bad_lines_are_named(ours: Running, tmp_path: Path, verb: str, line: str, says: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "x", "cohort": "legal"}}\n{line}\n', encoding="utf-8")
    reply = ours.operator("POST", f"/router/{verb}", {"paths": [str(file)]})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "paths"), reply.text
    assert f"{file}, {says}" in error["message"]


@pytest.mark.parametrize("path", ["", "rows.jsonl", "/", "/nowhere/rows.jsonl", "/a\0b", "/dev/zero", "noise"])
def test_bad_files(ours: Running, tmp_path: Path, path: str) -> None:
    if path == "noise":
        (tmp_path / "noise").write_bytes(b'{"prompt": "\xff\xfe", "cohort": "legal"}\n')
        path = str(tmp_path / "noise")
    reply = ours.operator("POST", "/router/eval", {"paths": [path]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "paths"), reply.text
    assert ours.operated("GET", "/router/fit")["doing"] == "nothing was begun"


def test_nothing_to_evaluate(ours: Running, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n")
    for paths in ([], [str(tmp_path / "rows.jsonl")]):
        reply = ours.operator("POST", "/router/eval", {"paths": paths})
        assert reply.status_code == 400 and "no rows" in reply.json()["error"]["message"]


def test_a_viewer_may_look_and_not_touch(fresh: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{"prompt": LEGAL, "cohort": "legal"}])
    with fresh.http(fresh.key(scopes=["viewer"])) as client:
        assert client.post("/admin/v1/router/eval", json={}).status_code == 200
        assert client.post("/admin/v1/router/replay", json={}).status_code == 200
        for verb, body in (("eval", {"paths": [str(file)]}), ("fit", {}), ("switch", {})):
            assert client.post(f"/admin/v1/router/{verb}", json=body).status_code == 403, verb


# -- fits ------------------------------------------------------------------------------------------------------------


def fitted(appliance: Running, **wanted: object) -> Json:
    """What the fit ended with; its progress only grew."""
    reply = appliance.operator("POST", "/router/fit", {**wanted})
    assert reply.status_code == 202, reply.text
    fractions = [reply.json()["fraction"]]

    def done() -> Json | None:
        state: Json = appliance.operated("GET", "/router/fit")
        fractions.append(state["fraction"])
        return state if state["done"] else None

    for _ in range(10):  # a fit is many times what `until` waits for
        try:
            state: Json = until(done)
            break
        except AssertionError:
            continue
    assert fractions == sorted(fractions) and fractions[-1] == 1
    return state


def mislabelled(path: Path) -> Path:
    """Rows of coding said to be of finance, beside finance's own; those among the few examples are not touched."""
    coding, finance = ([row for row in rows("train") if row.cohort == name] for name in ("coding", "finance"))
    wrong = [*coding[FEW : FEW + 40], *finance[:20]]
    return written(path, [{"prompt": row.prompt, "text": row.text, "cohort": "finance"} for row in wrong])


def test_a_refusal_a_fit_and_the_way_back(
    fresh: Running, fitted_router: Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is fitted here; afterwards the child tells of what lies there already."""
    file = str(mislabelled(tmp_path / "wrong.jsonl"))
    done = fitted(fresh, paths=[file])
    assert done["error"] is None, done
    refused = done["router"]
    assert (refused["version"], refused["state"], refused["report"]["n"]) == (2, "refused", 5 * FEW)
    assert any(why.startswith("coding lost") for why in refused["refusals"])
    assert ready(fresh)["router"] == "router@1" and states(fresh) == {2: "refused", 1: "live"}
    assert told(ask(fresh, CODING))[0] == "coding"

    def makes(digest: str) -> None:
        lines = [json.dumps({"fraction": 1.0, "doing": "done", "digest": digest})]
        monkeypatch.setattr(children, "run", lambda *_arguments, **_limits: iter(lines))

    makes(refused["digest"])
    assert fitted(fresh, paths=[file])["router"]["state"] == "refused"
    forced = fitted(fresh, paths=[file], force=True)["router"]
    assert (forced["version"], forced["state"], forced["refusals"]) == (4, "live", [])
    assert fresh.row(ask(fresh, LEGAL).headers["x-request-id"])["router"] == "router@4"
    makes(fitted_router.digest)
    assert fitted(fresh)["router"]["state"] == "live"
    assert states(fresh) == {5: "live", 4: "retired", 3: "refused", 2: "refused", 1: "retired"}

    assert fresh.operated("POST", "/router/switch", {})["version"] == 4
    assert fresh.operated("POST", "/router/switch", {})["version"] == 1, "not a refused one"
    assert fresh.operator("POST", "/router/switch", {}).status_code == 409
    assert fresh.operated("POST", "/router/switch", {"version": 5})["state"] == "live"
    assert fresh.operator("POST", "/router/switch", {"version": 9}).status_code == 404
    assert ready(fresh)["router"] == "router@5"
    audit = [row for row in fresh.operated("GET", "/audit") if row["action"].startswith("router.")]
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

    shutil.rmtree(fresh.home / "router" / refused["digest"])
    gone = fresh.operator("POST", "/router/switch", {"version": 4})
    assert gone.status_code == 409 and "manifest" in gone.json()["error"]["message"]
    assert ready(fresh)["router"] == "router@5" and states(fresh)[5] == "live"
    assert fresh.operator("POST", "/router/replay", {"router": 4}).status_code == 409


def test_one_fit_at_a_time(fresh: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile requests are served; the child's end is told, and nothing has changed."""
    go_on = threading.Event()

    def slow(*_arguments: str, **_limits: float) -> Iterator[str]:
        yield "a line of some library"
        yield json.dumps({"fraction": 0.5, "doing": "reading 2 texts"})
        assert go_on.wait(60)
        raise ChildFailed("it was ended by signal 9 (SIGKILL)")

    monkeypatch.setattr(children, "run", slow)
    assert fresh.operator("POST", "/router/fit", {}).status_code == 202
    until(lambda: fresh.operated("GET", "/router/fit")["doing"] == "reading 2 texts")
    second = fresh.operator("POST", "/router/fit", {})
    assert (second.status_code, second.json()["error"]["code"]) == (409, "conflict")
    assert told(ask(fresh, LEGAL))[0] == "legal"
    go_on.set()
    state = until(lambda: (s := fresh.operated("GET", "/router/fit"))["done"] and s)
    assert (state["error"], state["router"]) == ("it was ended by signal 9 (SIGKILL)", None)
    unchanged(fresh)


def unchanged(appliance: Running) -> None:
    assert (states(appliance), ready(appliance)["router"]) == ({1: "live"}, "router@1")
    assert not [path for path in (appliance.home / "router").iterdir() if path.name.startswith("fit-")]


def test_a_child_that_is_killed(fresh: Running) -> None:
    assert fresh.operator("POST", "/router/fit", {}).status_code == 202
    child = until(lambda: [child for child in children._running if "router.fit" in str(child.args)])[0]
    child.kill()
    state = until(lambda: (s := fresh.operated("GET", "/router/fit"))["done"] and s)
    assert "SIGKILL" in state["error"] and state["router"] is None
    unchanged(fresh)


def test_a_folder_that_cannot_be_written(fresh: Running) -> None:
    folder = fresh.home / "router"
    folder.rename(fresh.home / "elsewhere")
    folder.write_text("no folder")
    error = fitted(fresh)["error"]
    assert str(folder) in error and "Not a directory" in error
    assert ready(fresh)["router"] == "router@1", "what is loaded goes on"
    assert told(ask(fresh, LEGAL))[0] == "legal"


def test_a_disk_that_is_full(fresh: Running, fitted_router: Fitted) -> None:
    """The encoder fits, the router does not."""
    kept = next(fitted_router.folder.glob("encoder-*.onnx"))
    room = kept.stat().st_size + (2 << 20)
    with mounted(fresh.home / "router", "-o", f"size={room}") as folder:
        shutil.copy(kept, folder)
        assert "No space left" in fitted(fresh)["error"]
        assert states(fresh) == {1: "live"}


def test_what_feedback_confirmed_is_learned(fresh: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when told so; of a cohort that is gone nothing; the newest word on a request counts."""
    given: list[list[str]] = []

    def catch(_module: str, job: str, **_limits: float) -> Iterator[str]:
        lines = Path(json.loads(Path(job).read_text())["rows"]).read_text().splitlines()
        given.append([row["cohort"] for row in map(json.loads, lines) if row["text"].startswith("Confirmed")])
        raise ChildFailed("enough")
        yield ""

    monkeypatch.setattr(children, "run", catch)
    for number, words in enumerate((["legal"], ["legal", "coding"], ["base"], [])):
        request = ask(fresh, f"Confirmed {number}").headers["x-request-id"]
        with fresh.http() as client:
            for cohort in words:
                body = {"request_id": request, "cohort": cohort}
                assert client.post("/v1/feedback", json=body).is_success
    assert fitted(fresh)["error"] == fitted(fresh, interactions=True)["error"] == "enough"
    assert given == [[], given[1]]
    assert sorted(given[1]) == ["base", "coding", "legal"]


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
