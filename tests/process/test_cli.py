"""The command, on a running appliance and without one: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from appliance.cli import command, log
from appliance.cli.client import Refused
from appliance.cli.main import cli
from tests.test_docs import verbs

from .premises import COHORT, Premises, Served, chat, running

LEAVES = [verb.split() for verb, _ in verbs(typer.main.get_command(cli), ())]
VERBS = sorted({" ".join(words[:n]) for words in LEAVES for n in range(len(words) + 1)})  # and their groups
HOSTILE = "\x1b[31mred\x1b]52;c;aGk=\x07 [bold]mark[/bold] [/x] \u202eabc\x9b2J\r\nforged line\x00"


@dataclass
class Desk:
    """Where the command is typed; `served` is None when no appliance runs."""

    premises: Premises
    served: Served | None

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - any JSON value
        """The one JSON value the command prints."""
        done = self.premises.cohort(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
        return json.loads(done.stdout)

    def text(self, *arguments: str) -> str:
        done = self.premises.cohort(*arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        return done.stdout

    def fails(self, *arguments: str) -> str:
        """The one line of a command that fails with 1."""
        done = self.premises.cohort(*arguments)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr


@pytest.fixture(scope="module", params=["running", "offline"])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Desk]:
    """Both homes hold one ordinary and one hostile request."""
    premises = Premises(tmp_path_factory.mktemp(request.param), tiny_base).seeded()
    with running(premises) as served, served.client() as client:
        for text in ("an ordinary question", HOSTILE):
            headers = {"X-Session-Id": "s"}
            reply = client.post("/v1/chat/completions", json=chat(text, model="legal"), headers=headers)
            assert reply.status_code == 200
        if request.param == "offline":
            assert served.stop() == 0
            yield Desk(premises, None)
        else:
            yield Desk(premises, served)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str) -> None:
    done = CliRunner().invoke(cli, [*verb.split(), "--help"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Usage: " in done.stdout


def test_it_tells_its_version() -> None:
    done = CliRunner().invoke(cli, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"cohort {metadata.version('cohort-appliance')}\n")


@pytest.mark.parametrize("verb", ["", "serve"])
def test_an_explanation_needs_no_home(premises: Premises, verb: str) -> None:
    done = premises.afresh(*verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: " in done.stdout
    assert not premises.home.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("promote",),
        ("serve", "--port", "99999"),
        ("log", "tail", "-n", "0"),
        ("release", "add", "x"),
        ("status", "--x"),
        ("show", "legal@x"),
        ("route", "x", "--meta", "acme"),
        ("import", "x.jsonl", "--cohort", "legal"),
        ("import", "x.jsonl", "--cohort", "legal", "--split", "test"),
    ],
)
def test_wrong_usage_is_2(premises: Premises, arguments: tuple[str, ...]) -> None:
    done = premises.cohort(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_release_from_its_adding_to_its_end(desk: Desk, tiny_adapters: tuple[Path, Path]) -> None:
    one, two = tiny_adapters
    assert desk.json("releases") == []
    assert step(desk) == ("train", "cohort retrain legal")
    first = desk.json("release", "add", str(one), "--cohort", "legal")
    assert (first["cohort"], first["version"], first["state"], first["parent"]) == ("legal", 1, "candidate", None)
    assert step(desk) == ("judge", "cohort promote legal@1 or cohort reject legal@1")
    assert "cohort promote legal@1" in desk.text("cohorts")
    assert desk.json("promote", "legal") == {"cohort": "legal", "live": "legal@1", "previous": None}
    assert step(desk) == (None, None)
    second = desk.json("release", "add", str(two), "--cohort", "legal", "--live")
    assert (second["version"], second["state"]) == (2, "live")
    listed = desk.json("releases", "--cohort", "legal")
    assert [(entry["version"], entry["state"]) for entry in listed] == [(2, "live"), (1, "retired")]
    assert {"cohort", "version", "digest", "state", "parent", "created"} <= set(listed[0])
    assert desk.json("rollback", "legal")["live"] == "legal@1"
    assert desk.json("promote", "legal@2") == {"cohort": "legal", "live": "legal@2", "previous": "legal@1"}
    shown = desk.json("show", "legal@2")
    assert shown["manifest"]["gated"] is False
    assert shown["events"][0]["event"] == "added"
    assert "legal@2" in desk.text("releases")
    assert "legal: legal@1 is live" in desk.text("rollback", "legal")
    actions = [row["action"] for row in desk.json("audit")]
    assert actions[:3] == ["release.rollback", "release.promote", "release.rollback"]
    assert actions.count("release.add") == 2
    assert "release.add" in desk.text("audit")


def test_of_what_was_made_elsewhere_nothing_is_known(desk: Desk, tiny_adapters: tuple[Path, Path]) -> None:
    desk.json("release", "add", str(tiny_adapters[0]), "--cohort", "finance")
    shown = desk.text("lineage", "finance@1")
    assert "what it learned from, and of whom, is not known here" in shown and "none named" not in shown
    assert "the base answers for support (cohort retrain support)" in desk.text("releases", "--cohort", "support")


def test_a_certificate_that_is_none_is_named(desk: Desk, tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pem", tmp_path, desk.premises.config):
        said = desk.fails("tui", "--url", "https://localhost:1", "--authorities", str(path))
        assert f"--authorities {path}: " in said and "name a PEM file" in said


def step(desk: Desk) -> tuple[str | None, str | None]:
    """What to do next about the cohort legal."""
    told = next(one for one in desk.json("cohorts") if one["cohort"] == "legal")["next"]
    return told["step"], told["command"]


def test_what_fails_is_1_and_says_why(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "noise.gguf").write_bytes(b"noise")
    assert "there is no file" in desk.fails("release", "add", str(tmp_path / "gone.gguf"), "--cohort", "legal")
    assert "is refused" in desk.fails("release", "add", str(tmp_path / "noise.gguf"), "--cohort", "legal")
    assert 'there is no cohort "lawyers"' in desk.fails("promote", "lawyers")
    assert "there is no release legal@99" in desk.fails("show", "legal@99")
    assert "legal has no release legal@99" in desk.fails("promote", "legal@99")
    assert "support has no live release: the base answers for it already" in desk.fails("rollback", "support")
    assert "no request req_gone is logged here" in desk.fails("log", "show", "req_gone")
    assert "there is no key gone" in desk.fails("key", "revoke", "gone")
    assert "expires is a moment like" in desk.fails("key", "add", "k", "--expires", "tomorrow")
    assert "expires is a moment like" in desk.fails("key", "add", "k", "--expires", "2h")
    assert "expires is past already: 2020-01-01" in desk.fails("key", "add", "k", "--expires", "2020-01-01")
    assert 'there is no cohort "leagl"' in desk.fails("key", "add", "k", "--cohort", "leagl")
    assert 'there is no cohort "leagl"' in desk.fails("releases", "--cohort", "leagl")
    assert 'there is no cohort "leagl"' in desk.fails("job", "list", "--cohort", "leagl")
    assert f"{tmp_path} is a folder" in desk.fails("curve", "legal", "--html", str(tmp_path))
    assert "/nowhere/x.svg cannot be written" in desk.fails("router", "eval", "--plot", "/nowhere/x.svg")
    assert "is not UTF-8: rename the file" in desk.fails(
        "import", "Vertr\udce4ge", "--cohort", "a", "--split", "eval"
    )
    assert "text is empty" in desk.fails("route", "")
    assert desk.json("route", "", "--meta", "tenant=acme")["cohort"] == "base"
    assert desk.json("key", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("key", "add", "k", "--scope", "everything"),
        ("log", "tail", "--status", "lost"),
        ("log", "tail", "--layer", "semntic"),
        ("job", "list", "--kind", "retrian"),
        ("retrain", "legal", "--max-minutes", "inf"),
        ("curve", "legal", "--max-minutes", "1e9"),
        ("show", "legal@²"),
        ("show", "@1"),
        ("retrain", "legal", "--max-minutes", "nan"),
        ("log", "show", ""),
    ],
)
def test_what_cannot_be_meant_is_2(desk: Desk, arguments: tuple[str, ...]) -> None:
    done = desk.premises.cohort(*arguments)
    assert (done.returncode, done.stdout) == (2, "") and "Traceback" not in done.stderr


@pytest.mark.parametrize("identity", [".", "../status", "req_1\r", "a/../b", "..", "%2e%2e", "x?y#z"])
def test_an_id_is_never_another_path(desk: Desk, identity: str) -> None:
    for verb in (("log", "show"), ("job", "show"), ("job", "cancel"), ("slice", "show"), ("key", "revoke")):
        said = desk.fails(*verb, identity)
        assert "there is no" in said or "no request" in said or "Not Found" in said or "no cohort" in said, said
    desk.fails("show", f"{identity}@1")


def test_examples_are_imported_once(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Name the clause.", "completion": "warranty"}\n', encoding="utf-8")
    train = ("import", str(file), "--cohort", "legal", "--split", "train")
    told = {"cohort": "legal", "split": "train", "read": 1}
    assert desk.json(*train) == {**told, "added": 1, "known": 0}
    assert desk.json(*train) == {**told, "added": 0, "known": 1}
    assert "1 rows read, 0 added, 1 known already" in desk.text(*train)
    assert desk.json("examples") == [{"cohort": "legal", "split": "train", "rows": 1}]
    assert desk.text("examples").split() == ["cohort", "split", "rows", "legal", "train", "1"]
    assert f"{file}, line 1, field prompt" in desk.fails("import", str(file), "--cohort", "legal", "--split", "eval")
    assert 'there is no cohort "lawyers"' in desk.fails("import", str(file), "--cohort", "lawyers", "--split", "eval")


def test_examples_need_no_base(premises: Premises) -> None:
    premises.model = premises.folder / "gone.gguf"
    premises.configure()
    rows = premises.folder / "rows.jsonl"
    rows.write_text('{"prompt": "hello"}\n', encoding="utf-8")
    done = premises.cohort("import", "rows.jsonl", "--cohort", "base", "--split", "train", "--json")
    assert (done.returncode, done.stderr) == (0, f"made a new home in {premises.home}\n")
    assert json.loads(done.stdout)["added"] == 1
    assert premises.cohort("examples", "--json").stdout == '[{"cohort": "base", "split": "train", "rows": 1}]\n'


def test_a_route_is_told(desk: Desk) -> None:
    decision = desk.json("route", "Does this clause bind us?")
    assert {"cohort", "layer", "reason", "confidence", "scores", "router"} <= set(decision)
    assert decision["cohort"] == "base"
    assert "layer fallback" in desk.text("route", "Does this clause bind us?", "--meta", "tenant=acme")


def test_the_status(desk: Desk) -> None:
    status = desk.json("status")
    assert status["base"]["format"] == "as_is"
    assert status["phase"] == ("ready" if desk.served else "closed")
    assert desk.served or status["doing"] == "no appliance serves this home: cohort serve"
    assert status["alarms"] == []
    assert json.loads(desk.text("status"))["base"] == status["base"]
    assert desk.json("base", "import") == status["base"]
    assert "served as as_is" in desk.text("base", "import")


def test_keys(desk: Desk) -> None:
    made = desk.json("key", "add", "clerk", "--scope", "infer", "--cohort", "legal", "--tenant", "acme")
    assert made["secret"].startswith(f"ck_{made['id']}_")
    (listed,) = desk.json("key", "list")
    assert "secret" not in listed or listed["secret"] is None
    assert (listed["name"], listed["cohorts"], listed["tenant"]) == ("clerk", ["legal"], "acme")
    assert made["secret"].rpartition("_")[2] not in desk.text("key", "list")
    if desk.served is not None:
        with desk.served.client() as client:
            assert client.get("/v1/models").status_code == 401
            bearer = {"Authorization": f"Bearer {made['secret']}"}
            assert client.get("/v1/models", headers=bearer).status_code == 200
    revoked = desk.json("key", "revoke", made["id"])
    assert revoked["revoked"]
    assert "Keep it now" in desk.text("key", "add", "second")
    for key in desk.json("key", "list"):
        if not key["revoked"]:
            desk.text("key", "revoke", key["id"])


def test_the_last_key_that_is_revoked_opens_the_box(desk: Desk) -> None:
    first, second = (desk.json("key", "add", name)["id"] for name in ("one", "two"))
    for key, says in ((first, ""), (second, "no key is left: inference is open to whoever reaches the port")):
        done = desk.premises.cohort("key", "revoke", key)
        assert done.returncode == 0 and done.stderr.startswith(says) and bool(done.stderr) is bool(says)


def test_what_is_printed_goes_to_stdout_though_stderr_is_a_terminal(desk: Desk) -> None:
    """As in `cohort log export > all.jsonl` at a prompt."""
    ours, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*COHORT, "log", "export"],
            env=desk.premises.environ(),
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=60,
            check=True,
        )
    finally:
        os.close(terminal)
        os.close(ours)
    assert [json.loads(line)["messages"][-1]["content"] for line in done.stdout.splitlines()] == [
        "an ordinary question",
        HOSTILE,
    ]


def test_a_reader_that_has_seen_enough_is_no_failure(desk: Desk) -> None:
    command = " ".join([*COHORT, "log", "export", "|", "head", "-c", "1"])
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", command],
        env=desk.premises.environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


@pytest.mark.parametrize("wanted", ["--html", "--junit"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(desk: Desk, wanted: str) -> None:
    assert "/nowhere/report cannot be written" in desk.fails("eval", wanted, "/nowhere/report")
    assert desk.json("job", "list") == []


def test_the_log(desk: Desk, tmp_path: Path) -> None:
    done = desk.premises.cohort("log", "tail", "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["messages"][-1]["content"] for row in rows] == ["an ordinary question", HOSTILE]
    assert desk.json("log", "show", rows[0]["id"]) == rows[0]
    assert [json.loads(line) for line in desk.text("log", "export").splitlines()] == rows
    assert len(desk.text("log", "tail", "-n", "1").splitlines()) == 1
    assert desk.text("log", "tail", "--cohort", "support") == ""
    assert desk.text("log", "tail", "--status", "failed") == ""
    copy = tmp_path / "copy.db"
    assert desk.text("log", "export", "--sqlite", str(copy)) == ""
    with closing(sqlite3.connect(copy)) as connection:
        found = connection.execute("SELECT id FROM interactions ORDER BY seq").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [id for (id,) in found] == [row["id"] for row in rows]
    assert f"{copy} exists already" in desk.fails("log", "export", "--sqlite", str(copy))


def test_hostile_text_is_printed_inert(desk: Desk) -> None:
    last = json.loads(desk.premises.cohort("log", "tail", "-n", "1", "--json").stdout)
    for arguments in (("log", "tail"), ("log", "show", last["id"])):
        printed = desk.premises.cohort(*arguments).stdout
        assert "[bold]mark[/bold]" in printed
        assert all(c.isprintable() or c == "\n" for c in printed)
        assert not any(line.startswith("forged") for line in printed.splitlines())
    assert len(desk.text("log", "tail").splitlines()) == 2


def test_a_mark_is_taken_back(desk: Desk) -> None:
    id = json.loads(desk.premises.cohort("log", "tail", "-n", "1", "--json").stdout)["id"]
    for said in (("--use", "for"), ("--rating", "1"), ("--use", "none")):
        assert desk.json("feedback", id, *said)["request_id"] == id
    stored = desk.premises.rows("SELECT use, rating FROM feedback WHERE request_id = ? ORDER BY rowid", id)
    assert [(row["use"], row["rating"]) for row in stored] == [("for", None), (None, 1), ("none", None)]
    assert "give at least one of" in desk.fails("feedback", id)
    shown = desk.json("log", "show", id)
    assert (shown["use"], shown["rating"], shown["reviewed"]) == (None, 1, True)


def test_the_log_is_narrowed_to_what_is_to_be_reviewed(desk: Desk) -> None:
    ids = [row["id"] for row in desk.premises.rows("SELECT id FROM interactions ORDER BY seq")]
    desk.json("feedback", ids[1], "--rating", "1")

    def found(*filters: str) -> list[str]:
        lines = desk.text("log", "tail", "--json", *filters).splitlines()
        return [json.loads(line)["id"] for line in lines]

    assert found("--reviewed") == ids[1:]
    assert found("--no-reviewed", "--origin", "live") == ids[:1]
    assert found("--origin", "probe") == []
    assert found("--since", "2h") == ids and found("--until", "3d") == []
    assert desk.premises.cohort("log", "tail", "--origin", "elsewhere").returncode == 2
    assert 'there is no cohort "leagl"' in desk.premises.cohort("log", "tail", "--cohort", "leagl").stderr
    nobody = desk.premises.cohort("log", "tail", "--release", "legal@9")
    assert (nobody.returncode, nobody.stdout, nobody.stderr) == (0, "", "no request in the log is like that\n")
    if desk.served is None:
        assert "so nothing comes" in desk.fails("log", "tail", "--follow")


def test_an_export_may_be_asked_for_as_json(desk: Desk) -> None:
    """Every verb takes --json; here it changes nothing."""
    done = desk.premises.cohort("log", "export", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == desk.text("log", "export")


def test_the_log_is_followed(premises: Premises) -> None:
    command = [*COHORT, "log", "tail", "-f", "-n", "1", "--json"]
    with running(premises.seeded()) as served, served.client() as client:
        ids = [client.post("/v1/chat/completions", json=chat("first")).json()["id"]]
        with subprocess.Popen(command, env=premises.environ(), stdout=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None
            assert json.loads(following.stdout.readline())["id"] == ids[0]
            ids += [client.post("/v1/chat/completions", json=chat("more")).json()["id"] for _ in range(2)]
            assert [json.loads(following.stdout.readline())["id"] for _ in range(2)] == ids[1:]
            following.terminate()
        assert served.stop() == 0


def test_following_begins_at_the_newest_row_whatever_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the newest row of the cohort, or it would read all that came after: the whole log, if there is none."""
    asked: list[dict[str, object]] = []

    class Log:
        serves = True

        async def get(self, _path: str, **query: object) -> list[dict[str, int]]:
            asked.append(query)
            if "after" in query:
                raise Refused("enough")
            return [] if query.get("cohort") else [{"seq": 7}]

    @asynccontextmanager
    async def connect(*_: object, **__: object) -> AsyncIterator[Log]:
        yield Log()

    monkeypatch.setattr(command, "connect", connect)
    with pytest.raises(Refused, match="enough"):
        log.log_tail(follow=True, cohort="support", as_json=True)
    assert asked[-1]["after"] == 7
    assert asked[1]["before"] == 8


def test_the_doctor(desk: Desk) -> None:
    findings = {finding["subject"]: finding for finding in desk.json("doctor")}
    assert {finding["state"] for finding in findings.values()} <= {"ok", "warning"}
    assert {"python", "sqlite", "home", "base", "base format", "disk", "threads", "llama.cpp"} <= set(findings)
    assert ("served by process" in findings["home"]["detail"]) is (desk.served is not None)
    assert "MISSING" not in desk.text("doctor")


def test_the_doctor_misses_the_base(premises: Premises) -> None:
    premises.model = premises.folder / "gone.gguf"
    premises.configure()
    done = premises.cohort("doctor", "--json")
    assert done.returncode == 1
    (base,) = (finding for finding in json.loads(done.stdout) if finding["subject"] == "base")
    assert base["state"] == "missing"
    assert str(premises.model) in base["detail"]
    assert base["remedy"]
    shown = premises.cohort("doctor")
    assert shown.returncode == 1
    assert "MISSING base" in shown.stdout
