"""What good values of the sampling parameters do to an answer."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.http.running import Json, chat
from tests.tiny import IM_END

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SCHEMA: Json = {
    "type": "object",
    "properties": {"label": {"enum": ["contract", "loan"]}, "score": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["label", "score"],
    "additionalProperties": False,
}


def asked(client: httpx.Client, where: str = CHAT, **request: Any) -> Json:  # noqa: ANN401 - any JSON
    reply = client.post(where, json=chat(**request) if where == CHAT else {"model": "base", **request})
    assert reply.status_code == 200, reply.text
    found: Json = reply.json()
    return found


def text(client: httpx.Client, **request: Any) -> str:  # noqa: ANN401 - any JSON
    return str(asked(client, **request)["choices"][0]["message"]["content"])


def tokens(client: httpx.Client, **request: Any) -> list[str]:  # noqa: ANN401 - any JSON
    """Of an answer of a hundred."""
    reply = asked(client, logprobs=True, max_tokens=100, **request)["choices"][0]
    return [score["token"] for score in reply["logprobs"]["content"]]


def token_of(letter: str) -> int:
    """Of a plain one: a byte's token lies three behind its place in gpt2's alphabet."""
    return 3 + ord(letter) - ord("!")


def _repeated(answers: list[str]) -> bool:
    """One came again: where cells lie moves logits by about 0.01, and one draw in some hundreds lies that near, so
    not all need be the same. Without a seed all differ, as the next test shows."""
    return Counter(answers).most_common(1)[0][1] > 1


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_seeds_repeat_an_answer(client: httpx.Client, seed: int) -> None:
    assert _repeated([text(client, temperature=1.5, seed=seed, max_tokens=8) for _ in range(4)])


def test_other_seeds_and_none_differ(client: httpx.Client) -> None:
    seeded = {text(client, temperature=1.5, seed=seed, max_tokens=8) for seed in range(4)}
    unseeded = {text(client, temperature=1.5, max_tokens=8) for _ in range(4)}
    assert len(seeded) == len(unseeded) == 4


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [1, 7])
def test_max_tokens(client: httpx.Client, name: str, limit: int) -> None:
    request: Json = {"max_tokens": None, name: limit}
    reply = asked(client, **request)
    assert reply["usage"]["completion_tokens"] == limit
    assert reply["choices"][0]["finish_reason"] == "length"


def test_the_answer_ends_where_the_context_does(client: httpx.Client) -> None:
    reply = asked(client, max_tokens=10**9, ignore_eos=True)
    assert reply["usage"]["total_tokens"] == 2048
    assert reply["choices"][0]["finish_reason"] == "length"


def test_the_end_token_ends_and_ignore_eos_goes_on(client: httpx.Client) -> None:
    forced: Json = {"logit_bias": {str(IM_END): 100}, "max_tokens": 5}
    ended = asked(client, **forced)
    assert (ended["choices"][0]["message"]["content"], ended["choices"][0]["finish_reason"]) == ("", "stop")
    assert ended["usage"]["completion_tokens"] == 1
    assert asked(client, **forced, ignore_eos=True)["usage"]["completion_tokens"] == 5


def test_stop_token_ids(client: httpx.Client) -> None:
    reply = asked(client, logit_bias={"70": 100}, stop_token_ids=[70], max_tokens=5)
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["choices"][0]["message"]["content"] == ""


def test_logit_bias_forces_and_forbids(client: httpx.Client) -> None:
    assert len(set(text(client, logit_bias={"70": 100}, max_tokens=5))) == 1
    letter = next(token for token in tokens(client) if len(token) == 1 and "!" <= token <= "~")
    assert letter not in tokens(client, logit_bias={str(token_of(letter)): -100})


@pytest.mark.parametrize("stop", ["the", ["zzzz", "a"]])
def test_stop(client: httpx.Client, stop: str | list[str]) -> None:
    free = text(client, max_tokens=200)
    stops = [stop] if isinstance(stop, str) else stop
    cut = min(free.index(s) for s in stops if s in free)
    reply = asked(client, max_tokens=200, stop=stop)["choices"][0]
    assert (reply["message"]["content"], reply["finish_reason"]) == (free[:cut], "stop")


@pytest.mark.parametrize("narrowed", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1}, {"temperature": 0}])
def test_narrowed_to_the_best_token(client: httpx.Client, narrowed: Json) -> None:
    """At another temperature a tie may fall otherwise: the first tokens only."""
    greedy = text(client, max_tokens=8)
    assert text(client, **{"temperature": 1, "seed": 5, "max_tokens": 8, **narrowed}) == greedy


@pytest.mark.parametrize("penalty", [{"repeat_penalty": 10}, {"presence_penalty": 2}, {"frequency_penalty": 2}])
def test_penalties_change_the_answer(client: httpx.Client, penalty: Json) -> None:
    assert text(client, **penalty, max_tokens=200) != text(client, max_tokens=200)


def test_choices_differ_by_seed_and_repeat(client: httpx.Client) -> None:
    replies = [asked(client, n=3, temperature=1.5, seed=1, max_tokens=8) for _ in range(4)]
    texts = [[choice["message"]["content"] for choice in reply["choices"]] for reply in replies]
    assert [choice["index"] for choice in replies[0]["choices"]] == [0, 1, 2]
    assert len(set(texts[0])) == 3
    assert all(_repeated(list(same)) for same in zip(*texts, strict=True))
    assert replies[0]["usage"]["completion_tokens"] == 24


def test_chat_logprobs(client: httpx.Client) -> None:
    reply = asked(client, logprobs=True, top_logprobs=4, max_tokens=12)["choices"][0]
    scores = reply["logprobs"]["content"]
    assert len(scores) == 12
    for score in scores:
        tops = [top["logprob"] for top in score["top_logprobs"]]
        assert len(tops) == 4 and tops == sorted(tops, reverse=True)
        assert tops[0] == score["logprob"] <= 0, "greedy takes the best"
    said = b"".join(bytes(score["bytes"]) for score in scores).decode("utf-8", "replace")
    assert said == reply["message"]["content"]


@pytest.mark.parametrize("wanted", [{}, {"logprobs": False}, {"logprobs": None}])
def test_no_logprobs_unless_asked(client: httpx.Client, wanted: Json) -> None:
    assert asked(client, **wanted)["choices"][0]["logprobs"] is None


def test_all_alternatives_are_a_distribution(client: httpx.Client) -> None:
    (score,) = asked(client, logprobs=True, top_logprobs=20, max_tokens=1)["choices"][0]["logprobs"]["content"]
    assert 0.1 < sum(math.exp(top["logprob"]) for top in score["top_logprobs"]) <= 1.0001


def test_scored_prompts_are_the_products_of_their_parts(client: httpx.Client) -> None:
    """Scoring a prompt in chunks gives what the answer's own log-probabilities gave."""
    ids = [70, 80, 90] * 250
    scores: list[Any] = []
    for prompt in (ids, ids[:5]):
        request: Json = {"prompt": prompt, "max_tokens": 0, "echo": True, "logprobs": 1}
        scores.append(asked(client, COMPLETIONS, **request)["choices"][0]["logprobs"]["token_logprobs"])
    assert len(scores[0]) == 750
    assert scores[0][1:5] == pytest.approx(scores[1][1:5], abs=0.05)


