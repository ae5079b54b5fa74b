"""A closed loop of streaming clients, as a niced child, so that it takes what the server leaves.

python -m rig.load < PLAN writes one JSON line per request. PLAN: {"url", "headers", "clients", "rate", "bodies"}.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import httpx

from rig.servers import Server


@dataclass(frozen=True, slots=True)
class Done:
    """One request; times in seconds since the load began, and those the server states in milliseconds. `status` 0:
    the connection failed; 599: an error after the answer had begun."""

    cohort: str
    status: int
    sent: float
    first: float
    ended: float
    tokens: int
    release: str
    prompt_ms: float = 0.0
    token_ms: float = 0.0
    retry_after: float = 0.0

    @property
    def ttft(self) -> float:
        return self.first - self.sent


def run(
    server: Server, clients: int, requests: Iterable[tuple[str, dict[str, object]]], rate: float = 0.0
) -> list[Done]:
    """Send (cohort, body) requests in order, `clients` at a time; or, with a `rate`, at random that many a second."""
    bodies = [{"cohort": cohort, "body": {**body, **server.select[cohort]}} for cohort, body in requests]
    plan = {"url": server.url, "headers": dict(server.headers), "clients": clients, "rate": rate, "bodies": bodies}
    child = subprocess.run(
        ["nice", "-n", "19", sys.executable, "-m", "rig.load"],
        input=json.dumps(plan), capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return [Done(**json.loads(line)) for line in child.stdout.splitlines()]


def placed(done: Sequence[Done]) -> float:
    """The share of the answered that were answered by their own cohort's release, or by the base."""
    answered = [d for d in done if d.status == 200]
    return sum(d.release.partition("@")[0] == d.cohort for d in answered) / max(1, len(answered))


def tokens_per_second(done: Sequence[Done]) -> float:
    return sum(d.tokens for d in done) / (max(d.ended for d in done) - min(d.sent for d in done))


def quantile(values: Sequence[float], share: float) -> float:
    """The value at `share` of the way through the sorted ones (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and order statistics around it that hold the true one with at least 90 % of five values or more;
    the extremes of three hold it with 75 %, of two with 50 %."""
    ordered = sorted(values)
    cut = 0 if len(ordered) < 8 else len(ordered) // 8
    return statistics.median(ordered), ordered[cut], ordered[-1 - cut]


def spread(values: Sequence[float]) -> str:
    """An `interval`, for people."""
    middle, low, high = values
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


async def _client(http: httpx.AsyncClient, queue: list[dict[str, object]], began: float) -> None:
    while queue:
        request = queue.pop(0)
        done = await _ask(http, request, began)
        print(json.dumps(asdict(done)), flush=True)


async def _arrivals(http: httpx.AsyncClient, queue: list[dict[str, object]], rate: float, began: float) -> None:
    """A Poisson process of that rate; nobody waits for anybody."""
    rng, due = random.Random(3), began
    async with asyncio.TaskGroup() as tasks:
        while queue:
            tasks.create_task(_client(http, [queue.pop(0)], began))
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _ask(http: httpx.AsyncClient, request: dict[str, object], began: float) -> Done:
    sent = first = time.monotonic() - began
    tokens, status, release = 0, 0, ""
    stated: dict[str, float] = {}
    retry_after = 0.0
    try:
        async with http.stream("POST", "/v1/completions", json={**request["body"], "stream": True}) as reply:  # type: ignore[dict-item]
            status, release = reply.status_code, reply.headers.get("x-release", "")
            retry_after = float(reply.headers.get("retry-after", 0))
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    status = 599
                if event.get("choices") and first == sent:
                    first = time.monotonic() - began
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
                stated = event.get("timings") or stated
    except httpx.HTTPError:
        status = 0
    prompt_ms, token_ms = stated.get("prompt_ms", 0.0), stated.get("predicted_per_token_ms", 0.0)
    ended = time.monotonic() - began
    return Done(str(request["cohort"]), status, sent, first, ended, tokens, release, prompt_ms, token_ms, retry_after)


async def _main() -> None:
    plan = json.load(sys.stdin)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=plan["url"], headers=plan["headers"], timeout=600, limits=limits) as http:
        began = time.monotonic()
        if plan["rate"]:
            await _arrivals(http, plan["bodies"], plan["rate"], began)
        else:
            await asyncio.gather(*(_client(http, plan["bodies"], began) for _ in range(plan["clients"])))


if __name__ == "__main__":
    asyncio.run(_main())
