"""The text router in a running appliance: live traffic, the dry run, sessions, replay, evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.decide import decide
from router.layers import Query
from tests.fitted import Fitted, rows
from tests.http.routed import (
    CHAT,
    CODING,
    COMPLETIONS,
    LEGAL,
    NOWHERE,
    ask,
    ready,
    states,
    told,
    written,
)
from tests.http.running import Json, Running, chat

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


def test_a_key_gets_the_best_of_its_cohorts_or_the_base(lent: Running) -> None:
    key = lent.key(cohorts=["finance", "base"])
    assert told(ask(lent, LEGAL, key))[:2] == ("base", "fallback")
    alone = lent.key(cohorts=["finance"])
    with lent.http(alone) as client:
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


def test_sessions_of_different_keys_never_meet(lent: Running) -> None:
    unclear = unclear_but_near(lent, "legal")
    one, same, other = (lent.key(tenant=tenant) for tenant in ("a", "a", "b"))
    keyless = lent.key()
    ask(lent, LEGAL, one, session="s")
    assert told(ask(lent, unclear, one, session="s"))[0] == "legal"
    assert told(ask(lent, unclear, same, session="s"))[0] == "legal", "of the same tenant"
    assert told(ask(lent, unclear, other, session="s"))[0] == "base"
    assert told(ask(lent, unclear, keyless, session="s"))[0] == "base"


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
    with fresh.http(free) as client:  # the first prompt alone is coding's
        body = {"model": "auto", "prompt": [CODING, *[LEGAL] * 8], "max_tokens": 1}
        assert told(client.post(COMPLETIONS, json=body))[0] != "coding"
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
    assert found["n"] == len(TEXTS) + 7, "pinned requests are not decided again"
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
UTF16 = '{"prompt": "x", "cohort": "legal"}\n'.encode("utf-16")


@pytest.mark.parametrize(("line", "says"), BAD_LINES.values(), ids=BAD_LINES)
@pytest.mark.parametrize("verb", ["eval", "fit"])
def test_bad_lines_are_named(ours: Running, tmp_path: Path, verb: str, line: str, says: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "x", "cohort": "legal"}}\n{line}\n', encoding="utf-8")
    reply = ours.operator("POST", f"/router/{verb}", {"paths": [str(file)]})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "paths"), reply.text
    assert f"{file}, {says}" in error["message"]


@pytest.mark.parametrize(
    "path", ["", "rows.jsonl", "/", "/nowhere/rows.jsonl", "/a\0b", "/dev/zero", "noise", "UTF-16"]
)
def test_bad_files(ours: Running, tmp_path: Path, path: str) -> None:
    for name, content in (("noise", b'{"prompt": "\xff\xfe", "cohort": "legal"}\n'), ("UTF-16", UTF16)):
        if path == name:
            (tmp_path / name).write_bytes(content)
            path = str(tmp_path / name)
    reply = ours.operator("POST", "/router/eval", {"paths": [path]})
    assert ("is not UTF-8" in reply.text) is path.endswith(("/noise", "/UTF-16"))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "paths"), reply.text
    assert ours.operated("GET", "/jobs") == []


def test_nothing_to_evaluate(ours: Running, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n")
    for verb, paths in (("eval", []), ("eval", ["rows.jsonl"]), ("fit", ["rows.jsonl"])):
        reply = ours.operator("POST", f"/router/{verb}", {"paths": [str(tmp_path / name) for name in paths]})
        assert reply.status_code == 400 and "no rows" in reply.json()["error"]["message"]


def test_a_viewer_may_look_and_not_touch(lent: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "rows.jsonl", [{"prompt": LEGAL, "cohort": "legal"}])
    with lent.http(lent.key(scopes=["viewer"])) as client:
        assert client.post("/admin/v1/router/eval", json={}).status_code == 200
        assert client.post("/admin/v1/router/replay", json={}).status_code == 200
        for verb, body in (("eval", {"paths": [str(file)]}), ("fit", {}), ("switch", {})):
            assert client.post(f"/admin/v1/router/{verb}", json=body).status_code == 403, verb
