"""The one place where errors become HTTP: OpenAI's error body, the status, and Retry-After."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from appliance.errors import ApplianceError, InvalidRequest, NotFound
from appliance.wire import examples, jobs, operator, requests, router
from appliance.wire.replies import ErrorBody, ErrorReply

ANYWHERE = (400, 403, 413, 500)  # statuses that any request may get: most are the edge's
_log = logging.getLogger(__name__)
_MAX_ECHO = 200


def as_body(error: ApplianceError) -> dict[str, Any]:
    """OpenAI's error object."""
    body = ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code)
    return ErrorReply(error=body).model_dump()


def as_response(error: ApplianceError) -> JSONResponse:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    headers |= error.headers
    if error.status == 409:  # OpenAI's clients would try it again
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(as_body(error), error.status, headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the schema: replies with these statuses carry the error body."""
    return {status: {"model": ErrorReply} for status in statuses}


def install(app: FastAPI) -> None:
    """Map every exception an endpoint may raise."""
    _document(app)

    @app.exception_handler(ApplianceError)
    async def _ours(request: Request, error: ApplianceError) -> JSONResponse:
        request.app.state.refused(error)
        return as_response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        explained = explain(error.errors())
        request.app.state.refused(explained)
        return as_response(explained)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> JSONResponse:
        refusal: ApplianceError = InvalidRequest(str(error.detail))
        if error.status_code == 404:
            refusal = NotFound(f"there is nothing at {request.scope['path'][:_MAX_ECHO]}")
        request.app.state.refused(refusal)
        headers = {"Allow": _methods(request)} if error.status_code == 405 else error.headers
        return JSONResponse(as_body(refusal), error.status_code, headers)

    @app.exception_handler(Exception)
    async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
        _log.error("an endpoint failed", exc_info=error)
        return as_response(ApplianceError("the appliance failed on this request; its log says how"))


def _methods(request: Request) -> str:
    """Of every route of the path; the router names those of the first."""
    routes = iter_route_contexts(request.app.routes)
    here = (route.methods or () for route in routes if route.path_regex.match(request.scope["path"]))
    return ", ".join(sorted({method for methods in here for method in methods}))


def _document(app: FastAPI) -> None:
    """Take from the schema the 422 that FastAPI puts into it: what is invalid here is a 400."""
    complete = app.openapi

    def openapi() -> dict[str, Any]:
        schema = complete()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(name, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to change it


def explain(faults: Sequence[dict[str, Any]]) -> InvalidRequest:
    """The fault that lies deepest, naming the field and, for an unknown one, the nearest known: of a union's
    branches that is the one the caller meant."""
    if faults[0]["type"] == "json_invalid":
        return InvalidRequest(f"the body is not valid JSON: {faults[0]['ctx']['error']}", code="invalid_json")
    known = _field_names()
    fault = max(faults, key=lambda fault: len(_path(fault, known)))
    path = _path(fault, known)
    field = ".".join(path) or None
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return InvalidRequest(f"unknown field {field!r}{hint}", param=field, code="unknown_parameter")
    message = str(fault["msg"]).removeprefix("Value error, ")
    return InvalidRequest(f"{field}: {message}" if field else message, param=field)


def _path(fault: dict[str, Any], known: Sequence[str]) -> list[str]:
    """Where in the body: field names and indices, without pydantic's names for the branches of a union."""
    parts = [str(part) for part in fault["loc"][1:]]
    if fault["loc"][0] != "body":
        return parts
    last = parts[-1:] if fault["type"] == "extra_forbidden" else []
    return [part for part in parts[: len(parts) - len(last)] if part in known or part.isdigit()] + last


def _field_names() -> list[str]:
    named = (value for module in (requests, operator, examples, jobs, router) for value in vars(module).values())
    models = [model for model in named if isinstance(model, type) and issubclass(model, BaseModel)]
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})
