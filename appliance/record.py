"""The memory of a request: the one seam between answering and storing, where redaction sits."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from appliance.engine.sequence import Event, Finished, SequenceRequest
from appliance.engine.text import Delta
from appliance.errors import ApplianceError, EngineFault, StoreUnavailable
from appliance.inference_request import InferenceRequest
from appliance.keys import Caller
from appliance.routing.placement import Placement
from appliance.serving import Serving
from appliance.store import interactions
from appliance.store.database import Connection
from appliance.store.interactions import Interaction, Status
from appliance.store.timestamps import now


class Record:
    """What a request said and got so far; one row for each of its prompts."""

    def __init__(
        self, serving: Serving, caller: Caller, inference: InferenceRequest, place: Placement, arrived: float
    ) -> None:
        self.id = f"req_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
        self.requests: Sequence[SequenceRequest] = ()
        self.finished: dict[int, Finished] = {}
        self._serving, self._caller, self._inference, self._place = serving, caller, inference, place
        self._arrived, self._created = arrived, now()
        self._first: float | None = None
        self._prompts = max(1, len(inference.prompts))
        self._texts = [""] * (self._prompts * inference.choices)
        self._tokens = [0] * len(self._texts)

    @property
    def prompts(self) -> list[Sequence[int]]:
        """Token ids of each prompt."""
        return [request.prompt for request in self.requests[:: self._inference.choices]]

    def note(self, index: int, event: Event) -> None:
        if isinstance(event, Delta):
            self._texts[index] += event.text
            self._tokens[index] += event.tokens
            self._first = self._first or time.monotonic()
        elif isinstance(event, Finished):
            self.finished[index] = event

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Commit the rows on the way out, before the caller hears how it ended. Raises StoreUnavailable when an
        answer could not be committed."""
        try:
            yield
        except ApplianceError as error:
            if error.status >= 500:
                with suppress(StoreUnavailable):  # the first failure is the one to tell
                    await self._commit("failed", error)
            error.headers = {**self.headers, **error.headers}
            raise
        except BaseException as error:
            # Closed or cancelled, so nobody waits for the commit; or a fault of ours that is not foreseen.
            fault = EngineFault(f"unforeseen: {error!r}") if isinstance(error, Exception) else None
            status: Status = "failed" if fault else "cancelled"
            rows = self._rows(status, fault)
            self._count(rows, status)
            with suppress(StoreUnavailable):
                self._serving.database.write(lambda connection: _insert(connection, rows))
            raise
        await self._commit("ok")

    @property
    def headers(self) -> dict[str, str]:
        """On every reply from here on."""
        return {"X-Request-Id": self.id, **self._place.headers}

    async def _commit(self, status: Status, error: ApplianceError | None = None) -> None:
        """Done once the rows are on disk. Raises StoreUnavailable."""
        rows = self._rows(status, error)
        try:
            await self._serving.database.commit(lambda connection: _insert(connection, rows))
        except StoreUnavailable:
            self._count(rows, "failed")
            raise
        self._count(rows, status)

    def _rows(self, status: Status, error: ApplianceError | None) -> list[Interaction]:
        return [self._row(number, status, error) for number in range(self._prompts)]

    def _row(self, number: int, status: Status, error: ApplianceError | None) -> Interaction:
        """The row of the nth prompt, with its choices."""
        inference, place, base = self._inference, self._place, self._serving.base
        n = inference.choices
        answer, *others = self._texts[number * n : (number + 1) * n]
        finished = self.finished.get(number * n)
        first = finished.first_token if finished else self._first
        decision, metadata = place.decision, dict(inference.context.metadata)
        return Interaction(
            id=self.id if number == 0 else f"{self.id}-{number}",
            parent_id=inference.probe_of if number == 0 else self.id,
            created=self._created,
            session=inference.context.session,
            key_id=self._caller.key_id,
            subject=metadata.get("subject"),
            tenant=self._caller.tenant or metadata.get("tenant"),
            origin="live" if inference.probe_of is None else "probe",
            endpoint=inference.endpoint,
            metadata=metadata,
            messages=self._messages(number),
            answer=answer,
            alternatives=others,
            cohort=decision.cohort,
            layer=decision.layer,
            reason=decision.reason,
            confidence=decision.confidence,
            scores={layer: dict(scores) for layer, scores in decision.scores.items()},
            router=decision.router,
            release=place.release,
            release_digest=place.target.digest if place.target else None,
            arm=place.arm,
            base_digest=base.digest,
            format_digest=base.format_digest,
            template_digest=self._serving.template.digest,
            sampling=inference.parameters
            | ({"max_tokens": self.requests[number * n].max_new} if self.requests else {}),
            prompt_tokens=len(self.prompts[number]) if self.requests else None,
            completion_tokens=sum(self._tokens[number * n : (number + 1) * n]),
            queue_ms=_ms(finished.admitted - finished.submitted) if finished else None,
            ttft_ms=_ms(first - self._arrived) if first else None,
            total_ms=_ms((finished.ended if finished else time.monotonic()) - self._arrived),
            finish_reason=finished.reason if finished else None,
            status=status,
            error=f"{error.code}: {error.message}" if error else None,
        )

    def _messages(self, number: int) -> list[dict[str, Any]]:
        if self._inference.endpoint == "chat":
            return [{"role": role, "content": text} for role, text in self._inference.turns]
        return [{"role": "prompt", "content": self._inference.prompts[number]}]

    def _count(self, rows: Sequence[Interaction], status: Status) -> None:
        if self._inference.probe_of is not None:
            return  # the metrics tell of traffic
        vitals, cohort = self._serving.vitals, self._place.decision.cohort
        decision = self._place.decision
        vitals.requests.labels(cohort, self._place.release, status).inc()
        vitals.decisions.labels(cohort, decision.layer, decision.reason).inc()
        vitals.prompt_tokens.labels(cohort).inc(sum(row.prompt_tokens or 0 for row in rows))
        vitals.answer_tokens.labels(cohort).inc(sum(row.completion_tokens or 0 for row in rows))
        for histogram, ms in (
            (vitals.queue, rows[0].queue_ms),
            (vitals.ttft, rows[0].ttft_ms),
            (vitals.total, rows[0].total_ms),
        ):
            if ms is not None:
                histogram.labels(cohort).observe(ms / 1e3)


def _insert(connection: Connection, rows: Sequence[Interaction]) -> None:
    for row in rows:
        interactions.insert(connection, row)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)
