"""What the Makefile hands on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("text", ['The fee is $100 and "net" `date` $(shell id) it\'s due', "May we sublet?", ""])
def test_a_text_to_route_is_handed_on_as_it_is(tmp_path: Path, text: str) -> None:
    command = tmp_path / "cohort"
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    installed = tmp_path / "installed"
    installed.touch()
    given = [f"BIN={tmp_path}", f"VENV={tmp_path}", f"SERVE={installed}", f"TEXT={text}"]
    (tmp_path / "bin").symlink_to(tmp_path)
    done = subprocess.run(["make", "-s", "route", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"route\n{text}\n"
