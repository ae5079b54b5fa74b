"""What can be wrong with a router."""

from __future__ import annotations


class RouterRefused(Exception):
    """A router that must not be used; the message says why and what to do."""


class TextTooLong(Exception):
    """More than the encoder reads of a text that must be read whole."""

    def __init__(self, size: str, most: str) -> None:
        super().__init__(f"{size}, and the encoder reads {most} at most")
