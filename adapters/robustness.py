"""The same rows asked in another form, as other people and other programs would. Pure.

A narrow adapter may have learned the wording of its instruction rather than the task; that two forms of one prompt
can give 76 points of difference is known (Sclar et al. 2023). The wanted answers stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from adapters.slice import Row

MOST = 100  # rows asked in each form

_WORDS: Final = {  # of instructions; none is a noun too
    "answer with": "reply with",
    "respond with": "answer with",
    "answer yes or no": "say yes or no",
    "as json": "in the form of JSON",
    "in one word": "with a single word",
    "what is": "tell me",
    "is given": "can be found",
    "classify": "categorise",
    "categorise": "sort",
    "categorize": "sort",
    "identify": "determine",
    "determine": "work out",
    "extract": "pull out",
    "translate": "convert",
    "summarise": "sum up",
    "summarize": "sum up",
    "give": "provide",
    "choose": "pick",
}
_SWAP = re.compile(r"\b(" + "|".join(map(re.escape, _WORDS)) + r")\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Parts:
    """Of a last turn; `leads`: the instruction stands before the text. `completion` is what is wanted."""

    instruction: str
    text: str
    completion: str
    leads: bool


@dataclass(frozen=True, slots=True)
class Form:
    """`row` asks what `of` asks."""

    row: Row
    of: Row


def forms(rows: Sequence[Row]) -> dict[str, list[Form]]:
    """By form, as many of the rows as have it, at most `MOST` by a stable hash: `paraphrased` (other words and a
    lead-in), `reordered` (instruction and text in the other order), `reformatted` (both under headings)."""
    chosen = sorted(rows, key=lambda row: hashlib.sha256(row.digest.encode()).digest())[:MOST]
    return {
        name: [Form(made, row) for row in chosen if (made := _asked(row, name, form))] for name, form in FORMS.items()
    }


def _asked(row: Row, name: str, form: Callable[[Parts], str]) -> Row | None:
    """None where the form makes no difference, or the row has no instruction."""
    parts = _parts(row)
    if parts is None:
        return None
    said = form(parts)
    if said == row.turns[-1][1]:
        return None
    digest = hashlib.sha256(f"{name}\n{row.digest}".encode()).hexdigest()
    return replace(row, turns=(*row.turns[:-1], ("user", said)), digest=digest)


def _parts(row: Row) -> Parts | None:
    """Where the text stands at one end of the last turn."""
    last, text = row.turns[-1][1].strip(), row.text.strip()
    if not text or text == last:
        return None
    if last.endswith(text):
        return Parts(last.removesuffix(text).strip(), text, row.completion, leads=True)
    if last.startswith(text):
        return Parts(last.removeprefix(text).strip(), text, row.completion, leads=False)
    return None


def paraphrased(parts: Parts) -> str:
    """Words of the wanted answer stay as they are: they may be labels."""
    kept = {word.lower() for word in re.findall(r"\w+", parts.completion)}

    def swap(found: re.Match[str]) -> str:
        word = found.group(0)
        if kept & set(word.lower().split()):
            return word
        new = _WORDS[word.lower()]
        return new[0].upper() + new[1:] if word[0].isupper() else new

    instruction = f"Here is a task for you. {_SWAP.sub(swap, parts.instruction)}"
    return f"{instruction}\n{parts.text}" if parts.leads else f"{parts.text}\n\n{instruction}"


def reordered(parts: Parts) -> str:
    if not parts.leads:
        return f"{parts.instruction}\n{parts.text}"
    return f"{parts.text}\n\n{parts.instruction.rstrip(':').rstrip()}"


def reformatted(parts: Parts) -> str:
    return f"### Instruction\n{parts.instruction}\n\n### Input\n{parts.text}\n\n### Answer"


FORMS: Final[Mapping[str, Callable[[Parts], str]]] = {
    "paraphrased": paraphrased,
    "reordered": reordered,
    "reformatted": reformatted,
}
