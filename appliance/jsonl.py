"""A file of JSON lines that an operator names, read within limits."""

from __future__ import annotations

import stat
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path

from appliance.errors import InvalidRequest

MAX_FILE = 128 << 20  # bytes; the rows are in memory until they are used, all at once
MAX_LINE = 1 << 20  # bytes: many times what a context holds


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers and lines; blank ones are passed over. Raises InvalidRequest."""
    try:
        _check(path)
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise InvalidRequest(
                        f"{path}, line {number}: it is longer than {MAX_LINE >> 20} MiB; is this one row a line?",
                        param="path",
                    )
                if number == 1:
                    line = line.removeprefix(BOM_UTF8)
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InvalidRequest(f"there is no file {path} on the appliance's machine", param="path") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}", param="path") from error


def _check(path: Path) -> None:
    try:
        facts = path.stat()
    except ValueError:  # a NUL in the name
        raise FileNotFoundError from None
    if not stat.S_ISREG(facts.st_mode):  # a pipe could keep us waiting for ever
        raise InvalidRequest(f"{path} is a {'folder' if path.is_dir() else 'device or pipe'}, no file", param="path")
    if facts.st_size > MAX_FILE:
        raise InvalidRequest(f"{path} is larger than {MAX_FILE >> 20} MiB: split it", param="path")