def test_prompts_as_text_and_tokens_are_the_same(client: httpx.Client) -> None:
    ids = [token_of(letter) for letter in "xyz"]
    replies = [asked(client, COMPLETIONS, prompt=p, temperature=0, max_tokens=6, echo=True) for p in ("xyz", ids)]
    assert replies[0]["choices"] == replies[1]["choices"]
    assert replies[0]["usage"] == replies[1]["usage"]


def test_several_prompts_are_several_rows_of_choices(client: httpx.Client) -> None:
    reply = asked(client, COMPLETIONS, prompt=["one", "two"], n=2, temperature=1, max_tokens=3, echo=True)
    assert [c["text"][:3] for c in reply["choices"]] == ["one", "one", "two", "two"]
    assert reply["usage"]["prompt_tokens"] == 6
    assert reply["usage"]["completion_tokens"] == 12


@pytest.mark.parametrize("seed", range(3))
def test_json_schema(client: httpx.Client, seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": SCHEMA}}
    reply = asked(client, temperature=1, seed=seed, max_tokens=200, response_format=wanted)["choices"][0]
    answer = json.loads(reply["message"]["content"])
    assert reply["finish_reason"] == "stop"
    assert set(answer) == {"label", "score"}
    assert answer["label"] in ("contract", "loan") and 0 <= answer["score"] <= 9


def test_json_object(client: httpx.Client) -> None:
    """A brace and the end are made likely, since random weights would never close one."""
    braces = {str(token_of(brace)): 100 for brace in "{}"}
    reply = asked(client, max_tokens=50, response_format={"type": "json_object"}, logit_bias=braces)["choices"][0]
    assert json.loads(reply["message"]["content"]) == {}
    assert reply["finish_reason"] == "stop"


def test_format_text_is_no_format(client: httpx.Client) -> None:
    assert text(client, response_format={"type": "text"}) == text(client)
