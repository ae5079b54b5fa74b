"""A real appliance for other people's clients: the packaged base, a release of `legal`, and one key.

It runs from its own virtual environment (`APPLIANCE` is its command), since what these clients want is not what it
wants. `make clients` does all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tiny import write_adapter

ROOT = Path(__file__).parent.parent.parent
BASE = "smollm2-135m-instruct"
CONFIG = """
[appliance]
port = 0
[base]
format = "as_is"
context = 2048
sequences = 4
threads = 1 # two that wait for each other crawl when the machine is shared with other work
"""
COHORT = '[cohorts.{0}]\ndescription = "about {0}"\nowner = "{0}@example.org"\n'


@dataclass(frozen=True)
class Box:
    """`api` is the base URL that clients are given, `key` may infer and give feedback, `base` is the model's file."""

    url: str
    key: str
    base: Path
    folder: Path
    environment: dict[str, str]

    @property
    def api(self) -> str:
        return f"{self.url}/v1"

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """What the API says by itself, to hold a client's reading against."""
        headers = {"Authorization": f"Bearer {self.key}"}
        reply = httpx.post(f"{self.api}{path}", json=body, headers=headers, timeout=120)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """A client that is a command, to its end."""
        return subprocess.run(
            list(map(str, command)),
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = tmp_path_factory.mktemp("box")
    config = folder / "cohorts.toml"
    config.write_text(CONFIG + "".join(COHORT.format(name) for name in ("legal", "finance", "support")))
    environment = {**os.environ, "COHORT_HOME": str(folder / "home"), "COHORT_CONFIG": str(config)}
    command = str(ROOT / os.environ.get("APPLIANCE", ".venv/bin/cohort"))
    adapter = write_adapter(
        folder / "small.gguf", seed=1, scale=0.02, layers=30, embd=576, heads=9, kv_heads=3, ffn=1536
    )

    def cohort(*arguments: str) -> Any:  # noqa: ANN401 - any JSON
        done = subprocess.run(
            [command, *arguments, "--json"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with subprocess.Popen(
        [command, "serve", "--json"], env=environment, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stdout is not None
            url = json.loads(serving.stdout.readline())["url"]
            cohort("release", "add", str(adapter), "--cohort", "legal", "--live")
            (base,) = (found["detail"] for found in cohort("doctor") if found["subject"] == "base")
            file = Path(base.partition("(")[2].partition(")")[0])
            yield Box(url, cohort("key", "add", "clients")["secret"], file, folder, environment)
        finally:
            serving.terminate()
