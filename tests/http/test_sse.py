"""Streams, byte by byte."""

from __future__ import annotations

import json
import threading

import httpx
import pytest

from appliance.http import streams
from tests.http.running import Json, Running, chat, forced
from tests.http.sse import DONE, Parser, chunks_of, data_of, texts_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def test_a_chat_stream_is_well_formed(client: httpx.Client) -> None:
    """Role first, one finish reason a choice, then timings and usage, and the same name in every chunk."""
    request = chat(stream=True, max_tokens=30, n=2, temperature=1, seed=9, stream_options={"include_usage": True})
    *chunks, last = chunks_of(client.post(CHAT, json=request))
    for index in range(2):
        own = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in choice["delta"] for choice in own[1:])
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["length"]
        assert own[-1]["delta"] == {}
    assert last["choices"] == []
    assert all("usage" not in chunk for chunk in chunks)
    assert [c for c in chunks if "timings" in c] == [chunks[-1]]
    assert len({(c["id"], c["model"], c["created"], c["object"]) for c in [*chunks, last]}) == 1


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2])
def test_streamed_and_whole_are_the_same(client: httpx.Client, seed: int, n: int) -> None:
    """Both are what their tokens spell: a draw near a tie may fall otherwise the second time."""
    request = chat(temperature=1, seed=seed, n=n, max_tokens=60, logprobs=True)
    whole = client.post(CHAT, json=request).json()
    streamed = client.post(CHAT, json={**request, "stream": True, "stream_options": {"include_usage": True}})
    chunks = chunks_of(streamed)
    own = {c["index"]: c["logprobs"]["content"] for c in whole["choices"]}
    assert {c["index"]: c["message"]["content"] for c in whole["choices"]} == _spelled(own)
    assert texts_of(chunks) == _spelled(_scores_of(chunks))
    assert chunks[-1]["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 60 * n
    assert chunks[0]["id"] == streamed.headers["x-request-id"]


def _scores_of(chunks: list[Json]) -> dict[int, list[Json]]:
    scores: dict[int, list[Json]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"] if choice["logprobs"]):
        scores.setdefault(choice["index"], []).extend(choice["logprobs"]["content"])
    return scores


def _spelled(scores: dict[int, list[Json]]) -> dict[int, str]:
    """The text of every choice's tokens."""
    return {
        index: bytes(byte for token in tokens for byte in token["bytes"]).decode("utf-8", "replace")
        for index, tokens in scores.items()
    }


@pytest.mark.parametrize("stop", ["the", "a", " ", "wörd", "d of “t"])
def test_stop_strings_cut_streams_at_the_same_place(client: httpx.Client, stop: str) -> None:
    said = "In thé end the wörd of “this” contract."
    request = chat(response_format=forced(said), temperature=1, max_tokens=80, stop=[stop])
    whole = client.post(CHAT, json=request).json()["choices"][0]
    chunks = chunks_of(client.post(CHAT, json={**request, "stream": True}))
    assert whole["message"]["content"] == json.dumps(said, ensure_ascii=False).split(stop)[0]
    assert texts_of(chunks) == {0: whole["message"]["content"]}


def test_logprobs_of_a_stream_are_those_of_the_whole(client: httpx.Client) -> None:
    request = chat(logprobs=True, top_logprobs=2, max_tokens=20)
    whole = client.post(CHAT, json=request).json()["choices"][0]["logprobs"]["content"]
    chunks = chunks_of(client.post(CHAT, json={**request, "stream": True}))
    scores = [s for c in chunks for s in (c["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [s["token"] for s in scores] == [s["token"] for s in whole]
    assert [s["logprob"] for s in scores] == pytest.approx([s["logprob"] for s in whole], abs=1e-3)


@pytest.mark.parametrize(
    "more",
    [{}, {"echo": True}, {"echo": True, "logprobs": 1}, {"n": 2, "echo": True}, {"max_tokens": 0, "echo": True}],
)
@pytest.mark.parametrize("prompt", ["the one", ["the one", "of this"]])
def test_completion_streams(client: httpx.Client, prompt: str | list[str], more: Json) -> None:
    request: Json = {"model": "base", "prompt": prompt, "max_tokens": 10, "seed": 5, **more}
    whole = client.post(COMPLETIONS, json=request).json()
    wants = {**request, "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = chunks_of(client.post(COMPLETIONS, json=wants))
    assert texts_of(chunks) == {c["index"]: c["text"] for c in whole["choices"]}
    reasons = [(c["choices"][0]["index"], c["choices"][0]["finish_reason"]) for c in chunks]
    ends = [pair for pair in reasons if pair[1]]
    assert sorted(ends) == [(c["index"], c["finish_reason"]) for c in whole["choices"]]
    assert last["usage"] == whole["usage"]


@pytest.mark.parametrize("stream", [False, True])
def test_text_offsets_point_into_the_text(client: httpx.Client, stream: bool) -> None:
    """A token that is whole text stands in the text where its offset says, also behind split characters."""
    request = {"model": "base", "prompt": "the öne", "max_tokens": 60, "temperature": 0, "logprobs": 0, "echo": True}
    reply = client.post(COMPLETIONS, json={**request, "stream": stream})
    chunks = chunks_of(reply) if stream else [reply.json()]
    text = "".join(c["choices"][0]["text"] for c in chunks)
    scores = [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0]["logprobs"]]
    pairs = [pair for part in scores for pair in zip(part["tokens"], part["text_offset"], strict=True)]
    assert any("\ufffd" in token for token, _ in pairs), "this answer splits no character"
    wrong = [(token, at) for token, at in pairs if "\ufffd" not in token and not text.startswith(token, at)]
    assert wrong == []


def test_parallel_streams_do_not_mix(served: Running) -> None:
    """Eight at once, of three releases: each is what it is alone, up to the first tie that the order of additions
    in a batch may turn."""
    scored: Json = {"logprobs": True, "top_logprobs": 2, "max_tokens": 40}
    asks = [chat(f"number {i}", model=("base", "legal", "coding")[i % 3], **scored) for i in range(8)]
    with served.http() as client:
        alone = [client.post(CHAT, json=a).json()["choices"][0]["logprobs"]["content"] for a in asks]
    together: dict[int, list[Json]] = {}

    def one(number: int) -> None:
        with served.http() as own:
            chunks = chunks_of(own.post(CHAT, json={**asks[number], "stream": True}))
            parts = [c["choices"][0]["logprobs"] for c in chunks]
            together[number] = [score for part in parts if part for score in part["content"]]

    threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        _same_until_a_tie(alone[number], together[number])


def _same_until_a_tie(alone: list[Json], together: list[Json]) -> None:
    assert len(alone) == len(together)
    for one, other in zip(alone, together, strict=True):
        if one["bytes"] != other["bytes"]:
            best, second = one["top_logprobs"]
            assert best["logprob"] - second["logprob"] < 0.05
            return
        assert one["logprob"] == pytest.approx(other["logprob"], abs=0.05)


def test_pings_are_comments_between_events(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The period is shortened, nothing else: a stream of some hundred milliseconds then holds several."""
    monkeypatch.setattr(streams, "PING_SECONDS", 0.02)
    parser, data = Parser(), list[str]()
    with (
        served.http() as client,
        client.stream("POST", CHAT, json=chat(stream=True, max_tokens=1500, logit_bias={"2": -100})) as reply,
    ):
        for byte in (byte for block in reply.iter_raw() for byte in block):
            data += parser.feed(byte)
    assert parser.rest == b""
    assert parser.comments > 0
    assert data[-1] == DONE


def test_a_line_separator_in_an_answer_ends_no_line(client: httpx.Client) -> None:
    """Of the characters that Python's `splitlines` ends a line at, JSON escapes all but three."""
    said = "a\u2028b\u2029c\x85d"
    request = {"model": "base", "prompt": said, "echo": True, "max_tokens": 1, "stream": True}
    with client.stream("POST", COMPLETIONS, json=request) as reply:
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert lines.pop() == DONE
    assert "".join(choice["text"] for line in lines for choice in json.loads(line)["choices"]).startswith(said)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "nobody"}, 404),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, 400),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}}, 400),
        ({"top_p": 0}, 400),
    ],
)
def test_an_error_before_the_first_token_has_its_status(client: httpx.Client, change: Json, status: int) -> None:
    reply = client.post(CHAT, json={**chat(stream=True), **change})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["error"]["message"]


def test_a_deadline_that_passes_before_the_first_token_has_its_status(client: httpx.Client) -> None:
    headers = {"X-Request-Timeout": "0.000001"}
    reply = client.post(CHAT, json=chat(stream=True), headers=headers)
    assert reply.status_code == 504
    assert reply.json()["error"]["code"] == "deadline_exceeded"


def test_an_error_in_the_middle_is_the_last_event(busy: Running) -> None:
    """A deadline while answering: what was said stands, an error object follows, and no [DONE]."""
    request = chat(stream=True, max_tokens=60_000)
    with busy.http(busy.admin) as client:
        for seconds in ("0.4", "2", "8"):  # where the first token takes longer, it is an error before it
            reply = client.post(CHAT, json=request, headers={"X-Request-Timeout": seconds})
            if reply.status_code == 200:
                break
    assert reply.status_code == 200
    *chunks, error = data_of(reply.content)
    assert DONE not in chunks
    assert '"code": "deadline_exceeded"' in error
    row = busy.row(reply.headers["x-request-id"])
    assert (row["status"], row["error"].partition(":")[0]) == ("failed", "deadline_exceeded")
    assert row["answer"]
