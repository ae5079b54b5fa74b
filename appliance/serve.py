"""The serving process, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Generator
from pathlib import Path

import uvicorn

from appliance import children
from appliance.app import application, close, open_home, prepare, start_engine
from appliance.config import Appliance, Config
from appliance.errors import ApplianceError, ConfigError, SetupError
from appliance.http.box import Box
from appliance.http.connection import Connection
from appliance.http.status import stuck
from appliance.progress import Report

UNTAKEN_SECONDS = 60
Ready = Callable[[str], None]
_log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn without its own signals: it would cut running streams at the first SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(config: Config, config_file: Path, home_path: Path, progress: Report, ready: Ready) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is told the URL. Raises SetupError when it cannot start."""
    listening = _listen(config.appliance)
    try:
        box = open_home(config, home_path, _url(config.appliance, listening))
    except BaseException:
        listening.close()
        raise
    try:
        _check_exposure(config.appliance, box)
        await _run(box, config_file, listening, progress, ready)
    finally:
        await close(box)
        listening.close()


async def _run(box: Box, config_file: Path, listening: socket.socket, progress: Report, ready: Ready) -> None:
    """Listen at once, so that /ready can say how far the start is; then serve; then drain."""
    server = Server(_uvicorn_config(box))
    stops = _on_signals()
    accepting = asyncio.create_task(server.serve(sockets=[listening]))
    starting = asyncio.create_task(_start(box, config_file, progress))
    stopped = asyncio.create_task(stops.get())
    watching = asyncio.create_task(_watch(box))
    try:
        await asyncio.wait((accepting, starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            _tell_systemd("READY=1")
            ready(_url(box.config.appliance, listening))
            await asyncio.wait((accepting, stopped), return_when=asyncio.FIRST_COMPLETED)
        await _drain(box, stops)
    finally:
        _tell_systemd("STOPPING=1")
        await box.jobs.close()  # before the engine: what it would still say is no answer
        children.kill_all()
        for task in (starting, stopped, watching):
            task.cancel()
        await asyncio.gather(starting, stopped, watching, return_exceptions=True)
        if box.serving is not None:
            box.serving.draining = True
            await box.serving.engine.stop()
        server.should_exit = True
        await accepting
        await _rows_written(box)


def _on_signals() -> asyncio.Queue[int]:
    """SIGTERM and SIGINT as they come. The first drains; the second ends, within 1.5 s, cleanly or not."""
    stops: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def stop(number: int) -> None:
        if seen:
            loop.call_later(1.5, os._exit, 1)
        seen.append(number)
        stops.put_nowait(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stops


async def _start(box: Box, config_file: Path, progress: Report) -> None:
    await prepare(box, config_file, progress)
    await start_engine(box)
    box.database.check()


async def _drain(box: Box, stops: asyncio.Queue[int]) -> None:
    """Refuse what is new and let what runs finish, within the limit or until a second signal."""
    box.phase, box.doing = "draining", "stopping"
    if box.serving is None:
        return
    box.serving.draining = True
    jobs = asyncio.create_task(box.jobs.close())  # what they would ask from now on is refused, which is no evidence
    deadline = time.monotonic() + box.config.appliance.drain_seconds
    _log.info("draining: %d requests under way", box.serving.under_way.total())
    while box.serving.under_way.total() and time.monotonic() < deadline and stops.empty():
        await asyncio.sleep(0.05)
    await jobs


async def _rows_written(box: Box) -> None:
    """Streams that were cut write their rows on the way out: wait for them, two seconds at most."""
    deadline = time.monotonic() + 2
    while box.serving is not None and box.serving.under_way.total() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


async def _watch(box: Box) -> None:
    """Ping systemd's watchdog while the engine moves."""
    period = float(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6
    while True:
        if not stuck(box):
            _tell_systemd("WATCHDOG=1")
        await asyncio.sleep(period)


def _uvicorn_config(box: Box) -> uvicorn.Config:
    limits = box.config.appliance
    return uvicorn.Config(
        application(box),
        http=Connection,  # on h11, which bounds the size of headers; httptools does not
        h11_max_incomplete_event_size=64 * 1024,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=limits.behind_proxy,
        timeout_keep_alive=75,  # seconds; a shorter one closes connections that slow clients are about to use again
        timeout_graceful_shutdown=2,
        ssl_certfile=limits.tls_certificate,
        ssl_keyfile=limits.tls_key,
    )


def _listen(limits: Appliance) -> socket.socket:
    """The bound socket. Raises SetupError, before any slow work, when the port is taken."""
    family = socket.AF_INET6 if ":" in limits.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Inherited by connections: one that takes nothing of what was sent is ended, also while it is being closed.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNTAKEN_SECONDS * 1000)
    try:
        listening.bind((limits.host, limits.port))
        # SO_REUSEADDR lets two processes bind before either listens; listening is what fails for the second.
        listening.listen(128)
    except OSError as error:
        listening.close()
        remedy = "choose an address of this machine with --host (make serve HOST=...)"
        if error.errno == errno.EADDRINUSE:
            remedy = "stop what uses it, or choose another with --port (make serve PORT=...)"
        raise SetupError(f"cannot serve on {limits.host}:{limits.port}: {error.strerror}; {remedy}") from error
    return listening


def _url(limits: Appliance, listening: socket.socket) -> str:
    """Where clients on this machine reach it."""
    scheme = "https" if limits.tls_certificate else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(limits.host, limits.host)  # noqa: S104 - only compared
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{scheme}://{host}:{listening.getsockname()[1]}"


def _check_exposure(limits: Appliance, box: Box) -> None:
    """Off loopback there must be keys, and TLS or a proxy that has it. Raises ConfigError."""
    if limits.tls_certificate is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                limits.tls_certificate, limits.tls_key
            )
        except (OSError, ssl.SSLError) as error:
            files = f"{limits.tls_certificate} and {limits.tls_key}"
            raise ConfigError(
                f"tls_certificate and tls_key in [appliance]: {files} cannot be used: {error}"
            ) from error
    if limits.private:
        return
    if limits.tls_certificate is None and not limits.behind_proxy:
        raise ConfigError(
            f"{limits.host} is not loopback: set tls_certificate and tls_key in [appliance], "
            "or behind_proxy = true when a proxy on the way has TLS"
        )
    if box.keys.none_configured:
        raise ConfigError(
            "others than this machine can reach it and there are no keys: `cohort key add NAME` makes one"
        )


def _tell_systemd(message: str) -> None:
    """sd_notify; nothing outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        try:
            notify.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", message, error)


def run(config: Config, config_file: Path, home_path: Path, progress: Report, ready: Ready) -> None:
    """Serve in this process. Raises ApplianceError."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(config, config_file, home_path, progress, ready))
    except ApplianceError:
        raise
    except OSError as error:
        raise SetupError(f"cannot serve: {error}") from error
