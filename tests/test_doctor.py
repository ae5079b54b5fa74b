"""What `cohort doctor` says of packages, without starting anything."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from appliance.cli import doctor
from appliance.config import load


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
    config = tmp_path / "cohorts.toml"
    shipped = (Path(__file__).parents[1] / "cohorts.toml").read_text()
    config.write_text(f'{shipped}\n[base]\npath = "none.gguf"\n')
    found = {one.subject: one for one in doctor.examine(load(config), config, tmp_path / "home")}
    assert found["base"].state == "missing"
    assert found["llama.cpp"].state == "ok" and "not tried" in found["llama.cpp"].detail


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
