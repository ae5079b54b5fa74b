"""Nothing leaves the machine: no process of the appliance so much as tries."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

from .premises import COHORT, Premises, chat

CALLS = "connect,sendto,sendmsg,sendmmsg"
_FOUR = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_SIX = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')


def addresses(trace: Path) -> Iterator[tuple[str, str]]:
    """(address, line) of every traced call that names an internet address."""
    for line in trace.read_text(errors="replace").splitlines():
        for found in (_FOUR.search(line), _SIX.search(line)):
            if found:
                yield found[2], line


def outside(trace: Path) -> list[str]:
    return [line for address, line in addresses(trace) if not ip_address(address).is_loopback]


needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@needs_strace
def test_the_trace_would_show_it(tmp_path: Path) -> None:
    """The control: a datagram to a documentation address, connected and sent, is seen."""
    trace = tmp_path / "trace"
    program = (
        "import socket\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "    s.connect(('127.0.0.1', 9))\n"
        "    s.connect(('192.0.2.1', 9))\n"
    )
    traced = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}"]
    subprocess.run([*traced, COHORT[0], "-c", program], check=False, capture_output=True)
    assert len(outside(trace)) == 1
    assert len(list(addresses(trace))) == 2


@needs_strace
def test_no_call_names_an_address_outside(premises: Premises, tiny_adapters: tuple[Path, Path]) -> None:
    """From the first start, through preparing the base, answers, docs and a release, to the end."""
    trace = premises.folder / "trace"
    premises.base["format"] = "auto"
    premises.configure()
    traced = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS},bind"]
    with premises.serve("--port", "0", before=traced) as served:
        served.ready(120)
        with served.client(**premises.admin()) as client:
            visit(client, tiny_adapters[0])
        added = premises.cohort("release", "add", str(tiny_adapters[1]), "--cohort", "finance")
        assert added.returncode == 0, added.stderr
        served.stop()
    assert outside(trace) == []
    assert "bind(" in trace.read_text(errors="replace")


def visit(client: httpx.Client, adapter: Path) -> None:
    """Use what there is."""
    body = {"path": str(adapter), "cohort": "legal", "live": True}
    assert client.post("/admin/v1/releases", json=body, timeout=120).status_code == 201
    for model in ("auto", "base", "legal", "legal@1"):
        assert client.post("/v1/chat/completions", json=chat("hello", model=model)).status_code == 200
    with client.stream("POST", "/v1/chat/completions", json=chat("hello", stream=True)) as response:
        assert "data: [DONE]" in response.read().decode()
    for path in ("/v1/models", "/metrics", "/openapi.json", "/admin/v1/status", "/health"):
        assert client.get(path).status_code == 200
    page = client.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page.text)
    assets = re.findall(r"""(?:src|href)=["'](/[^"']+)""", page.text)
    assert assets
    for asset in assets:
        assert client.get(asset).status_code == 200


def test_a_machine_without_any_network_is_enough(premises: Premises, tiny_adapters: tuple[Path, Path]) -> None:
    """Its own network namespace with nothing in it but loopback."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("a network namespace with loopback up needs root and the command `ip`")
    isolated = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with premises.serve("--port", "0", before=isolated) as served:
        url = served.url()
        inside = ["nsenter", "--target", str(served.pid), "--net"]
        curl = ["curl", "--silent", "--show-error", "--retry", "60", "--retry-delay", "1", "--retry-all-errors"]
        subprocess.run([*inside, *curl, "--fail", f"{url}/ready"], check=True, timeout=90, capture_output=True)
        links = subprocess.run([*inside, "ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
        assert len(links.splitlines()) == 1
        body = json.dumps(chat("hello"))
        ask = [*inside, "curl", "--silent", f"{url}/v1/chat/completions", "--json", body]
        answer = json.loads(subprocess.run(ask, check=True, capture_output=True, text=True).stdout)
        assert answer["usage"]["completion_tokens"] == 8
        command = [*inside, *COHORT, "release", "add", str(tiny_adapters[0]), "--cohort", "legal", "--live", "--json"]
        added = subprocess.run(command, env=premises.environ(), capture_output=True, text=True, check=False)
        assert added.returncode == 0, added.stderr
        assert json.loads(added.stdout)["state"] == "live"
        assert served.stop() == 0
