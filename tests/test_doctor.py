"""What `cohort doctor` says of packages, without starting anything."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.registry import file_digest
from appliance import base
from appliance.cli import doctor
from appliance.config import Config, load
from appliance.store.database import Database
from appliance.store.home import Home


def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> dict[str, tuple[str, str]]:
    right = importlib.metadata.version

    def version(name: str) -> str:
        if not name.startswith("onnxruntime"):
            return right(name)
        if name in installed:
            return installed[name]
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    config = Path(__file__).parents[1] / "cohorts.toml"
    found = doctor.examine(load(config), config, tmp_path / "home")
    return {one.subject: (one.state, one.detail) for one in found}


def test_a_package_for_gpus_stands_in_for_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(tmp_path, monkeypatch, {"onnxruntime-gpu": "9.1"})["onnxruntime"] == ("ok", "9.1")


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(tmp_path, monkeypatch, {})["onnxruntime"] == ("missing", "not installed")


def test_llama_cpp_is_tried_and_not_only_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, detail = told(tmp_path, monkeypatch, {})["llama.cpp"]
    assert state == "ok"
    assert "CPU :" in detail
    monkeypatch.setenv("PYTHONPATH", str(_library_of_another_processor(tmp_path)))
    state, detail = told(tmp_path, monkeypatch, {})["llama.cpp"]
    assert (state, detail) == ("missing", "it does not compute here: it was ended by signal 4 (SIGILL)")


def test_without_a_base_it_is_the_base_that_is_missing(tmp_path: Path) -> None:
    found = examined(tmp_path, '[base]\npath = "none.gguf"\n')
    assert found["base"].state == "missing"
    assert found["llama.cpp"].state == "ok" and "not tried" in found["llama.cpp"].detail


def examined(tmp_path: Path, more: str = "") -> dict[str, doctor.Check]:
    config = tmp_path / "cohorts.toml"
    config.write_text(f"{(Path(__file__).parents[1] / 'cohorts.toml').read_text()}\n{more}")
    return {one.subject: one for one in doctor.examine(load(config), config, tmp_path / "home")}


def test_a_home_that_cannot_start_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    Database.open(home.database).close()
    found = examined(tmp_path)
    assert found["database"].state == "ok" and "MB" in found["database"].detail
    assert found["examples"].state == "warning" and str(tmp_path / "examples") in found["examples"].detail
    with closing(sqlite3.connect(home.database)) as connection, connection:
        connection.execute("UPDATE _sqlite_migrations SET name = 'm9999_of_tomorrow' WHERE rowid = 1")
    newer = examined(tmp_path)["database"]
    assert newer.state == "missing" and "m9999_of_tomorrow" in newer.detail
    home.database.write_text("no database " * 99)
    damaged = examined(tmp_path)["database"]
    assert damaged.state == "missing" and "no SQLite file" in damaged.detail
    folder = home.base / digest(load(tmp_path / "cohorts.toml"), tmp_path)
    folder.mkdir()
    (folder / "base.json").write_text("{")
    found = examined(tmp_path)
    assert found["base format"].state == "missing" and "base.json cannot be read" in found["base format"].detail
    assert found["threads"].state == "ok", "the other checks are made all the same"


def digest(config: Config, folder: Path) -> str:
    return file_digest(base.locate(config.base, folder / "cohorts.toml"))[:16]


def _library_of_another_processor(tmp_path: Path) -> Path:
    """A folder that has any Python which starts in it die of an illegal instruction as soon as llama.cpp decodes."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def dies(frame, event, argument):\n"
        "    if event == 'call' and frame.f_code.co_qualname == 'Context.decode':\n"
        "        os.kill(os.getpid(), signal.SIGILL)\n"
        "sys.setprofile(dies)\n"
    )
    return tmp_path
