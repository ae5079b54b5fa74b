from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.engine import llama
from appliance.engine.constraint import Constraint, Constraints
from appliance.engine.lane import Lane, LaneShape
from appliance.engine.llama import Model
from appliance.engine.prefix_cache import Snapshots
from appliance.engine.sampling import Sampling
from appliance.engine.scheduler import Share
from appliance.engine.threads import ThreadChoice
from appliance.errors import InvalidRequest
from tests.engine.drive import GREEDY, KEY, Answer, ask, drain, solo, submit

Schema = dict[str, Any]

PERSON: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["naïve", "✓", 'a "b"', None]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age", "kind", "tags"],
    "additionalProperties": False,
}


@pytest.fixture(scope="session")
def constraints(model: Model) -> Constraints:
    return Constraints(model)


def constrained(lane: Lane, model: Model, constraint: Constraint, sampling: Sampling, max_new: int = 300) -> Answer:
    return solo(lane, ask(model, max_new=max_new, constraint=constraint, sampling=sampling, logprobs=None))


def assert_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age", "kind", "tags"]
    assert isinstance(person["name"], str) and 1 <= len(person["name"]) <= 8
    assert type(person["age"]) is int and 0 <= person["age"] <= 120
    assert person["kind"] in PERSON["properties"]["kind"]["enum"]
    assert 1 <= len(person["tags"]) <= 3 and all(type(tag) is bool for tag in person["tags"])


def refusal(constraints: Constraints, schema: Schema) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        constraints.json_schema(schema, "response_format.json_schema")
    assert caught.value.param == "response_format.json_schema"
    assert "response_format.json_schema" in caught.value.message
    return caught.value


def nested(depth: int) -> Schema:
    schema: Schema = {"type": "integer"}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


MEETING: dict[str, Schema] = {
    "allOf": {"allOf": [{"type": "string", "pattern": f".*a{n}.*"} for n in range(16)]},
    "a chain": {
        "$defs": {f"d{n}": {"type": "string", "pattern": f".*a{n}.*", "$ref": f"#/$defs/d{n + 1}"} for n in range(16)}
        | {"d16": {"type": "string"}},
        "$ref": "#/$defs/d0",
    },
    **{
        name: functools.reduce(
            lambda inner, n: {"type": "string", "pattern": f".*a{n}.*", name: [inner]}, range(15), {"type": "string"}
        )
        for name in ("anyOf", "oneOf")
    },
    "through properties": functools.reduce(
        lambda inner, n: {"properties": {"x": {"type": "string", "pattern": f".*a{n}.*"}}, "anyOf": [inner]},
        range(15),
        {"type": "object"},
    ),
    "names": {"type": "object", "patternProperties": {f"^a{n}$": {"type": "string"} for n in range(400)}},
    "named patterns": {
        "type": "object",
        "patternProperties": {f"a{n}": {"type": "string", "pattern": f".*b{n}.*"} for n in range(16)},
    },
}


@pytest.mark.parametrize("schema", MEETING.values(), ids=MEETING)
def test_what_takes_hours_to_compile_is_refused(constraints: Constraints, schema: Schema) -> None:
    """Nothing could stop the thread that compiles it."""
    assert "patterns where several may" in (told := refusal(constraints, schema).message) or "64 pattern" in told


def test_patterns_that_do_not_meet_may_be_many(constraints: Constraints) -> None:
    properties = {f"p{n}": {"type": "string", "pattern": f"^a{n}$"} for n in range(40)}
    assert constraints.json_schema({"type": "object", "properties": properties}, "p")
    named = {"x": {"$ref": "#/$defs/x", "description": "as pydantic writes it"}}
    referred = {"type": "object", "$defs": {"x": {"type": "integer"}}, "properties": {**properties, **named}}
    assert constraints.json_schema(referred, "p")


# -- answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, *(Sampling(seed=seed) for seed in range(8))])
def test_answers_satisfy_their_schema(lane: Lane, model: Model, constraints: Constraints, sampling: Sampling) -> None:
    answer = constrained(lane, model, constraints.json_schema(PERSON, "p"), sampling)
    assert answer.finished.reason == "stop"
    assert_person(answer.text)


def test_json_objects_parse(lane: Lane, model: Model, constraints: Constraints) -> None:
    quote, close = (model.pieces.index(piece) for piece in (b'"', b"}"))
    end_soon = {quote: 4.0, close: 6.0}  # a random model does not close what it opens
    ended = 0
    for seed in range(12):
        sampling = Sampling(seed=seed, logit_bias=end_soon)
        answer = constrained(lane, model, constraints.json_object("p"), sampling)
        if answer.finished.reason == "stop":
            ended += 1
            assert isinstance(json.loads(answer.text), dict)
    assert ended >= 6


def test_bias_does_not_break_a_constraint(lane: Lane, model: Model, constraints: Constraints) -> None:
    sampling = Sampling(temperature=0, logit_bias={model.pieces.index(b"!"): 100.0, model.eos: 100.0})
    answer = constrained(lane, model, constraints.json_schema({"const": [1, "two"]}, "p"), sampling)
    assert json.loads(answer.text) == [1, "two"]


