"""Answers that must be JSON, or JSON of a schema: llguidance masks the logits, token by token.

Schemas come from strangers, so they are bounded before they are compiled, and what cannot be enforced is refused
with a 400 (llama.cpp's own grammar once failed open and can be made to end the process; it is not used).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.llamacpp import lltokenizer_from_vocab
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from appliance.engine.llama import Logits, Model
from appliance.errors import EngineFault, InvalidRequest

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_CHOICES = 1000  # values in all enums together: 20,000 took llguidance seconds
MAX_PROPERTIES = 300  # of one object: about 499 optional ones exhaust llguidance while answering
MAX_COUNT = 1000  # minItems, maxLength and the like
MAX_PATTERN = 512  # characters of a regular expression
MAX_MEETING = 8  # patterns where several may have to hold of one text: 8 take 4 ms to compile, 12 380, 16 hours
MAX_NAMED = 64  # patternProperties: 64 take 15 ms to compile, 320 six seconds
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_NOTES = {"title", "description", "default", "examples", "$defs", "definitions", "$schema", "$id", "$comment"}
_REPEAT = re.compile(r"\{(\d*),?(\d*)\}")
# Small models fill a free choice of white space with white space for ever.
# `lenient` would ignore what cannot be enforced; as overrides these win over the schema's own "x-guidance".
_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"[ \n]{0,4}",
    "lenient": False,
}


class Constraint:
    """One sequence's place in its grammar."""

    def __init__(self, matcher: LLMatcher, n_vocab: int) -> None:
        self._matcher = matcher
        self._bits = allocate_token_bitmask(1, n_vocab)
        self._n_vocab = n_vocab

    def fresh(self) -> Constraint:
        """The same grammar from its beginning."""
        return Constraint(self._matcher.deep_copy(), self._n_vocab)

    def mask(self, row: Logits) -> None:
        """Set the logits of forbidden tokens to minus infinity, in place."""
        fill_next_token_bitmask(self._matcher, self._bits)
        if self._matcher.is_error():
            raise EngineFault(f"the constraint failed: {self._matcher.get_error()}", code="constraint_failed")
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: self._n_vocab]
        row[allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise EngineFault(f"the constraint failed: {self._matcher.get_error()}", code="constraint_failed")


class Constraints:
    """Compiles schemas for one vocabulary. Made once: building the tokenizer takes about half a second."""

    def __init__(self, model: Model) -> None:
        self._n_vocab = model.n_vocab
        with model.reading():
            self._tokenizer: LLTokenizer = lltokenizer_from_vocab(model._vocab, eos_token=model.eos)

    def json_schema(self, schema: dict[str, Any], param: str) -> Constraint:
        """A constraint to JSON that satisfies `schema`. Raises InvalidRequest naming `param`."""
        check(schema, param)
        try:
            grammar = LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS)
        except ValueError as error:
            raise InvalidRequest(f"{param} cannot be enforced: {error}", param=param) from error
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise InvalidRequest(f"{param} cannot be enforced: {matcher.get_error()}", param=param)
        constraint = Constraint(matcher, self._n_vocab)
        try:
            # Some schemas fail only at the first mask (circular $ref, hundreds of optional properties).
            constraint.mask(np.zeros(self._n_vocab, np.float32))
        except EngineFault as error:
            raise InvalidRequest(f"{param} cannot be enforced: {error.message}", param=param) from error
        return constraint

    def json_object(self, param: str) -> Constraint:
        return self.json_schema({"type": "object"}, param)


def check(schema: dict[str, Any], param: str) -> None:
    """Refuse schemas that would cost more than a request may. Raises InvalidRequest."""
    choices = 0
    nodes = list(_nodes(schema, 1))
    _check_meeting([node for _, node in nodes], param)
    for depth, node in nodes:
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"{param} is nested deeper than {MAX_DEPTH} levels", param=param)
        _check_counts(node, param)
        properties = node.get("properties")
        if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
            raise InvalidRequest(f"{param} has an object of more than {MAX_PROPERTIES} properties", param=param)
        choices += len(node["enum"]) if isinstance(node.get("enum"), list) else 0
        if choices > MAX_CHOICES:
            raise InvalidRequest(f"{param} has more than {MAX_CHOICES} enum values", param=param)
    if len(json.dumps(schema)) > MAX_BYTES:
        raise InvalidRequest(f"{param} is larger than {MAX_BYTES} bytes", param=param)


def _check_meeting(nodes: list[dict[str, Any]], param: str) -> None:
    named = [node["patternProperties"] for node in nodes if isinstance(node.get("patternProperties"), dict)]
    if sum(map(len, named)) > MAX_NAMED:
        raise InvalidRequest(f"{param} has more than {MAX_NAMED} patternProperties", param=param)
    meet = named or any(map(_meets, nodes))
    if meet and sum(isinstance(node.get("pattern"), str) for node in nodes) > MAX_MEETING:
        raise InvalidRequest(
            f"{param} has more than {MAX_MEETING} patterns where several may have to hold of one text: beside allOf, "
            "patternProperties, or $ref, anyOf or oneOf with other keys",
            param=param,
        )


def _meets(node: dict[str, Any]) -> bool:
    """Several schemas have to hold of what it describes."""
    beside = node.keys() & {"$ref", "anyOf", "oneOf"}
    return "allOf" in node or bool(beside and len(node.keys() - _NOTES) > 1)


def _check_counts(node: dict[str, Any], param: str) -> None:
    for key in _COUNTS:
        count = node.get(key)
        if isinstance(count, int | float) and count > MAX_COUNT:
            raise InvalidRequest(f"{param}: {key} is {count}, at most {MAX_COUNT} here", param=param)
    named = node.get("patternProperties")
    for pattern in (node.get("pattern"), *(named if isinstance(named, dict) else ())):
        _check_pattern(pattern, param)


def _check_pattern(pattern: object, param: str) -> None:
    if isinstance(pattern, str):
        repeats = (int(n) for pair in _REPEAT.findall(pattern) for n in pair if n)
        if len(pattern) > MAX_PATTERN or any(n > MAX_COUNT for n in repeats):
            raise InvalidRequest(
                f"{param}: a pattern may have {MAX_PATTERN} characters and repeat {MAX_COUNT} times",
                param=param,
            )


def _nodes(node: object, depth: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every object inside `node` with its depth, without recursion past MAX_DEPTH."""
    if isinstance(node, dict):
        yield depth, node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if depth <= MAX_DEPTH:
        for child in children:
            yield from _nodes(child, depth + 1)
