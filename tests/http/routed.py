"""What tests of the text router share: texts, rows to fit on, and how to ask and to read what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from tests.fitted import COHORTS, rows
from tests.http.running import Json, Running, chat

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
LEGAL = "Does the indemnity clause of this agreement survive its termination?"
CODING = "Why does this Python function raise a KeyError when the dictionary is empty?"
FEW = 24
NOWHERE = "What is the capital of Norway?"


def few_examples(folder: Path) -> None:
    """As many rows of each class to learn from as to judge by."""
    for split in ("train", "eval"):
        for name in (*COHORTS, "base"):
            found = [row for row in rows(split) if row.cohort == name][:FEW]
            written(folder / name / f"{split}.jsonl", [{"prompt": row.prompt, "text": row.text} for row in found])


def written(path: Path, lines: list[Json]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def ask(appliance: Running, text: str, key: str | None = None, session: str | None = None, **more: Any) -> Any:  # noqa: ANN401
    headers = {"X-Session-Id": session} if session else {}
    with appliance.http(key) as client:
        reply = client.post(CHAT, json=chat(text, **{"model": "auto", "max_tokens": 1, **more}), headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


def told(reply: httpx.Response) -> tuple[str, str, str]:
    return tuple(reply.headers[f"x-{name}"] for name in ("cohort", "cohort-layer", "cohort-reason"))  # type: ignore[return-value]


def ready(appliance: Running) -> Json:
    with appliance.http() as client:
        reply = client.get("/ready")
    assert reply.status_code == 200
    found: Json = reply.json()
    return found


def states(appliance: Running) -> dict[int, str]:
    return {entry["version"]: entry["state"] for entry in appliance.operated("GET", "/routers")}
