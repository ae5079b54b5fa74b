"""A configuration that cannot be meant: the command says what and where in one line, before it touches anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .premises import Premises, running

GOOD = """
[cohorts.legal]
description = "contracts"
owner = "a"
[cohorts.finance]
description = "payments"
owner = "b"
[cohorts.support]
description = "help"
owner = "c"
"""


def complaint(premises: Premises, text: str | None = None) -> str:
    if text is not None:
        premises.config.write_text(text)
    done = premises.cohort("serve", "--port", "0")
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert str(premises.config) in done.stderr
    assert not premises.home.exists()
    return done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "wieght = 2.0\n", 'unknown key cohorts.support.wieght (did you mean "weight"?)'),
        (GOOD + "[base\n", "is not valid TOML: "),
        ("", "cohorts is missing"),
    ],
)
def test_a_fault_in_the_file_ends_it_before_there_is_a_home(premises: Premises, text: str, says: str) -> None:
    assert says in complaint(premises, text)


def test_a_file_that_is_not_there(premises: Premises) -> None:
    premises.config.unlink()
    line = complaint(premises)
    assert "does not exist; start in the folder that holds it or set COHORT_CONFIG" in line


def test_a_file_that_is_no_text(premises: Premises) -> None:
    premises.config.write_bytes(b"\xff\xfe\x00[base]")
    assert "is not UTF-8 (byte 1): save it as UTF-8" in complaint(premises)


def test_several_faults_are_told_at_once(premises: Premises) -> None:
    line = complaint(premises, GOOD + "wieght = 2.0\n[base]\nformatt = 'auto'\n")
    assert "wieght" in line
    assert "formatt" in line


@pytest.fixture
def everywhere(premises: Premises) -> Premises:
    premises.appliance["host"] = "0.0.0.0"  # noqa: S104 - what must be refused
    premises.configure()
    return premises


def test_off_loopback_wants_tls(everywhere: Premises) -> None:
    everywhere.cohort("key", "add", "someone")
    done = everywhere.cohort("serve", "--port", "0")
    assert done.returncode == 1
    assert "0.0.0.0 is not loopback: set tls_certificate and tls_key" in done.stderr


def test_off_loopback_wants_keys(everywhere: Premises) -> None:
    everywhere.appliance["behind_proxy"] = True
    everywhere.configure()
    done = everywhere.cohort("serve", "--port", "0")
    assert done.returncode == 1
    assert "there are no keys" in done.stderr
    assert "`cohort key add NAME`" in done.stderr


def test_off_loopback_with_tls_and_keys(everywhere: Premises) -> None:
    certificate(everywhere.folder)
    files = {"tls_certificate": str(everywhere.folder / "cert.pem"), "tls_key": str(everywhere.folder / "key.pem")}
    everywhere.appliance |= files
    everywhere.configure()
    assert everywhere.cohort("key", "add", "someone").returncode == 0
    with everywhere.seeded().serve() as served:
        url = served.url()
        assert url.startswith("https://127.0.0.1:")
        status = everywhere.cohort("status", "--json")
        assert status.returncode == 0, status.stderr
        assert served.stop() == 0


@pytest.mark.parametrize("files", [("absent.pem", "absent.pem"), ("cohorts.toml", "cohorts.toml")])
def test_tls_files_that_cannot_be_used(premises: Premises, files: tuple[str, str]) -> None:
    cert, key = (str(premises.folder / name) for name in files)
    premises.appliance = {"tls_certificate": cert, "tls_key": key}
    premises.configure()
    done = premises.cohort("serve", "--port", "0")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert cert in done.stderr


def test_a_port_and_host_on_the_command_line_win(premises: Premises) -> None:
    premises.appliance["host"] = "192.0.2.1"
    premises.configure()
    with running(premises.seeded(), "--host", "localhost", "--port", "0") as served:
        assert served.url().startswith("http://localhost:")
        assert served.stop() == 0


def test_a_home_is_private(premises: Premises) -> None:
    assert premises.cohort("status").returncode == 0
    private = [premises.home, *premises.home.iterdir()]
    assert {"admin.key", "appliance.db", "base", "jobs", "lock", "releases"} <= {path.name for path in private}
    assert [path.name for path in private if path.stat().st_mode & 0o077] == []


def certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    made = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"openssl makes no certificate here: {made.stderr}")
