"""The same rows asked in another form, as other people and other programs would. Pure.

A narrow adapter may have learned the wording of its instruction rather than the task; that two forms of one prompt
can give 76 points of difference is known (Sclar et al. 2023). The wanted answers stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
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
_LABEL = re.compile(r"(?:^|\n)([^\n:]{1,40}:)\s*$")  # at the end: "Sentence:" before a text, "Answer:" behind it


@dataclass(frozen=True, slots=True)
class Parts:
    """Of a last turn. `fields`: the user's own words in order, each with the label before it, if it has one; `cue`:
    what asks for the answer at the end, as "Answer:"; `leads`: the instruction stands before the fields. `completion`
    is what is wanted."""

    instruction: str
    fields: tuple[tuple[str, str], ...]
    completion: str
    leads: bool = True
    cue: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """`row` asks what `of` asks."""

    row: Row
    of: Row


def forms(rows: Sequence[Row]) -> dict[str, list[Form]]:
    """By form, as many of the rows as have it, at most `MOST` by a stable hash: `paraphrased` (other words and a
    lead-in), `reordered` (instruction and fields in the other order), `reformatted` (both under headings)."""
    ordered = sorted(rows, key=lambda row: hashlib.sha256(row.digest.encode()).digest())
    return {
        name: list(islice((Form(made, row) for row in ordered if (made := _asked(row, name, form))), MOST))
        for name, form in FORMS.items()
    }


def _asked(row: Row, name: str, form: Callable[[Parts], str]) -> Row | None:
    """None where the form makes no difference, or the row has no instruction."""
    parts = _parts(row)
    if parts is None:
        return None
    said = form(parts)
    if said == row.turns[-1][1]:
        return None
    digest = hashlib.sha256(f"{name}\n{row.digest}\n{said}".encode()).hexdigest()
    return replace(row, turns=(*row.turns[:-1], ("user", said)), digest=digest)


def _parts(row: Row) -> Parts | None:
    """Where the row's text, or its lines one after another, fill lines of the last turn beside an instruction."""
    last, text = row.turns[-1][1].strip(), row.text.strip()
    words = [text] if text in last else [line for line in text.splitlines() if line.strip()]
    gaps, behind = _gaps(last, words) if text else ([], "")
    if not gaps:
        return None
    before, label = _without_label(gaps[0])
    after, cue = _without_label(behind)
    if bool(before) == bool(after):  # no instruction, or two
        return None
    labels = [label, *(gap.strip() for gap in gaps[1:])]
    return Parts(before or after, tuple(zip(labels, words, strict=True)), row.completion, bool(before), cue)


def _gaps(whole: str, words: Sequence[str]) -> tuple[list[str], str]:
    """What stands before each of the words, which follow one another to the end of their lines, and behind the last;
    none if one is missing."""
    gaps, rest = [], whole
    for word in words:
        found = re.search(rf"(?:^|(?<=\n)|(?<=: )){re.escape(word)}[ \t]*(?=\n|$)", rest)
        if found is None:
            return [], ""
        gaps.append(rest[: found.start()])
        rest = rest[found.end() :]
    return gaps, rest


def _without_label(text: str) -> tuple[str, str]:
    """The text, and the label that ends it."""
    found = _LABEL.search(text)
    if found is None or (not text[: found.start()].strip() and text.endswith("\n")):  # "Translate this:", above it
        return text.strip(), ""
    return text[: found.start()].strip(), found.group(1)


def paraphrased(parts: Parts) -> str:
    """Words of the wanted answer stay as they are: they may be labels."""
    kept = {word.lower() for word in re.findall(r"\w+", parts.completion)}

    def swap(found: re.Match[str]) -> str:
        word = found.group(0)
        if kept & set(word.lower().split()):
            return word
        new = _WORDS[word.lower()]
        return new[0].upper() + new[1:] if word[0].isupper() else new

    return _joined(replace(parts, instruction=f"Here is a task for you. {_SWAP.sub(swap, parts.instruction)}"))


def reordered(parts: Parts) -> str:
    """Several fields too, the last one first."""
    instruction = parts.instruction.rstrip(":").rstrip() if parts.leads else parts.instruction
    return _joined(replace(parts, instruction=instruction, fields=parts.fields[::-1], leads=not parts.leads))


def reformatted(parts: Parts) -> str:
    answer = parts.cue.rstrip(":") or "Answer"
    return f"### Instruction\n{parts.instruction}\n\n### Input\n{_fields(parts)}\n\n### {answer}"


def _joined(parts: Parts) -> str:
    asked = [parts.instruction, _fields(parts)] if parts.leads else [_fields(parts), "", parts.instruction]
    return "\n".join([*asked, parts.cue] if parts.cue else asked)


def _fields(parts: Parts) -> str:
    return "\n".join(f"{label} {words}" if label else words for label, words in parts.fields)


FORMS: Final[Mapping[str, Callable[[Parts], str]]] = {
    "paraphrased": paraphrased,
    "reordered": reordered,
    "reformatted": reformatted,
}
