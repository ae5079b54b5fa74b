"""Texts from elsewhere, made harmless for a terminal. Pure.

Requests and answers are what strangers wrote: control characters drive a terminal, bidirectional marks reorder what
is read, and a line of a megabyte stops a screen.
"""

from __future__ import annotations

import unicodedata

from rich.text import Text

_ALLOWED = {"\n"}
REPLACEMENT = "\ufffd"
_NEVER = (
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Zl",
    "Zp",
)  # control, format (bidirectional and such), private, ends


def plain(text: object, limit: int = 200) -> str:
    """One line of at most `limit` characters."""
    return _harmless(str(text)[: 4 * limit].replace("\n", " ↵ "), limit)


def block(text: object, limit: int = 20_000) -> Text:
    """Several lines, of at most `limit` characters together; never read as markup."""
    return Text(_harmless(str(text)[: limit + 1], limit), overflow="fold")


def editable(text: str, limit: int = 20_000) -> str:
    """For an editor: tabs stay, and every end of a line is a newline."""
    lines = text.replace("\r\n", "\n")
    return "".join(one if one == "\t" else _shown(one) for one in lines[:limit])


def line(text: object, limit: int = 200, style: str = "") -> Text:
    """As `plain`, never read as markup."""
    return Text(plain(text, limit), style=style, no_wrap=True, overflow="ellipsis")


def _harmless(text: str, limit: int) -> str:
    kept = "".join(_shown(character) for character in text[:limit])
    return f"{kept}…" if len(text) > limit else kept


def _shown(character: str) -> str:
    """What would drive a terminal or reorder a line is replaced."""
    if character in _ALLOWED:
        return character
    if character == "\t":
        return "    "
    return REPLACEMENT if unicodedata.category(character) in _NEVER else character
