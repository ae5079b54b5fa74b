"""`cohort doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adapters.registry import file_digest
from appliance import base, children
from appliance.config import Config
from appliance.errors import ApplianceError
from appliance.routing import encoder_package
from appliance.store.database import SQLITE_VERSION, refuse_unknown
from appliance.store.home import Home

PACKAGES = (
    "llama-cpp-python",
    "llguidance",
    "numpy",
    "fastapi",
    "uvicorn",
    "pydantic",
    "sqlite-utils",
    "onnx",
    "onnxruntime",
    "tokenizers",
    base.PACKAGE,
    encoder_package.PACKAGE,
)
LOW_DISK = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """`remedy` is empty when there is nothing to do, or `detail` has it."""

    subject: str
    state: Literal["ok", "warning", "missing"]
    detail: str
    remedy: str = ""


def examine(config: Config, config_file: Path, home_path: Path) -> list[Check]:
    """Look; change nothing but the home's folders."""
    return [
        Check("python", "ok", f"{platform.python_version()} at {sys.executable}"),
        *_packages(),
        _sqlite(),
        Check("cohorts", "ok", f"{', '.join(config.cohorts)} ({config_file})"),
        _examples(config_file.parent / config.router.examples),
        *_home(home_path),
        *_base(config, config_file, home_path),
        *_machine(config, config_file),
    ]


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        found = _version(name) or _version(f"{name}-gpu")  # as onnxruntime is called where there is a GPU
        yield Check(name, "ok", found) if found else Check(name, "missing", "not installed", "make install")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sqlite() -> Check:
    detail = f"{SQLITE_VERSION}, one writing connection (versions up to 3.51.2 can damage a WAL that several write)"
    return Check("sqlite", "ok", detail)


def _examples(folder: Path) -> Check:
    """They stand in for cohorts without rows of their own, and are the guard set."""
    if folder.is_dir():
        return Check("examples", "ok", str(folder))
    return Check("examples", "warning", f"there is no folder {folder}", "set examples in [router]")


def _home(home_path: Path) -> Iterator[Check]:
    try:
        home = Home(home_path)
    except ApplianceError as error:
        yield Check("home", "missing", error.message, "set COHORT_HOME to a folder on a local disk")
        return
    owner = home.owner()
    using = f"served by process {owner.pid} at {owner.url}" if owner else "not in use"
    yield Check("home", "ok", f"{home.path}, {using}")
    yield _database(home.database)
    free = shutil.disk_usage(home.path).free
    state: Literal["ok", "warning"] = "warning" if free < LOW_DISK else "ok"
    yield Check(
        "disk", state, f"{free / 1e9:.1f} GB free", "" if state == "ok" else "free some: a full disk stops answers"
    )


def _database(path: Path) -> Check:
    if not path.exists():
        return Check("database", "ok", "none yet: the first start makes it")
    try:
        refuse_unknown(path)
    except ApplianceError as error:
        return Check("database", "missing", error.message)
    return Check("database", "ok", f"{path.stat().st_size / 1e6:.1f} MB")


def _base(config: Config, config_file: Path, home_path: Path) -> Iterator[Check]:
    try:
        source = base.locate(config.base, config_file)
        header = base.inspect(source)
        digest = file_digest(source)
    except ApplianceError as error:
        yield Check("base", "missing", error.message, "make install, or set path in [base]")
        return
    yield Check("base", "ok", f"{header.text('general.name')} ({source}), sha256 {digest[:16]}")
    try:
        prepared = base.record_of(home_path / "base", digest)
    except ApplianceError as error:
        yield Check("base format", "missing", error.message)
        return
    if prepared is None:
        yield Check("base format", "warning", "not decided yet", "cohort base import (make serve does it)")
    else:
        yield Check("base format", "ok", f"{prepared['format']}, sha256 {prepared['format_digest'][:16]}")


def _machine(config: Config, config_file: Path) -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0))
    yield Check("threads", "ok", f"{base.threads(config.base)} of {cores} processors, {platform.machine()}")
    try:
        from appliance.engine import llama
    except ImportError as error:
        yield Check("llama.cpp", "missing", str(error), "make install")
        return
    yield _runs(llama.system_info(), config, config_file)
    wanted, able = config.base.gpu_layers > 0, llama.gpu_offload_available()
    if wanted and not able:
        yield Check(
            "gpu", "missing", "gpu_layers is set, but llama.cpp was built without a GPU", "GPU=1 make install"
        )
    else:
        yield Check("gpu", "ok", "offload available" if able else "none: all on the CPU")


def _runs(compiled_for: str, config: Config, config_file: Path) -> Check:
    """Tried in a child, on the base: a library of another processor ends its process. Without a base, which is told
    by itself, there is nothing to try it on."""
    try:
        path = base.locate(config.base, config_file)
        memory = 12 * path.stat().st_size + (8 << 30)
        for _ in children.run("appliance.cli.smoke", str(path), cpu_seconds=600, memory_bytes=memory, timeout_s=600):
            pass
    except ApplianceError:
        return Check("llama.cpp", "ok", f"{compiled_for} (not tried: there is no base)")
    except children.ChildFailed as error:
        return Check("llama.cpp", "missing", f"it does not compute here: {error}", "make clean install")
    return Check("llama.cpp", "ok", compiled_for)
