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
class Form:
    """`row` asks what `of` asks."""

    row: Row
    of: Row


def forms(rows: Sequence[Row]) -> dict[str, list[Form]]:
    """By form, as many of the rows as have it, at most `MOST` by a stable hash: `paraphrased` (other words and a
    lead-in), `reordered` (the instruction after the text), `reformatted` (both under headings)."""
    chosen = sorted(rows, key=lambda row: hashlib.sha256(row.digest.encode()).digest())[:MOST]
    return {
        name: [Form(made, row) for row in chosen if (made := _asked(row, name, form))] for name, form in FORMS.items()
    }


def _asked(row: Row, name: str, form: Callable[[str, str, str], str]) -> Row | None:
    """None where the form makes no difference, or the row has no instruction."""
    parts = _parts(row)
    if parts is None:
        return None
    said = form(*parts, row.completion)
    if said == row.turns[-1][1]:
        return None
    digest = hashlib.sha256(f"{name}\n{row.digest}".encode()).hexdigest()
    return replace(row, turns=(*row.turns[:-1], ("user", said)), digest=digest)


def _parts(row: Row) -> tuple[str, str] | None:
    """Instruction and text of the last turn, where the one stands before or after the other."""
    last, text = row.turns[-1][1].strip(), row.text.strip()
    if not text or text == last:
        return None
    if last.endswith(text):
        return last.removesuffix(text).strip(), text
    if last.startswith(text):
        return last.removeprefix(text).strip(), text
    return None


def paraphrased(instruction: str, text: str, completion: str) -> str:
    """Words of the wanted answer stay as they are: they may be labels."""
    kept = {word.lower() for word in re.findall(r"\w+", completion)}

    def swap(found: re.Match[str]) -> str:
        word = found.group(0)
        if kept & set(word.lower().split()):
            return word
        new = _WORDS[word.lower()]
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return f"Here is a task for you. {_SWAP.sub(swap, instruction)}\n{text}"


def reordered(instruction: str, text: str, _completion: str) -> str:
    return f"{text}\n\n{instruction.rstrip(':').rstrip()}"


def reformatted(instruction: str, text: str, _completion: str) -> str:
    return f"### Instruction\n{instruction}\n\n### Input\n{text}\n\n### Answer"


FORMS: Final[Mapping[str, Callable[[str, str, str], str]]] = {
    "paraphrased": paraphrased,
    "reordered": reordered,
    "reformatted": reformatted,
}
