"""May this adapter file be loaded beside live traffic? On paper first, then in a child that may crash."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from adapters.inspect import AdapterFacts, AdapterRefused, check_base, inspect, inspect_header
from appliance import children
from appliance.base import PreparedBase
from appliance.errors import InvalidRequest, StoreUnavailable

PROBE_SECONDS = 120  # of processor time
WAIT_SECONDS = 900  # niced to 19, a child of a second takes half a minute beside busy lanes
MAX_BYTES = 8 << 30
_CHUNK = 1 << 20


def check(path: Path, copy: Path, base: PreparedBase) -> AdapterFacts:
    """Copy the file to `copy` and check that copy, so that what was checked is what is kept.

    Its header is looked at before a byte is copied: most of what is wrong costs neither disk nor time. Raises
    InvalidRequest saying why the adapter is refused.
    """
    try:
        with _opened(path) as source:
            check_base(inspect_header(source, base.header)[1], base.digest)
            _copy(source, copy)
        facts = inspect(copy, base.header)
        check_base(facts, base.digest)
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


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, if it is one: of pipes and devices some never answer and some never end."""
    if not path.exists():
        raise InvalidRequest(f"there is no file {path}", param="path")
    if not path.is_file():
        raise _no_file(path)
    with open(path, "rb", opener=_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):  # exchanged since
            raise _no_file(path)
        if found.st_size > MAX_BYTES:
            raise InvalidRequest(f"{path} is larger than {MAX_BYTES >> 30} GiB", param="path")
        yield file


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _no_file(path: Path) -> InvalidRequest:
    return InvalidRequest(f"{path} is not a regular file: give the path of an adapter's GGUF file", param="path")


def _copy(source: BinaryIO, copy: Path) -> None:
    """As many bytes as it has now, however it grows meanwhile. Raises OSError with ENOSPC before the disk is full:
    nothing is answered without room for the log."""
    left = os.fstat(source.fileno()).st_size
    if shutil.disk_usage(copy.parent).free < 2 * left:  # here, and again where the release is kept
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    source.seek(0)
    with copy.open("wb") as target:
        while left and (chunk := source.read(min(left, _CHUNK))):
            target.write(chunk)
            left -= len(chunk)


def _probe(copy: Path, base: PreparedBase) -> None:
    size = base.path.stat().st_size + copy.stat().st_size
    lines = children.run(
        "appliance.engine.probe",
        *(str(base.path), str(copy)),
        cpu_seconds=PROBE_SECONDS,
        memory_bytes=4 * size + (4 << 30),
        timeout_s=WAIT_SECONDS,
    )
    for _ in lines:
        pass


def _refused(path: Path, why: str) -> InvalidRequest:
    return InvalidRequest(f"{path} is refused: {why}", param="path", code="adapter_refused")
