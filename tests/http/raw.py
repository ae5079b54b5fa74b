"""HTTP by hand, for requests and manners that no client library allows."""

from __future__ import annotations

import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from tests.http.running import Json, Running


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: the connection ended without one."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(appliance: Running, receive_buffer: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", appliance.port))
    return connection


def request_of(path: str, body: Json, key: str | None = None, *more: str) -> bytes:
    """A POST with a JSON body."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *more]
    lines += [f"Content-Length: {len(content)}"] + ([f"Authorization: Bearer {key}"] if key else [])
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def head(*lines: str) -> bytes:
    """Of a chat request whose body is framed by `lines`."""
    own = ("POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    return "\r\n".join((*own, "Connection: close", *lines, "", "")).encode()


def exchange(appliance: Running, request: bytes) -> Answer:
    """Send, and read until the other side closes (ask it to)."""
    with connect(appliance) as connection:
        with suppress(ConnectionError):  # it may answer and close before all is sent
            connection.sendall(request)
        return read(connection)


def get(appliance: Running, path: str, *headers: str, method: str = "GET", version: str = "1.1") -> Answer:
    """`headers` are whole lines, Host among them."""
    lines = (f"{method} {path} HTTP/{version}", *headers, "Connection: close")
    return exchange(appliance, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")


def read(connection: socket.socket) -> Answer:
    received = b""
    with suppress(ConnectionError):
        while block := connection.recv(65536):
            received += block
    start, _, body = received.partition(b"\r\n\r\n")
    first, *lines = start.decode("latin-1").split("\r\n")
    if not first:
        return Answer(0, {}, b"")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Answer(int(first.split(" ")[1]), headers, body)


def reset(connection: socket.socket) -> None:
    """Close with RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
