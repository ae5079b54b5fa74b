"""`/v1/embeddings`: the encoder of the text router in force, under OpenAI's name and in its shapes."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from openai import OpenAI

from router.classifier import FittedRouter
from tests.fitted import Fitted
from tests.http.raw import connect, request_of
from tests.http.running import Json, Running, running, until

MODEL = "all-minilm-l6-v2"


@pytest.fixture(scope="module")
def router(fitted_router: Fitted) -> FittedRouter:
    return fitted_router.load()


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Iterator[Running]:
    """An appliance of which the tests change the router; a key has one request at a time."""
    with running(tmp_path_factory.mktemp("routed"), tiny_base, "context = 512", max_per_key=1) as appliance:
        yield appliance


@pytest.fixture
def embedding(routed: Running, router: FittedRouter) -> Iterator[Running]:
    yield from with_router(routed, router)


def with_router(appliance: Running, router: Any) -> Iterator[Running]:  # noqa: ANN401 - or what stands in for one
    assert appliance.box.routers is not None
    appliance.box.routers.current = router
    yield appliance
    appliance.box.routers.current = None


def post(appliance: Running, key: str | None = None, **body: object) -> httpx.Response:
    with appliance.http(key or appliance.admin) as client:
        return client.post("/v1/embeddings", json={"model": "auto", **body})


def vectors(appliance: Running, *texts: str, encoding: str = "float") -> Any:  # noqa: ANN401 - an array
    reply = post(appliance, input=list(texts), encoding_format=encoding)
    assert reply.is_success, reply.text
    return np.array([row["embedding"] for row in reply.json()["data"]], np.float32)


def fault(reply: httpx.Response) -> Json:
    error: Json = reply.json()["error"]
    return {"status": reply.status_code, **{name: error[name] for name in ("code", "param", "message")}}


def test_shape(embedding: Running) -> None:
    reply = post(embedding, model=MODEL, input=["Hello there", "a"], user="somebody", dimensions=384).json()
    assert reply["object"] == "list" and reply["model"] == MODEL
    assert [(row["object"], row["index"], len(row["embedding"])) for row in reply["data"]] == [
        ("embedding", 0, 384),
        ("embedding", 1, 384),
    ]
    assert reply["usage"] == {"prompt_tokens": 7, "total_tokens": 7}  # [CLS] hello there [SEP], [CLS] a [SEP]


def test_a_tuned_encoder_changes_no_vector(embedding: Running, router: FittedRouter) -> None:
    """Even of a router whose own encoder is another one."""
    before = vectors(embedding, "one")
    tuned = copy(router)
    tuned.encoder = None  # type: ignore[assignment]  # whoever asks it fails
    assert embedding.box.routers is not None
    embedding.box.routers.current = tuned
    assert (vectors(embedding, "one") == before).all()
    with embedding.http() as client:
        assert client.get(f"/v1/models/{MODEL}").is_success


def test_meaning(embedding: Running) -> None:
    found = vectors(
        embedding,
        "My parcel has not arrived although you said Tuesday.",
        "The package that you promised for Tuesday is still missing.",
        "Sort a list of tuples by the second element.",
    )
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.3


def test_the_same_text_is_the_same_vector_in_any_company(embedding: Running) -> None:
    together = vectors(embedding, "one", "a much longer text than the other two are", "one")
    assert (together[0] == together[2]).all()
    assert (vectors(embedding, "one")[0] == together[0]).all()


def test_base64_says_what_floats_say(embedding: Running) -> None:
    data = post(embedding, input="one", encoding_format="base64").json()["data"]
    decoded = np.frombuffer(base64.b64decode(data[0]["embedding"]), "<f4")
    assert (decoded == vectors(embedding, "one", encoding="float")[0]).all()


def test_openai_client(embedding: Running) -> None:
    """It asks for base64 unless told otherwise."""
    with OpenAI(base_url=f"{embedding.url}/v1", api_key=embedding.admin, max_retries=0) as sdk:
        plain = sdk.embeddings.create(model=MODEL, input="one", encoding_format="float")
        packed = sdk.embeddings.create(model=MODEL, input="one")
        assert MODEL in [model.id for model in sdk.models.list()]
    assert np.allclose(packed.data[0].embedding, plain.data[0].embedding, atol=0)


def test_the_whole_text_is_read(embedding: Running) -> None:
    words = ["word"] * 510
    other = [*words[:300], "contract", *words[301:]]
    one, two = vectors(embedding, " ".join(words), " ".join(other))
    assert one @ two < 0.9999


def test_more_than_it_reads_is_refused_before_anything_is_read(embedding: Running) -> None:
    before = counted(embedding)
    found = fault(post(embedding, input=["fine", "word " * 511]))
    assert (found["status"], found["code"], found["param"]) == (400, "context_length_exceeded", "input")
    assert "text 1" in found["message"] and "513 word pieces" in found["message"]
    assert "100000 characters" in fault(post(embedding, input=" " * 100_000))["message"]
    assert counted(embedding) == before


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": ""}, "none empty"),
        ({"input": ["a", ""]}, "none empty"),
        ({"input": []}, "none empty"),
        ({"input": ["a"] * 257}, "1 to 256"),
        ({"input": [1, 2, 3]}, "another tokenizer"),
        ({"input": [[1, 2], [3]]}, "another tokenizer"),
        ({"input": "a", "dimensions": 256}, "384"),
        ({"input": "a", "encoding_format": "hex"}, "float"),
        ({"input": "a", "temperature": 1}, "temperature"),
        ({"input": None}, "give a text"),
    ],
)
def test_what_is_refused(embedding: Running, body: Json, says: str) -> None:
    found = fault(post(embedding, **body))
    assert found["status"] == 400
    assert found["param"].startswith(next(reversed(body)))
    assert says in found["message"]


def test_other_models_give_none(embedding: Running) -> None:
    found = fault(post(embedding, model="base", input="a"))
    assert (found["status"], found["code"]) == (404, "model_not_found")
    assert MODEL in found["message"]


def test_without_a_router(served: Running) -> None:
    found = fault(post(served, input="a"))
    assert (found["status"], found["code"]) == (503, "no_router")
    assert "cohort router fit" in found["message"]
    with served.http() as client:
        assert MODEL not in [entry["id"] for entry in client.get("/v1/models").json()["data"]]


def test_listed_for_every_key(embedding: Running, router: FittedRouter) -> None:
    key = embedding.key(cohorts=["legal"], scopes=["infer"])
    with embedding.http(key) as client:
        (entry,) = [entry for entry in client.get("/v1/models").json()["data"] if entry["id"] == MODEL]
    assert entry["meta"]["context"] == 512 and entry["meta"]["digest"] == router.manifest["encoder"]


def test_counted_and_not_logged(embedding: Running) -> None:
    rows = embedding.rows("SELECT count(*) AS n FROM interactions")
    texts, tokens = counted(embedding)
    vectors(embedding, "a", "b")
    assert counted(embedding) == (texts + 2, tokens + 6)
    assert embedding.rows("SELECT count(*) AS n FROM interactions") == rows


def counted(appliance: Running) -> tuple[float, float]:
    values = [
        appliance.box.vitals.registry.get_sample_value(f"cohort_{name}_total")
        for name in ("embeddings", "embedding_tokens")
    ]
    assert None not in values
    return values[0] or 0.0, values[1] or 0.0


class Stuck:
    """An encoder that takes as long as the test wants."""

    longest = 512

    def __init__(self) -> None:
        self.asked, self.go_on = 0, threading.Event()

    def pieces(self, _text: str) -> list[int]:
        return [101, 102]

    def embed(self, _pieces: list[int]) -> Any:  # noqa: ANN401 - an array
        self.asked += 1
        assert self.go_on.wait(60)
        return np.zeros(384, np.float32)


@pytest.fixture
def stuck(routed: Running) -> Iterator[Stuck]:
    encoder = Stuck()
    for _ in with_router(routed, SimpleNamespace(plain=encoder, manifest={"encoder": ""}, version="router@1")):
        yield encoder
        encoder.go_on.set()
        until(lambda: not under_way(routed))


def under_way(appliance: Running) -> int:
    assert appliance.box.serving is not None
    return sum(appliance.box.serving.under_way.values())


def test_who_leaves_is_not_worked_for(routed: Running, stuck: Stuck) -> None:
    with connect(routed) as connection:
        connection.sendall(request_of("/v1/embeddings", {"model": "auto", "input": ["a"] * 200}, routed.admin))
        until(lambda: stuck.asked)
    until(lambda: not under_way(routed))
    stuck.go_on.set()
    post(routed, input="b")
    assert stuck.asked == 2


def test_others_are_served_meanwhile_but_not_more_of_the_same_key(routed: Running, stuck: Stuck) -> None:
    key = routed.key(scopes=["infer"])
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, routed, key, input=["a", "b"])
        until(lambda: stuck.asked)
        with routed.http() as client:
            assert client.get("/health").status_code == 200
        refused = fault(post(routed, key, input="c"))
        stuck.go_on.set()
        assert first.result().is_success
    assert (refused["status"], refused["code"]) == (429, "rate_limit_exceeded")


def test_deadline(routed: Running, stuck: Stuck) -> None:
    with routed.http(routed.admin) as client:
        late = client.post("/v1/embeddings", json={"model": "auto", "input": "a"}, headers={"X-Request-Timeout": "1"})
    assert fault(late)["code"] == "deadline_exceeded" and late.status_code == 504
    assert stuck.asked == 1
