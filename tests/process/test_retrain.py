"""`cohort retrain` as a person types it: exit codes, and kills at its steps."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.http.learnable import SETTINGS, judged, material, rows
from tests.http.routed import written

from .premises import COHORT, Premises, chat, running


@pytest.fixture
def learning(premises: Premises) -> Premises:
    """A home without an appliance: the command opens it itself."""
    for (cohort, split), lines in material().items():
        written(premises.folder / "examples" / cohort / f"{split}.jsonl", lines)
    premises.base |= {"context": 1024, "sequences": 8}
    premises.longest = LONGEST
    premises.configure()
    sections = SETTINGS[SETTINGS.index("[cohorts") :]
    premises.config.write_text(f"{premises.config.read_text()}\n{sections}", encoding="utf-8")
    return premises.seeded()


def begun(premises: Premises) -> subprocess.Popen[str]:
    command = [*COHORT, "retrain", "legal", "--json"]
    return subprocess.Popen(
        command,
        env=premises.environ(),
        cwd=premises.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def live(premises: Premises) -> list[str]:
    found = premises.rows("SELECT cohort, version FROM releases WHERE state = 'live'")
    return [f"{row['cohort']}@{row['version']}" for row in found]


LONGEST = 16  # tokens of an answer to a pattern: what is wanted is how it begins
KILLED = """
import os, signal
import {module} as module
from appliance import evaluation
evaluation.LONGEST = {longest}
module.{seam} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
from appliance.cli.main import main
main()
"""


def test_killed_between_two_steps_it_goes_on_when_it_is_begun_again(learning: Premises) -> None:
    """After the training, before the verdict, with a folder that the register does not know, with a candidate that is
    not live yet: every time nothing is live, and at last one release is, trained once."""
    seams = (
        ("appliance.training.trainer", "check_parity"),
        ("adapters.gates", "verdict"),
        ("appliance.releases.register", "_insert"),
        ("appliance.releases.register", "_apply"),
    )
    took: list[float] = []
    for module, seam in seams:
        program = KILLED.format(module=module, seam=seam, longest=LONGEST)
        command = [sys.executable, "-c", program, "retrain", "legal", "--json"]
        killed = subprocess.run(
            command, env=learning.environ(), cwd=learning.folder, capture_output=True, check=False, timeout=180
        )
        assert killed.returncode == -signal.SIGKILL, (seam, killed.stderr)
        assert learning.integrity() == "ok" and live(learning) == [], seam
        (result,) = (learning.home / "jobs").glob("*/result.json")
        took.append(json.loads(result.read_text())["seconds"])
    done = learning.cohort("retrain", "legal", "--json", seconds=180)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert live(learning) == ["legal@1"] == [told["release"]]
    assert {*took, told["training"]["seconds"]} == {took[0]}, "it was trained once"
    assert {row["state"] for row in learning.rows("SELECT state FROM jobs")} == {"interrupted", "done"}
    (folder,) = (learning.home / "releases").iterdir()
    assert (folder / "manifest.json").exists(), "what was not registered is swept"


@pytest.mark.slow
@pytest.mark.parametrize("kills", [12])
def test_killed_at_any_moment_it_goes_on_when_it_is_begun_again(learning: Premises, kills: int) -> None:
    """Afterwards there is the old state or the new one, whole; and at last the new one answers."""
    began = time.monotonic()
    assert learning.cohort("retrain", "legal", "--json").returncode == 0
    whole = time.monotonic() - began
    for number in range(kills):
        with begun(learning) as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(whole * (number + 0.5) / kills)
            process.kill()
        assert learning.integrity() == "ok"
        (now,) = live(learning)
        digest = learning.rows("SELECT digest FROM releases WHERE state = 'live'")[0]["digest"]
        assert (learning.home / "releases" / digest / "manifest.json").exists(), now
    done = learning.cohort("retrain", "legal", "--json")
    assert done.returncode == 0, done.stderr
    assert live(learning) == [json.loads(done.stdout)["release"]]
    states = {row["state"] for row in learning.rows("SELECT state FROM jobs")}
    assert states <= {"done", "interrupted"} and "interrupted" in states
    with running(learning) as served, served.client() as client:
        reply = client.post("/v1/chat/completions", json=chat("the contract", model="legal"))
    assert reply.headers["x-release"] == live(learning)[0]


def imported(premises: Premises, split: str, lines: list[dict[str, object]]) -> None:
    file = written(premises.folder / f"{split}.jsonl", lines)
    done = premises.cohort("import", str(file), "--cohort", "finance", "--split", split)
    assert done.returncode == 0, done.stderr


def spoiled(premises: Premises) -> None:
    """What the last training kept to be compared with serving is that of another base."""
    (kept,) = premises.home.glob("jobs/*/reference.npz")
    with np.load(kept) as held:
        np.savez(kept, adapter=held["adapter"][:, ::-1], base=held["base"][:, ::-1])


def test_exit_codes(learning: Premises) -> None:
    """Nothing to train on, too little to judge by, what was learned is not what is wanted, or not what is served."""
    nothing = learning.cohort("retrain", "finance")
    assert nothing.returncode == 1 and "cohort import" in nothing.stderr
    imported(learning, "train", rows(8000, 16, "which more"))
    imported(learning, "eval", judged(8500, 3, "which more"))
    few = learning.cohort("retrain", "finance", "--epochs", "1")
    assert few.returncode == 101, few.stderr
    assert "eval rows: legal 60 (72%), finance 3 (4%), support 20 (24%); 12 general ones" in few.stdout
    assert "INSUFFICIENT EVIDENCE" in few.stdout and "3 eval rows of its own, 50 are needed" in few.stdout
    imported(learning, "eval", judged(8600, 60, "zzz"))
    wrong = learning.cohort("retrain", "finance", "--epochs", "1", "--json")
    assert wrong.returncode == 100, wrong.stderr
    told = json.loads(wrong.stdout)
    assert (told["verdict"], told["mix"]["finance"], told["guard"]) == ("fail", 63, 12)
    spoiled(learning)
    unlike = learning.cohort("retrain", "finance", "--epochs", "1")
    assert unlike.returncode == 102, unlike.stderr
    assert "PARITY FAILED" in unlike.stdout and "the base's logits correlate" in unlike.stdout
    assert learning.cohort("retrain", "nobody").returncode == 1
    assert learning.cohort("retrain").returncode == 2


def served_as(premises: Premises, form: str) -> None:
    """From now on, in this weight format of the same base."""
    shutil.rmtree(premises.home / "base")
    before = premises.config.read_text(encoding="utf-8")
    premises.config.write_text(re.sub(r'format = "\w+"', f'format = "{form}"', before), encoding="utf-8")


def alarms(premises: Premises) -> list[str]:
    told = premises.cohort("status", "--json")
    assert told.returncode == 0, told.stderr
    found: list[str] = json.loads(told.stdout)["alarms"]
    return found


@pytest.mark.slow
def test_a_verdict_holds_for_the_weight_format_it_was_given_on(learning: Premises) -> None:
    assert learning.cohort("retrain", "legal", "--no-live", seconds=180).returncode == 0
    served_as(learning, "q8_0")
    refused = learning.cohort("promote", "legal")
    assert refused.returncode == 1 and live(learning) == []
    assert (
        "legal@1 was judged on another weight format" in refused.stderr and "cohort retrain legal" in refused.stderr
    )
    served_as(learning, "as_is")
    assert alarms(learning) == []
    assert learning.cohort("promote", "legal").returncode == 0
    served_as(learning, "q8_0")
    (alarm,) = alarms(learning)
    assert "legal@1 was judged on another weight format" in alarm and "cohort eval legal" in alarm
    assert live(learning) == ["legal@1"]
    done = learning.cohort("eval", "legal", seconds=180)
    assert done.returncode in (0, 100), done.stderr
    assert (alarms(learning) == []) is (done.returncode == 0), "it was judged on this one"


def test_what_is_live_as_html_and_for_ci(learning: Premises, tmp_path: Path) -> None:
    html, junit = tmp_path / "report.html", tmp_path / "report.xml"
    done = learning.cohort("eval", "--html", str(html), "--junit", str(junit), "--json")
    assert done.returncode == 101, done.stderr
    report = json.loads(done.stdout)
    assert {one["cohort"] for one in report["cohorts"]} == set(learning.cohorts)
    assert "<svg" in html.read_text() and "legal: no live release" in html.read_text()
    assert f"on {report['base']['id']} as {report['base']['format']}" in html.read_text() and report["version"]
    assert f'timestamp="{report["at"][:19]}"' in junit.read_text()
    ((score,),) = [one["scores"].values() for one in report["cohorts"] if one["cohort"] == "legal"]
    assert score["candidate"] is None and score["base"] is not None, "nothing stands in the base's place"
    assert 'failures="1"' in junit.read_text()
    folder = tmp_path / "new" / "folder"
    named = learning.cohort("eval", "legal", "--report", str(folder))
    assert named.returncode == 101 and str(folder) in named.stderr
    assert "eval rows: legal 60 (75%), finance 0 (0%), support 20 (25%); 12 general ones" in named.stdout
    assert json.loads((folder / "evaluation.json").read_text())["mix"] == {"legal": 60, "finance": 0, "support": 20}
    assert "legal: no live release" in (folder / "evaluation.html").read_text()
    assert 'name="legal"' in (folder / "evaluation.xml").read_text()
    one = json.loads(learning.cohort("eval", "legal", "--json").stdout)
    assert (one["cohort"], one["mix"]["legal"], one["guard"]) == ("legal", 60, 12)


def test_make_eval_keeps_the_report_in_the_home() -> None:
    """Whose folder the recipe gives; what it does there is tested above."""
    told = subprocess.run(
        ["make", "--dry-run", "eval", "COHORT=legal", "COHORT_HOME=/a home"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'cohort eval legal --report "$COHORT_HOME/evaluation"' in told.stdout


def test_rows_are_shown_before_they_are_trained_on(learning: Premises) -> None:
    shown = learning.cohort("slice", "show", "legal")
    assert shown.returncode == 0, shown.stderr
    assert "rows to train on" in shown.stdout and "yes 64" in shown.stdout
