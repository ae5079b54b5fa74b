"""Requests and replies of long work: training, evaluating, making a release again."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from appliance.wire.base import Reply, Request

JobKind: TypeAlias = Literal["retrain", "evaluate", "attribute", "curve", "fit", "blame", "rebuild"]
Version = Annotated[int, Field(ge=1, lt=1 << 31)]


class RetrainRequest(Request):
    """`warm` is the release to begin from; `minutes` and `epochs` go before the configuration. `live` promotes what
    passes the gate; `force` releases what does not, and is audited."""

    cohort: str
    minutes: Annotated[float, Field(gt=0, le=10_000)] | None = None
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    warm: Version | None = None
    live: bool = True
    force: bool = False


class EvaluateRequest(Request):
    """What is live, of one cohort or of all."""

    cohort: str | None = None


class RebuildRequest(Request):
    cohort: str
    version: Version


class AttributeRequest(Request):
    """Is each cohort worth its adapter; one cohort, or all. `aggregate` trains one adapter for all beside it."""

    cohort: str | None = None
    aggregate: bool = True


class CurveRequest(Request):
    """`seeds` rounds of trainings on 25, 50, 75 and 100 % of the rows; none is begun that would not end in
    `minutes`, but the first."""

    cohort: str
    seeds: Annotated[int, Field(ge=1, le=10)] = 1
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None


class JobReply(Reply):
    """`fraction` of 1 and `doing` while it runs; `losses` is a training's curve, `log` what was done (`at`, `says`);
    at the end `result` or `error`."""

    id: str
    kind: str
    cohort: str
    state: str
    created: str
    ended: str | None
    key_id: str
    asked: dict[str, Any]
    fraction: float
    doing: str
    figures: dict[str, Any]
    losses: list[dict[str, Any]]
    log: list[dict[str, str]] = []
    result: dict[str, Any] | None
    error: str | None
