"""A tokenizer whose ids can be read back."""

from __future__ import annotations

from collections.abc import Sequence

_CONTROL = ("<|im_start|>", "<|im_end|>", "<s>")
_LETTERS = 10  # letters have the ids from here on


class Scribe:
    """Writes down what it is given: one id a letter, and one a control token where those are recognised."""

    bos = 2
    eos = 1
    pieces: Sequence[bytes] = [name.encode() for name in _CONTROL]

    def __init__(self, *, adds_bos: bool = False) -> None:
        self.adds_bos = adds_bos

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        ids = []
        while text:
            name = next((c for c in _CONTROL if special and text.startswith(c)), None)
            ids.append(_CONTROL.index(name) if name else ord(text[0]) + _LETTERS)
            text = text[len(name or "x") :]
        return ids

    def read(self, ids: Sequence[int]) -> str:
        return "".join(_CONTROL[i] if i < _LETTERS else chr(i - _LETTERS) for i in ids)
