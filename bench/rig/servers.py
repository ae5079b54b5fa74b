"""The appliance, and llama.cpp's own server, as processes on a free port with the same base and adapters."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("legal", "support", "finance", "healthcare", "coding", "sales", "claims", "research")
DEMO = 5  # of them are those of the shipped examples
PEER = "xllamacpp==2026.10.11549"  # llama.cpp's HTTP server as a wheel


@dataclass(frozen=True, slots=True)
class Server:
    """`select` is what a request body needs to be answered by each cohort's adapter."""

    name: str
    url: str
    pid: int
    select: Mapping[str, Mapping[str, object]]
    headers: Mapping[str, str]
    environment: Mapping[str, str]


@contextmanager
def appliance(
    folder: Path,
    base: Path,
    adapters: Sequence[Path],
    environment: Mapping[str, str] | None = None,
    edge: Mapping[str, object] | None = None,
    cohorts: int = 3,
    router: Path | None = None,
    **settings: object,
) -> Iterator[Server]:
    """`cohort serve` in a home of its own with a live release for each adapter; `settings` go to [base], `edge` to
    [appliance]; `cohorts` at least are configured. With the folder of a `router` for the demo's cohorts, every
    request asks `auto`, and its text is read. A home that is there already is served."""
    folder.mkdir(parents=True, exist_ok=True)
    names = NAMES[: DEMO if router else max(len(adapters), cohorts)]
    config = folder / "cohorts.toml"
    config.write_text(_configuration(names, edge or {}, {"path": str(base), **settings}), encoding="utf-8")
    own = {"COHORT_HOME": str(folder / "home"), "COHORT_CONFIG": str(config), **(environment or {})}
    if router:
        from rig import fitted  # here, since the clients' process need not load onnx

        fitted.into(folder / "home", router)
    port = free_port()
    command = [sys.executable, "-m", "appliance.cli.main"]
    with _running([*command, "serve", "--port", str(port)], folder, {**os.environ, **own}) as process:
        url = f"http://127.0.0.1:{port}"
        _await(process, f"{url}/ready", folder)
        key = (folder / "home" / "admin.key").read_text().strip()
        select = {name: {"model": "auto" if router else name} for name in (*names, "base")}
        server = Server("appliance", url, process.pid, select, {"Authorization": f"Bearer {key}"}, own)
        for name, adapter in zip(names, adapters, strict=False):
            cohort(server, "release", "add", str(adapter), "--cohort", name, "--live")
        yield server


def cohort(server: Server, *arguments: str) -> None:
    """Run the command on a serving appliance."""
    command = [sys.executable, "-m", "appliance.cli.main", *arguments]
    subprocess.run(command, cwd=ROOT, env={**os.environ, **server.environment}, check=True, capture_output=True)


@contextmanager
def llama_server(
    folder: Path, python: Path, base: Path, adapters: Sequence[Path], slots: int, context: int, threads: int
) -> Iterator[Server]:
    """llama.cpp's own server; every request names its adapter by number, as its documentation says."""
    folder.mkdir(parents=True)
    port = free_port()
    arguments = [str(value) for value in (base, port, slots, context, threads, *adapters)]
    script = Path(__file__).with_name("peer.py")
    with _running([str(python), str(script), *arguments], folder, dict(os.environ)) as process:
        url = f"http://127.0.0.1:{port}"
        _await(process, f"{url}/health", folder)
        select: dict[str, dict[str, object]] = {"base": {"lora": []}}
        for number, name in enumerate(NAMES[: len(adapters)]):
            select[name] = {"lora": [{"id": number, "scale": 1.0}]}
        yield Server("llama-server", url, process.pid, select, {}, {})


def peer_python(folder: Path) -> Path:
    """An interpreter with the peer installed, in a virtual environment of its own."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if not shutil.which("pip", path=str(folder / "bin")) or not _has_peer(python):
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
    return python


def _has_peer(python: Path) -> bool:
    return subprocess.run([str(python), "-c", "import xllamacpp"], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(process: subprocess.Popen[bytes], url: str, folder: Path, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    said = (folder / "server.log").read_text(errors="replace")[-2000:]
    raise SystemExit(f"{url} is not ready:\n{said}")


def _configuration(names: Sequence[str], edge: Mapping[str, object], base: Mapping[str, object]) -> str:
    """TOML: JSON's strings, numbers and booleans are also TOML's."""
    lines = ["[appliance]", *(f"{key} = {json.dumps(value)}" for key, value in edge.items())]
    lines += ["[base]", *(f"{key} = {json.dumps(value)}" for key, value in base.items())]
    for name in names:
        lines += [f"[cohorts.{name}]", f'description = "bench {name}"', 'owner = "bench@example.org"']
    return "\n".join(lines) + "\n"
