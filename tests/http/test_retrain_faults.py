"""What ends a retrain: what is served is not what was trained, the base changed, memory, disk, a cancellation."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from adapters import gates, parity
from appliance import children
from appliance.errors import Unavailable
from appliance.evaluation import harness
from appliance.training import trainer
from tests.http.learnable import begun, finished, retrained
from tests.http.running import Json, Running, chat, until
from tests.process.conftest import mounted


@pytest.mark.usefixtures("here")
def test_a_wrong_scale_is_not_released(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the conversion had doubled it."""
    monkeypatch.setattr(parity, "SCALE", (2.0, 3.0))
    result = retrained(learning, epochs=1)
    assert result["verdict"] == "parity" and result["release"] is None
    assert "times the trained one" in result["reasons"][0]["says"]


@pytest.mark.usefixtures("here")
def test_another_template_than_trained_with_is_not_released(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ids to compare on are made anew; they are those of another conversation."""
    made = trainer.probes

    def others(*arguments: Any) -> list[Json]:  # noqa: ANN401
        calls.append(1)
        found: list[Json] = made(*arguments)
        return found if len(calls) == 1 else [{**p, "ids": p["ids"][::-1]} for p in found]

    calls: list[int] = []
    monkeypatch.setattr(trainer, "probes", others)
    result = retrained(learning, epochs=1)
    assert result["verdict"] == "parity" and "the base's logits" in result["reasons"][0]["says"]


@contextmanager
def changed(base: Path) -> Iterator[None]:
    """Its bytes are others, though not those that anybody reads."""
    size = base.stat().st_size
    with base.open("ab") as file:
        file.write(b"!")
    yield
    os.truncate(base, size)


def test_a_base_file_that_changed_is_not_trained_on(learning: Running) -> None:
    base = learning.box.ready().base.path
    with changed(base):
        why = failure(learning)
    assert str(base) in why and "put that file back" in why


@pytest.mark.usefixtures("here")
def test_a_base_file_that_changes_during_the_training_spoils_it(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, run = learning.box.ready().base.path, children.run
    with ExitStack() as then:

        def trained(module: str, *given: str, **limits: Any) -> Iterator[str]:  # noqa: ANN401
            yield from run(module, *given, **limits)
            then.enter_context(changed(base))

        monkeypatch.setattr(children, "run", trained)
        assert str(base) in failure(learning)
    assert not list((learning.home / "jobs").glob("*/result.json"))


@pytest.mark.usefixtures("here")
def test_a_base_file_that_changes_later_keeps_the_release_back(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, verdict = learning.box.ready().base.path, gates.verdict
    before = learning.operated("GET", "/releases?cohort=legal")
    with ExitStack() as then:

        def judged(*given: Any) -> gates.Verdict:  # noqa: ANN401
            then.enter_context(changed(base))
            return verdict(*given)

        monkeypatch.setattr(gates, "verdict", judged)
        job = finished(learning, begun(learning, "retrain", cohort="legal", epochs=2, force=True))
    assert job["state"] == "failed" and str(base) in job["error"]
    assert learning.operated("GET", "/releases?cohort=legal") == before


def texts(appliance: Running) -> list[Path]:
    """What lies among the work of jobs of what people wrote."""
    names = ("rows.jsonl", "job.json", "probes.json")
    return [path for path in (appliance.home / "jobs").rglob("*") if path.name in names]


def failure(appliance: Running, cohort: str = "legal") -> str:
    """Why a retrain failed; the appliance still answers, and people's texts do not stay behind."""
    job = finished(appliance, begun(appliance, "retrain", cohort=cohort, epochs=1))
    assert job["state"] == "failed", job
    assert texts(appliance) == []
    with appliance.http() as client:
        assert client.post("/v1/chat/completions", json=chat()).status_code == 200
    return str(job["error"])


def test_a_trainer_that_wants_more_memory_than_it_may_have(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "MEMORY", 1 << 29)
    assert "training failed" in failure(learning)


@pytest.mark.usefixtures("here")
def test_a_trainer_that_takes_the_memory_of_live_traffic(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "free_memory", lambda: 0)
    assert "MB of memory to live traffic; lower batch" in failure(learning)


def test_a_disk_without_room(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "ROOM", 1 << 60)
    assert "disk" in failure(learning)


@pytest.mark.parametrize("size", ["16k", "100k"])
def test_a_disk_that_is_full(learning: Running, size: str) -> None:
    """For the rows, or for what the child writes: it says so, and nothing has changed."""
    assert "No space left" in error_of_a_full_disk(learning, "jobs", size)


@pytest.mark.usefixtures("here")
def test_a_disk_without_room_for_the_release(learning: Running) -> None:
    assert "No space left" in error_of_a_full_disk(learning, "releases", "16k")


def error_of_a_full_disk(learning: Running, folder: str, size: str) -> str:
    before = learning.operated("GET", "/releases")
    with mounted(learning.home / folder, "-o", f"size={size}"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "ROOM", 0)
        done = finished(learning, begun(learning, "retrain", cohort="legal", epochs=3, force=True))
    assert done["state"] == "failed" and learning.operated("GET", "/releases") == before, done
    return str(done["error"])


def test_without_the_training_packages_it_says_what_installs_them(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "run", lambda *_a, **_k: iter(_missing()))
    assert "make train-tools" in failure(learning)


def test_a_training_that_the_system_killed_says_what_to_lower(
    learning: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = children.ChildFailed("it was ended by signal 9 (SIGKILL)", signal=signal.SIGKILL)
    monkeypatch.setattr(children, "run", lambda *_a, **_k: iter(_failing(killed)))
    assert "most likely for its memory: lower batch or longest" in failure(learning)


def _missing() -> Iterator[str]:
    yield from _failing(children.ChildFailed("ModuleNotFoundError: No module named 'peft'"))


def _failing(error: children.ChildFailed) -> Iterator[str]:
    yield "{}"
    raise error


@pytest.mark.usefixtures("here")
def test_a_box_that_stops_gives_no_evidence(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that it could not give are not wrong ones, and are not kept as such."""

    async def stopping(*_: object) -> list[object]:
        raise Unavailable("the appliance is stopping", code="stopping")

    count = "SELECT count(*) AS n FROM evaluation_results WHERE error IS NOT NULL"
    monkeypatch.setattr(harness, "_run", stopping)
    monkeypatch.setattr(harness, "_VERSIONS", ["another"])  # nothing kept is taken
    assert "stopping" in failure(learning)
    assert learning.rows(count) == [{"n": 0}]


@pytest.mark.usefixtures("here")
def test_what_a_kill_left_of_a_training_is_made_anew(learning: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it removed what had been trained, or before a checkpoint's bytes were on the disk."""

    async def stopping(*_: object) -> list[object]:
        raise Unavailable("the appliance is stopping", code="stopping")

    with monkeypatch.context() as patch:
        patch.setattr(harness, "_run", stopping)
        patch.setattr(harness, "_VERSIONS", ["another"])
        failure(learning)
    left = [path.parent for path in (learning.home / "jobs").glob("*/result.json")]
    assert left
    for folder in left:
        (folder / "adapter.gguf").unlink()
        (folder / "checkpoint.safetensors").touch()
    assert retrained(learning, epochs=1)["verdict"] in ("pass", "fail")


def test_a_cancelled_training_ends_its_child(learning: Running) -> None:
    job = begun(learning, "retrain", cohort="legal", epochs=500, minutes=9)
    try:
        until(lambda: learning.operated("GET", f"/jobs/{job['id']}")["figures"].get("step"), patience=600)
        assert trainers() and texts(learning)
    finally:  # else every later job is refused
        learning.operated("POST", f"/jobs/{job['id']}/cancel", {})
    assert not trainers() and texts(learning) == []


def trainers() -> list[psutil.Process]:
    alive = (p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE)
    return [process for process in alive if "adapters.train" in process.cmdline()]
