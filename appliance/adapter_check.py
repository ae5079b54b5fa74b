"""May this adapter file be loaded beside live traffic? On paper first, then in a child that may crash."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from adapters.inspect import AdapterFacts, AdapterRefused, inspect
from appliance import children
from appliance.base import PreparedBase
from appliance.errors import InvalidRequest, StoreUnavailable

PROBE_SECONDS = 120
MAX_BYTES = 8 << 30


def check(path: Path, copy: Path, base: PreparedBase) -> AdapterFacts:
    """Copy the file to `copy` and check that copy, so that what was checked is what is kept.

    Raises InvalidRequest saying why the adapter is refused.
    """
    try:
        if not path.is_file():
            raise InvalidRequest(f"there is no file {path}", param="path")
        if path.stat().st_size > MAX_BYTES:
            raise InvalidRequest(f"{path} is larger than {MAX_BYTES >> 30} GiB", param="path")
        shutil.copyfile(path, copy)
        facts = inspect(copy, base.header)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StoreUnavailable(
                f"the release cannot be stored: {error.strerror}; free space, try again"
            ) from error
        raise InvalidRequest(f"{path} cannot be copied: {error.strerror}", param="path") from error
    except AdapterRefused as error:
        raise _refused(path, str(error)) from error
    try:
        _probe(copy, base)
    except children.ChildFailed as error:
        raise _refused(path, f"llama.cpp could not use it: {error}") from error
    return facts


def _probe(copy: Path, base: PreparedBase) -> None:
    size = base.path.stat().st_size + copy.stat().st_size
    lines = children.run(
        "appliance.engine.probe",
        *(str(base.path), str(copy)),
        cpu_seconds=PROBE_SECONDS,
        memory_bytes=4 * size + (4 << 30),
        timeout_s=PROBE_SECONDS,
    )
    for _ in lines:
        pass


def _refused(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{path} is refused: {why}", param="path", code="adapter_refused")
