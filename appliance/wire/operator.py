"""The operator API's requests and replies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from appliance.wire.base import Reply, Request
from appliance.wire.requests import Message


class RouteRequest(Request):
    """POST /admin/v1/route: the dry run."""

    text: Annotated[str, Field(max_length=1 << 20)] | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    model: str = "auto"
    metadata: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_of(self) -> RouteRequest:
        if (self.text is None) == (self.messages is None):
            raise ValueError("give text or messages")
        if self.text == "" and not self.metadata:
            raise ValueError("text is empty, and there is no metadata to decide by")
        return self


class RouteReply(Reply):
    cohort: str
    layer: str
    reason: str
    confidence: float
    scores: dict[str, dict[str, float]]
    router: str | None
    release: str


class ReleaseAddRequest(Request):
    path: Annotated[str, Field(min_length=1)]
    cohort: str
    live: bool = False


class ReleaseEntry(Reply):
    cohort: str
    version: int
    digest: str
    state: str
    parent: str | None
    created: str
    gated: bool
    system_prompt: str | None
    warning: str | None = None


class PromoteRequest(Request):
    """`live`: the release that the new one is to replace, or base; when another is live by now, nothing happens."""

    cohort: str
    version: Annotated[int, Field(ge=1)] | None = None
    live: str | None = None


class RejectRequest(Request):
    cohort: str
    version: Annotated[int, Field(ge=1, lt=1 << 31)]


class RollbackRequest(Request):
    """`live`: the release that is to be rolled back; when another is live by now, nothing happens."""

    cohort: str
    live: str | None = None


class Switched(Reply):
    """Of promote and rollback: the releases as `legal@3`, None for the base."""

    cohort: str
    live: str | None
    previous: str | None


class KeyRequest(Request):
    name: Annotated[str, Field(min_length=1, max_length=64)]
    scopes: list[Literal["infer", "feedback", "viewer", "operator"]] = ["infer", "feedback"]
    cohorts: list[str] | None = None
    tenant: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    hints: bool = True
    expires: str | None = None


class KeyEntry(Reply):
    id: str
    name: str
    scopes: list[str]
    cohorts: list[str] | None
    tenant: str | None
    hints: bool
    created: str
    expires: str | None
    revoked: str | None
    secret: str | None = None