def test_constrained_and_free_sequences_share_a_batch(lane: Lane, model: Model, constraints: Constraints) -> None:
    free = ask(model, max_new=30)
    cold = solo(lane, free).text
    person = ask(model, max_new=300, constraint=constraints.json_schema(PERSON, "p"), logprobs=None)
    answers = [submit(lane, asked)[1] for asked in (free, person, free)]
    drain(lane)
    assert [answers[0].text, answers[2].text] == [cold, cold]
    assert_person(answers[1].text)


def test_a_stop_string_ends_a_constrained_answer_across_tokens(
    lane: Lane, model: Model, constraints: Constraints
) -> None:
    constraint = constraints.json_schema({"const": "so naïve ✓ text"}, "p")
    answer = solo(lane, ask(model, max_new=99, constraint=constraint, stops=("ïve ✓",)))
    assert (answer.text, answer.finished.reason) == ('"so na', "stop")


def test_scores_of_a_constrained_answer_are_the_models_own(
    lane: Lane, model: Model, constraints: Constraints
) -> None:
    free = solo(lane, ask(model, max_new=1, logprobs=3)).scores[0]
    constraint = constraints.json_schema(PERSON, "p")
    held = solo(lane, ask(model, max_new=1, logprobs=3, constraint=constraint)).scores[0]
    assert held.top == free.top
    assert held.token != free.token and held.logprob < free.logprob


@pytest.fixture
def real_model(real_base: Path) -> Iterator[Model]:
    llama.start()
    real = Model(real_base)
    yield real
    real.close()


@pytest.mark.live
def test_the_real_base_answers_in_json(real_model: Model) -> None:
    lane = Lane(
        KEY,
        real_model,
        None,
        LaneShape(context=512, sequences=2, threads=2),
        Share("test"),
        Snapshots(0),
        ThreadChoice(2),
    )
    prompt = "<|im_start|>user\nDescribe Anna, 31, as JSON.<|im_end|>\n<|im_start|>assistant\n"
    asked = ask(real_model, prompt, 120, constraint=Constraints(real_model).json_schema(PERSON, "p"), logprobs=None)
    answer = solo(lane, asked)
    lane.close()
    assert answer.finished.reason == "stop"
    assert_person(answer.text)


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (nested(40), "nested deeper than 32"),
        ({"enum": list(range(1001))}, "enum"),
        ({"anyOf": [{"enum": list(range(400))} for _ in range(3)]}, "enum"),
        ({"type": "string", "pattern": "a{100000}"}, "repeat 1000 times"),
        ({"type": "string", "pattern": "a{2,100000}"}, "repeat 1000 times"),
        ({"type": "string", "pattern": "(ab)*" * 200}, "512 characters"),
        ({"items": [{"maxLength": 10**9}]}, "maxLength"),
        ({"description": "x" * 70_000}, "larger than"),
    ],
)
def test_what_would_cost_too_much_is_refused(constraints: Constraints, schema: Schema, why: str) -> None:
    assert why in refusal(constraints, schema).message


def test_nesting_beyond_pythons_own_limit_is_refused(constraints: Constraints) -> None:
    assert "nested deeper than 32" in refusal(constraints, nested(3000)).message


def test_patterns_of_property_names_are_bounded_too(constraints: Constraints) -> None:
    schema = {"type": "object", "patternProperties": {"a{100000}": {"type": "string"}}}
    assert "repeat 1000 times" in refusal(constraints, schema).message


def test_depth_and_choices_at_the_bound_are_accepted(constraints: Constraints) -> None:
    constraints.json_schema(nested(32), "p")
    constraints.json_schema({"enum": list(range(1000))}, "p")


UNENFORCEABLE: list[Schema] = [
    {"type": "array", "uniqueItems": True},
    {"type": "array", "contains": {"type": "integer"}},
    {"not": {"type": "string"}},
    {"if": {"type": "string"}, "then": {"maxLength": 3}},
    {"type": "string", "format": "phone"},
    {"type": "string", "pattern": "(?=a)b"},
    {"type": "text"},
    {"$ref": "https://example.com/schema"},
    {"enum": []},
]


@pytest.mark.parametrize("schema", UNENFORCEABLE)
def test_what_cannot_be_enforced_is_refused(constraints: Constraints, schema: Schema) -> None:
    assert "cannot be enforced" in refusal(constraints, schema).message


@pytest.mark.parametrize("schema", UNENFORCEABLE)
def test_a_schema_cannot_ask_for_leniency(constraints: Constraints, schema: Schema) -> None:
    assert "cannot be enforced" in refusal(constraints, {**schema, "x-guidance": {"lenient": True}}).message


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#"}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}],
    ids=["reference to itself", "references in a circle"],
)
def test_what_would_fail_while_answering_is_refused_before(constraints: Constraints, schema: Schema) -> None:
    assert "cannot be enforced" in refusal(constraints, schema).message


def test_properties_at_the_bound_are_accepted_and_one_more_is_refused(constraints: Constraints) -> None:
    """More of them would fail while answering, too."""

    def object_of(count: int) -> Schema:
        text = {"type": "string", "maxLength": 1000}
        return {"type": "object", "properties": {f"p{i}": text for i in range(count)}}

    constraints.json_schema(object_of(300), "p")
    assert "more than 300 properties" in refusal(constraints, object_of(301)).message
