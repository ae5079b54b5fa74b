"""Requests and replies of the router's part of the operator API."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from appliance.wire.base import Reply, Request

Paths = Annotated[list[str], Field(max_length=100)]

# Of a blamed request, for people.
VERDICTS = {
    "misroute": "misrouted",
    "adapter": "by the adapter",
    "no_adapter": "by no adapter: the base answered",
    "mended": "mended since",
    "for_a_person": "for a person to judge: nobody said what is right",
    "unknown": "unknown: asking again failed",
}


class FitRequest(Request):
    """`paths` are JSON-lines files on the appliance's machine."""

    paths: Paths = []
    interactions: bool = False
    contrastive: bool = False
    force: bool = False


class RouterEntry(Reply):
    version: int
    digest: str
    state: str
    created: str
    rows: dict[str, int]
    held_back: dict[str, Any]
    report: dict[str, Any]
    refusals: list[str]


class RouterSwitchRequest(Request):
    """`live`: the router that is in force as far as the caller knows, like router@3: if another is, a 409."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    live: str | None = None


class RouterEvalRequest(Request):
    """Without `paths`, the rows kept apart for it; without `metadata`, on the texts alone."""

    paths: Paths = []
    metadata: bool = True


class ReplayRequest(Request):
    """`router` is a version, by default the one in force; `threshold` replaces the classifier's."""

    router: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000


class BlameRequest(Request):
    """`limit` of the newest requests that people complained about."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
