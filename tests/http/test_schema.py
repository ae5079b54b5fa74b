"""The appliance against its own `/openapi.json`: generated requests, right and wrong ones, with an operator's key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.http.running import Running, chat, running, until
from tests.http.surface import served_nothing

Values: TypeAlias = dict[str, Any]
EXAMPLES = 12  # drawn at random for an operation, beside those that its schema's edges give
ROUTED = {  # want a router, a job that runs, or a candidate
    *("POST /v1/embeddings", "POST /admin/v1/router/switch", "POST /admin/v1/router/replay"),
    "POST /admin/v1/jobs/{identity}/cancel",
    "POST /admin/v1/reject",
}
MOST = 8  # tokens of an answer
SETTINGS: Values = {
    "checks": {
        "not_a_server_error": {"expected-statuses": ["2xx", "4xx", "503"]},  # 503: embeddings, without a router
        # A schema cannot say which names exist, nor which fields go together.
        "positive_data_acceptance": {"enabled": False},
    },
    "generation": {"with-security-parameters": False},  # test_keys has every endpoint under every kind of key
    # A POST without JSON is a 415 before anybody looks whether there is something to post to.
    "phases": {"coverage": {"unexpected-methods": ["get", "put", "patch", "delete", "options", "trace"]}},
}


BEGIN = [f"/admin/v1/{name}" for name in ("router/fit", "retrain", "evaluate", "attribute", "curve", "rebuild")]


def described(**generation: object) -> schemathesis.BaseSchema:
    given = {**SETTINGS, "generation": {**SETTINGS["generation"], **generation}}
    config = schemathesis.Config.from_dict(given)
    return schemathesis.openapi.from_dict(served_nothing().openapi(), config=config)


def schema() -> schemathesis.BaseSchema:
    """Without what would begin work of a minute."""
    return described().exclude(method="POST", path=BEGIN)


def beginnings() -> schemathesis.BaseSchema:
    """What would begin it, asked for wrongly only."""
    return described(mode="negative").include(method="POST", path=BEGIN)


class Target:
    """The appliance, names of what is there, and how often each operation gave which status."""

    def __init__(self, appliance: Running, adapters: tuple[Path, ...], rows: dict[str, Path]) -> None:
        self.appliance, self._rows = appliance, rows
        self.seen: Counter[tuple[str, int]] = Counter()
        self.refused: Counter[str] = Counter()
        with appliance.http(appliance.admin) as client:
            logged = client.post("/v1/chat/completions", json=chat()).headers["x-request-id"]
        keys = [appliance.operated("POST", "/keys", {"name": "to be revoked"})["id"] for _ in range(5)]
        job = appliance.operated("POST", "/evaluate", {"cohort": "legal"})["id"]
        until(lambda: appliance.operated("GET", f"/jobs/{job}")["state"] != "running")
        self._known: dict[str, tuple[Any, ...]] = {
            "model": ("auto", "base", "legal", "legal@1", "nobody"),
            "name": ("auto", "legal@1", "nobody"),
            "cohort": ("legal", "finance"),
            "version": (1, 2),
            "path": tuple(map(str, adapters)),
            "request_id": (logged,),
            "identity": (*keys, job),
            "since": ("2026-01-01",),
            "expires": ("2099-01-01T00:00:00+02:00",),
            "cohorts": (["legal"],),
            "prompt": ("one", ["the", "one"], [70, 71], [[70], [71, 72]]),
            "stop_token_ids": ([], [2]),
            "logit_bias": ({}, {"70": 1.5}),
        }

    def likely(self, values: Values) -> None:
        """Put names that exist where any would do, in place: else hardly a request would be answered."""
        for field in values.keys() & self._known.keys():
            if values[field] is not None:
                choices = self._known[field]
                values[field] = choices[crc32(repr(values[field]).encode()) % len(choices)]
        if "split" in values:
            values["path"] = str(self._rows[values["split"]])
        for message in values.get("messages") or ():
            message.setdefault("content", "Hello there")


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_base: Path,
    tiny_adapters: tuple[Path, Path],
    third_adapter: Path,
) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("described")
    with running(folder, tiny_base, "context = 1024", default_max_tokens=MOST) as appliance:
        appliance.release(tiny_adapters[0], "legal")
        rows = {split: folder / f"{split}.jsonl" for split in ("train", "eval")}
        for split, path in rows.items():  # a row of both would be learned from, and so not be judged by
            path.write_text(json.dumps({"prompt": split, "completion": "two"}), encoding="utf-8")
        yield Target(appliance, (tiny_adapters[1], third_adapter), rows)


@schema().parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
def test_it_does_as_it_says(case: schemathesis.Case[Any], target: Target) -> None:
    """No answer is a fault of the box, each has a documented status, type and shape, and what is wrong is refused."""
    assert case.meta is not None
    body: Values = case.body if isinstance(case.body, dict) else {}
    for field in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(field), int):
            body[field] = min(body[field], MOST)
    if case.meta.generation.mode.is_positive:
        for values in (body, case.path_parameters, case.query):
            target.likely(values)
    reply = case.call_and_validate(
        base_url=target.appliance.url, headers={"Authorization": f"Bearer {target.appliance.admin}"}
    )
    target.seen[case.operation.label, reply.status_code] += 1


@beginnings().parametrize()
@settings(max_examples=EXAMPLES, derandomize=True, suppress_health_check=list(HealthCheck))
def test_nothing_long_begins_by_a_request_that_is_wrong(case: schemathesis.Case[Any], target: Target) -> None:
    reply = case.call_and_validate(
        base_url=target.appliance.url, headers={"Authorization": f"Bearer {target.appliance.admin}"}
    )
    assert 400 <= reply.status_code < 500
    target.refused[case.operation.label] += 1


def test_every_beginning_was_tried(target: Target) -> None:
    assert set(target.refused) == {f"POST {path}" for path in BEGIN}
    assert min(target.refused.values()) >= EXAMPLES
    kinds = [job["kind"] for job in target.appliance.operated("GET", "/jobs")]
    assert set(kinds) <= {"evaluate", "blame"} and kinds.count("evaluate") == 1, "that of `Target`"


def test_every_operation_was_answered(target: Target) -> None:
    """Of those that ran: the requests above are more than refusals."""
    operations = {operation for operation, _ in target.seen}
    described = {
        f"{verb.upper()} {path}" for path, verbs in served_nothing().openapi()["paths"].items() for verb in verbs
    }
    assert operations == described - {f"POST {path}" for path in BEGIN}
    answered = {operation for operation, status in target.seen if 200 <= status < 300}
    assert operations - answered <= ROUTED
    assert {operation for operation, status in target.seen if status == 503} <= {"POST /v1/embeddings"}
