"""npm's `openai`. Its tests are in JavaScript."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import Box

MODULES = Path(sys.prefix) / "lib" / "node_modules"


def test_the_official_client_of_npm(box: Box) -> None:
    node = shutil.which("node")
    if node is None or not (MODULES / "openai").is_dir():
        pytest.skip("node or its package openai is not installed")
    tests = Path(__file__).with_name("openai.test.cjs")
    done = box.run(node, "--test", tests, NODE_PATH=str(MODULES), API=box.api, KEY=box.key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# fail 0" in done.stdout
    assert "# pass 0" not in done.stdout
