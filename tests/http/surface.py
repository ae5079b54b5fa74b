"""What there is to call, read from the application itself, so that no test can forget a new endpoint."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NamedTuple, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from appliance.app import application
from appliance.config import CohortSection, Config
from appliance.http.box import Box
from appliance.http.edge import Edge
from tests.http.running import COHORTS

_FILLED = {
    "/v1/models/{name:path}": "/v1/models/base",
    "/admin/v1/releases/{cohort}/{version}": "/admin/v1/releases/legal/1",
    "/admin/v1/interactions/{request_id}": "/admin/v1/interactions/req_none",
    "/admin/v1/keys/{identity}": "/admin/v1/keys/none",
    "/static-offline-docs": "/static-offline-docs/swagger-ui.css",
}


class Endpoint(NamedTuple):
    method: str
    template: str

    @property
    def path(self) -> str:
        """With names that pass every check of their form."""
        return _FILLED.get(self.template, self.template)


def served_nothing() -> FastAPI:
    """The application without a base: neither its routes nor its schema depend on one."""
    cohorts = {name: CohortSection(description="tests", owner="tests") for name in COHORTS}
    edge = application(cast(Box, SimpleNamespace(config=Config(cohorts=cohorts), refused=lambda _error: None)))
    assert isinstance(edge, Edge) and isinstance(edge._app, FastAPI)
    return edge._app


ENDPOINTS = sorted(
    Endpoint(method, str(context.path))
    for context in iter_route_contexts(served_nothing().routes)
    for method in context.methods or ("GET",)  # what has no methods serves the documentation's files
)
