"""Clients that keep asking whatever becomes of the appliance, and remember what they were told."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from .premises import chat, events


@dataclass
class Seen:
    """What a client saw of an answer; `complete` is the acknowledgement."""

    prompt: str
    stream: bool
    id: str = ""
    texts: list[str] = field(default_factory=lambda: [""])
    finish: str = ""
    complete: bool = False


@dataclass(frozen=True)
class Judged:
    """Feedback that was acknowledged."""

    id: str
    request_id: str
    rating: int
    comment: str


class Client(threading.Thread):
    """Asks by turns whole and streamed, and gives feedback on what it saw complete, until `stop`."""

    def __init__(self, url: str, number: int, midway: threading.Event) -> None:
        """`midway` is set whenever a part of a stream was read that is not its end."""
        super().__init__(daemon=True)
        self.seen: list[Seen] = []
        self.judged: list[Judged] = []
        self.retried = 0
        self.unexpected: list[str] = []
        self._url, self._number, self._midway = url, number, midway
        self._random = random.Random(number)
        self._stopping = threading.Event()
        self._pending: tuple[str, dict[str, Any]] | None = None

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            with httpx.Client(base_url=self._url, timeout=10) as http:
                try:
                    while not self._stopping.is_set():
                        self._step(http)
                except httpx.TransportError:
                    time.sleep(0.01)  # it was killed: ask again

    def _step(self, http: httpx.Client) -> None:
        if self._pending is not None:
            self._give_feedback(http)
            return
        seen = Seen(f"{self._number}-{len(self.seen)} of the loan", stream=self._random.random() < 0.5)
        self.seen.append(seen)
        if seen.stream:
            self._stream(http, seen)
        elif self._random.random() < 0.2:
            self._whole(http, seen, choices=2)
        else:
            self._whole(http, seen, choices=1)
        if seen.complete and self._random.random() < 0.4:
            rating = self._random.choice((-1, 0, 1))
            body = {"request_id": seen.id, "rating": rating, "comment": f"on {seen.prompt}"}
            self._pending = (f"key-{seen.id}", body)

    def _ask(self, seen: Seen, **fields: object) -> dict[str, object]:
        """Streams are long: the tiny model writes 60 tokens before a reader of its first one is scheduled."""
        model = self._random.choice(("auto", "base", "legal", "finance"))
        longest = 300 if seen.stream else 60
        return chat(seen.prompt, model, max_tokens=self._random.randint(1, longest), **fields)

    def _whole(self, http: httpx.Client, seen: Seen, choices: int) -> None:
        response = http.post("/v1/chat/completions", json=self._ask(seen, n=choices))
        if self._served(response):
            body = response.json()
            seen.id = body["id"]
            seen.texts = [choice["message"]["content"] for choice in body["choices"]]
            seen.finish = body["choices"][0]["finish_reason"]
            seen.complete = True

    def _stream(self, http: httpx.Client, seen: Seen) -> None:
        with http.stream("POST", "/v1/chat/completions", json=self._ask(seen, stream=True)) as response:
            if response.status_code != 200:
                response.read()
            if not self._served(response):
                return
            seen.id = response.headers["X-Request-Id"]
            for event in events(response):
                self._note(seen, event)

    def _note(self, seen: Seen, event: dict[str, Any]) -> None:
        if "error" in event:
            self.unexpected.append(str(event))
        for choice in event.get("choices", ()):
            seen.texts[0] += choice["delta"].get("content") or ""
            if choice["finish_reason"]:
                seen.finish, seen.complete = choice["finish_reason"], True
        if seen.texts[0] and not seen.complete:
            self._midway.set()

    def _give_feedback(self, http: httpx.Client) -> None:
        """The same again with the same key until it is acknowledged."""
        assert self._pending is not None
        key, body = self._pending
        self.retried += 1
        response = http.post("/v1/feedback", json=body, headers={"Idempotency-Key": key})
        if self._served(response):
            self.judged.append(Judged(response.json()["id"], body["request_id"], body["rating"], body["comment"]))
            self._pending = None

    def _served(self, response: httpx.Response) -> bool:
        """While it starts it says so with a 503; nothing else may go wrong."""
        if response.status_code == 200:
            return True
        if response.status_code != 503 or response.json()["error"]["code"] != "starting":
            self.unexpected.append(f"{response.status_code} {response.text}")
        time.sleep(0.01)
        return False
