"""The sentence encoder with the cohort head in its graph, run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from router.errors import RouterRefused, TextTooLong

HEAD, TAIL = 96, 32  # word pieces that are read of a longer text: its cost grows with them, what it is about seldom
_CHARACTERS = 16  # of a word piece, at most on average: bounds what is tokenised
SENTENCE_OUTPUT, HEAD_OUTPUT = "sentence", "probabilities"
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # the first is untested: no GPU was at hand

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoded:
    """`ids` and `text` are what was read of it; `embedding` (384,) has length 1; `head` (classes,) sums to 1, or is
    empty while the graph has no head."""

    ids: list[int]
    text: str
    embedding: Floats
    head: Floats


class Encoder:
    """One text at a time: with int8 activations a batch's other rows would change the result. Thread-safe."""

    longest = 512  # word pieces of a text that is read whole: as many positions as the model has

    def __init__(self, model: bytes, tokenizer: bytes) -> None:
        """Raises RouterRefused."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        available = onnxruntime.get_available_providers()
        try:
            self._tokenizer = Tokenizer.from_buffer(tokenizer)
            self._session = onnxruntime.InferenceSession(model, options, [p for p in _PROVIDERS if p in available])
        except Exception as error:  # both libraries raise Exception itself, and kinds of their own
            raise RouterRefused(f"the encoder cannot be loaded: {str(error).splitlines()[0]}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._headed = HEAD_OUTPUT in [output.name for output in self._session.get_outputs()]

    def encode(self, text: str) -> Encoded:
        """For routing: of a long text the beginning and the end."""
        seen, ids = self._visible(text)
        found = self._run(ids, [SENTENCE_OUTPUT, HEAD_OUTPUT] if self._headed else [SENTENCE_OUTPUT])
        return Encoded(ids, seen, found[0], found[1] if self._headed else np.empty(0, np.float32))

    def pieces(self, text: str) -> list[int]:
        """The word pieces of the whole text, its begin and end among them. Raises TextTooLong."""
        if len(text) > self.longest * _CHARACTERS:
            raise TextTooLong(
                f"{len(text)} characters", f"{self.longest} word pieces of {_CHARACTERS} characters each"
            )
        ids: list[int] = self._tokenizer.encode(text).ids
        if len(ids) > self.longest:
            raise TextTooLong(f"{len(ids)} word pieces", f"{self.longest} word pieces")
        return ids

    def embed(self, pieces: list[int]) -> Floats:
        """The sentence they make: (384,), of length 1."""
        return self._run(pieces, [SENTENCE_OUTPUT])[0]

    def _run(self, ids: list[int], outputs: list[str]) -> list[Floats]:
        tokens = np.array([ids], np.int64)
        found = self._session.run(outputs, {"ids": tokens, "mask": np.ones_like(tokens)})
        return [rows[0] for rows in found]

    def _visible(self, text: str) -> tuple[str, list[int]]:
        """The beginning and the end of a long text."""
        head, tail = HEAD * _CHARACTERS, TAIL * _CHARACTERS
        seen = text if len(text) <= head + tail else f"{text[:head]} {text[-tail:]}"
        ids = self._tokenizer.encode(seen).ids
        return seen, ids if len(ids) <= HEAD + TAIL else ids[:HEAD] + ids[-TAIL:]
