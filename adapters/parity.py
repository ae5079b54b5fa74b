"""Does the served adapter answer as the trained one? Logits of both on the same tokens. Pure numpy.

Quantised activations make llama.cpp's logits differ from torch's on the very same weights, so what is compared is
what the adapter changes: the served change against the trained change. With a sound conversion the two point the same
way and are of one size; rows in the wrong order turn it, a wrong scale stretches it. On the packaged base five sound
adapters correlated 0.989 to 0.995, at scales of 0.99 to 1.00.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]

LEAST_BASE: Final = 0.98  # correlation of the base's logits: another tokenizer or template falls far below
LEAST_CHANGE: Final = 0.9
SCALE: Final = (0.8, 1.25)
NOTICEABLE: Final = 0.05  # of the base's spread: an adapter that changes less has nothing to compare


@dataclass(frozen=True, slots=True)
class Parity:
    """`base` and `change` are correlations over all tokens and the vocabulary, `scale` the served change's size to
    the trained one's, `effect` the trained change's size to the spread of the base's logits, `agree` the share of
    tokens whose best next token is the same."""

    base: float
    change: float
    scale: float
    effect: float
    agree: float

    @property
    def faults(self) -> list[str]:
        found = []
        if not self.base >= LEAST_BASE:
            found.append(f"the base's logits correlate {self.base:.3f}, at least {LEAST_BASE} is needed")
        if self.effect < NOTICEABLE:
            return found
        if not self.change >= LEAST_CHANGE:
            found.append(f"the adapter's change correlates {self.change:.3f}, at least {LEAST_CHANGE} is needed")
        if not SCALE[0] <= self.scale <= SCALE[1]:
            found.append(f"the served change is {self.scale:.2f} times the trained one, {SCALE[0]} to {SCALE[1]} is")
        return found


def compare(trained: Logits, trained_base: Logits, served: Logits, served_base: Logits) -> Parity:
    """All (tokens, vocabulary). Raises ValueError when the shapes differ, or values are not finite."""
    if not trained.shape == trained_base.shape == served.shape == served_base.shape:
        raise ValueError(f"logits of {trained.shape} against {served.shape}: another vocabulary or other tokens")
    if not all(np.isfinite(logits).all() for logits in (trained, trained_base, served, served_base)):
        raise ValueError("values that are not finite")
    wanted, given = _centred(trained) - _centred(trained_base), _centred(served) - _centred(served_base)
    size = float(np.linalg.norm(wanted))
    return Parity(
        base=_correlation(_centred(trained_base), _centred(served_base)),
        change=_correlation(wanted, given),
        scale=float(np.vdot(wanted, given)) / size**2 if size else 1.0,
        effect=size / float(np.linalg.norm(_centred(trained_base))),
        agree=float((trained.argmax(1) == served.argmax(1)).mean()),
    )


def _centred(logits: Logits) -> Logits:
    """Without each row's mean, which changes no probability."""
    centred: Logits = logits - logits.mean(1, keepdims=True)
    return centred


def _correlation(one: Logits, other: Logits) -> float:
    sizes = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / sizes if sizes else 1.0
