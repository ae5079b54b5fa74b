"""Rows to store; name only what a test is about."""

from __future__ import annotations

from typing import Any

from appliance.store import examples
from appliance.store.examples import Example
from appliance.store.feedback import Feedback
from appliance.store.interactions import Interaction
from appliance.store.keys import Key
from appliance.store.releases import Release
from appliance.store.timestamps import now


def interaction(id: str = "req_1", **changes: Any) -> Interaction:  # noqa: ANN401
    values = {
        "created": now(),
        "origin": "live",
        "endpoint": "/v1/chat/completions",
        "messages": [{"role": "user", "content": "May a landlord keep a deposit?"}],
        "answer": "Only for damage.",
        "cohort": "legal",
        "layer": "classifier",
        "reason": "best",
        "release": "legal@3",
        "status": "ok",
    }
    return Interaction(id=id, **{**values, **changes})


def feedback(id: str = "fb_1", **changes: Any) -> Feedback:  # noqa: ANN401
    return Feedback(**{"id": id, "request_id": "req_1", "created": now(), "body_digest": "aa", **changes})


def release(digest: str = "d1", **changes: Any) -> Release:  # noqa: ANN401
    values = {
        "cohort": "legal",
        "state": "candidate",
        "adapter_digest": "a",
        "template_digest": "t",
        "base_digest": "b",
        "system_prompt": "You are a lawyer.",
        "created": now(),
        "gated": True,
        "manifest": {"rank": 16},
    }
    return Release(digest=digest, **{**values, **changes})


def key(id: str = "key_1", **changes: Any) -> Key:  # noqa: ANN401
    values = {"name": "intake", "secret_sha256": "ff", "scopes": ("infer",), "created": now()}
    return Key(id=id, **{**values, **changes})


def example(**changes: Any) -> Example:  # noqa: ANN401
    values = {
        "cohort": "legal",
        "split": "train",
        "turns": [("user", "May they?")],
        "completion": "Yes.",
        "text": "May they?",
    }
    return examples.new(**{**values, **changes})
