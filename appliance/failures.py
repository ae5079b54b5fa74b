"""The one place where errors become HTTP: OpenAI's error body, the status, and Retry-After."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from appliance import wire
from appliance.errors import ApplianceError, InvalidRequest, NotFound
from appliance.wire import ErrorBody, ErrorReply

_log = logging.getLogger(__name__)
_MAX_ECHO = 200


def as_body(error: ApplianceError) -> dict[str, Any]:
    """OpenAI's error object."""
    body = ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code)
    return ErrorReply(error=body).model_dump()


def as_response(error: ApplianceError) -> JSONResponse:
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(as_body(error), error.status, headers)


def install(app: FastAPI) -> None:
    """Map every exception an endpoint may raise."""

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
        if error.status_code == 404:
            return as_response(NotFound(f"there is nothing at {request.url.path[:_MAX_ECHO]}"))
        refusal = InvalidRequest(str(error.detail))
        return JSONResponse(as_body(refusal), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
        _log.error("an endpoint failed", exc_info=error)
        return as_response(ApplianceError("the appliance failed on this request; its log says how"))


def explain(faults: Sequence[dict[str, Any]]) -> InvalidRequest:
    """The first fault, naming the field and, for an unknown one, the nearest known."""
    fault = faults[0]
    location = [str(part) for part in fault["loc"] if part != "body"]
    # pydantic names the branch of a union it tried ("list[str]", "function-after..."): not the caller's business.
    location = [part for part in location if part.isidentifier() or part.isdigit()]
    field = ".".join(location) or None
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _field_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return InvalidRequest(f"unknown field {field!r}{hint}", param=field, code="unknown_parameter")
    message = str(fault["msg"]).removeprefix("Value error, ")
    return InvalidRequest(f"{field}: {message}" if field else message, param=field)


def _field_names() -> list[str]:
    models = (wire.ChatRequest, wire.CompletionRequest, wire.FeedbackRequest, wire.RouteRequest)
    return sorted({name for model in models for name in model.model_fields})
