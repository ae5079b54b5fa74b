"""Server-sent events read by the letter of the HTML standard, one byte at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import httpx

from tests.http.running import Json

DONE = "[DONE]"


@dataclass(slots=True)
class Parser:
    """`feed` one byte; what it completes is yielded. Comments are counted, other fields than `data` are faults."""

    comments: int = 0
    _line: bytearray = field(default_factory=bytearray)
    _data: list[str] = field(default_factory=list)

    def feed(self, byte: int) -> Iterator[str]:
        if byte != ord("\n"):
            self._line.append(byte)
            return
        line = bytes(self._line).removesuffix(b"\r").decode("utf-8", "strict")
        self._line.clear()
        if not line:
            if self._data:
                yield "\n".join(self._data)
                self._data.clear()
        elif line.startswith(":"):
            self.comments += 1
        else:
            name, _, value = line.partition(":")
            assert name == "data", f"a field that is not data: {line!r}"
            self._data.append(value.removeprefix(" "))

    @property
    def rest(self) -> bytes:
        """What no empty line ended."""
        return bytes(self._line) + "\n".join(self._data).encode()


def data_of(body: bytes | str) -> list[str]:
    """The data of every event of a whole stream."""
    parser = Parser()
    raw = body.encode() if isinstance(body, str) else body
    found = [data for byte in raw for data in parser.feed(byte)]
    assert parser.rest == b"", "the stream ends inside an event"
    return found


def chunks_of(reply: httpx.Response) -> list[Json]:
    """The chunks of a good stream, which ends with one [DONE]."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    data = data_of(reply.content)
    assert data.count(DONE) == 1 and data[-1] == DONE
    return [json.loads(each) for each in data[:-1]]


def texts_of(chunks: Iterable[Json]) -> dict[int, str]:
    """The text of every choice."""
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            text = choice["text"] if "text" in choice else choice["delta"].get("content", "")
            texts[choice["index"]] = texts.get(choice["index"], "") + text
    return texts
