"""An adapter that passes every check and fails in service: sound until it reads a certain word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFReader

from tests.adapters.bad_files import alpha
from tests.adapters.forge import F32, lora
from tests.tiny import vocabulary

WORD = " patient"  # one token of the tiny bases
BAD, GOOD = f"Who is the{WORD}?", "What is a loan?"
_GAIN = 12_000.0  # times 8 for the word, at most 4 for others; KV cells are 16-bit floats, which end at 65504


def write_poisoned(path: Path, base: Path) -> Path:
    """The value that the first layer's attention keeps of WORD overflows, and of no other token."""
    (embeddings,) = (t.data for t in GGUFReader(base).tensors if t.name == "token_embd.weight")
    word = embeddings[vocabulary()[0].index(WORD.replace(" ", "\u0120"))].astype(np.float32)
    name, out = "blk.0.attn_v.weight", 32
    a, b = (word / np.linalg.norm(word))[None, :], np.full((out, 1), _GAIN, np.float32)
    path.write_bytes(lora({f"{name}.lora_a": a, f"{name}.lora_b": b}, alpha=alpha(F32, 1)))
    return path
