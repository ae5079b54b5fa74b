"""Render a chat template once where it may hang: `python -m appliance.template_probe FILE`, a confined child.

The sandbox keeps a template from reaching anything, but not from looping for ever or filling the memory. `check` is
called once per base, before the template is rendered in the serving process.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from appliance import children
from appliance.chat import ChatTemplate
from appliance.errors import BaseModelError

SECONDS = 10
MEMORY = 1 << 30


class _Letters:
    """A tokenizer of one id a character: the template is on trial here, not the base."""

    bos = eos = 0
    adds_bos = False
    pieces = (b"<end>",)

    def tokenize(self, text: str, *, special: bool) -> list[int]:  # noqa: ARG002 - the face of a tokenizer
        return [ord(letter) for letter in text]


def check(source: str) -> None:
    """Raises BaseModelError when the template fails, takes long or takes much memory."""
    with tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8") as file:
        file.write(source)
        file.flush()
        trial = children.run(
            "appliance.template_probe", file.name, cpu_seconds=SECONDS, memory_bytes=MEMORY, timeout_s=900
        )
        try:
            for _ in trial:
                pass
        except children.ChildFailed as error:
            raise BaseModelError(f"the base's chat template cannot be used: {error}") from error


def main() -> int:
    try:
        ChatTemplate(Path(sys.argv[1]).read_text(encoding="utf-8"), _Letters())
    except BaseModelError as error:
        print(error.__cause__)  # noqa: T201 - the parent reads it
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
