"""What comes with a request beside its body: metadata, session, deadline."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import Request

from appliance.errors import InvalidRequest
from appliance.inference_request import RequestContext

_PREFIX = "x-cohort-meta-"
_SESSION = re.compile(r"[\x21-\x7e]{1,128}")
_MOST = 16
_LONGEST = 512


def request_context(request: Request, body_metadata: Mapping[str, str] | None) -> RequestContext:
    """Metadata of the body and of `X-Cohort-Meta-<Name>` headers, by lower-case name.

    Raises InvalidRequest for a header given twice, or one that contradicts the body: a proxy that appends where it
    should replace would otherwise let a caller choose his tenant.
    """
    metadata: dict[str, str] = {}
    for name, value in (body_metadata or {}).items():
        _put(metadata, name.lower(), value, "metadata")
    for name in {n for n in request.headers if n.startswith(_PREFIX)}:
        _put(metadata, name.removeprefix(_PREFIX), _single(request, name) or "", name)
    if len(metadata) > _MOST:
        raise InvalidRequest(f"more than {_MOST} metadata fields", param="metadata")
    return RequestContext(metadata, _session(request), _timeout(request))


def _put(metadata: dict[str, str], name: str, value: str, param: str) -> None:
    if metadata.get(name, value) != value:
        raise InvalidRequest(f"the metadata field {name!r} is given twice with different values", param=param)
    if len(value) > _LONGEST:
        raise InvalidRequest(f"the metadata field {name!r} is longer than {_LONGEST} characters", param=param)
    metadata[name] = value


def _single(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise InvalidRequest(f"the header {name} is given {len(values)} times", param=name)
    return values[0] if values else None


def _session(request: Request) -> str | None:
    session = _single(request, "x-session-id")
    if session is not None and not _SESSION.fullmatch(session):
        raise InvalidRequest("X-Session-Id is 1 to 128 visible ASCII characters", param="X-Session-Id")
    return session


def _timeout(request: Request) -> float | None:
    """`X-Request-Timeout`, in seconds from arrival."""
    given = _single(request, "x-request-timeout")
    if given is None:
        return None
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", given) or float(given) <= 0:
        raise InvalidRequest("X-Request-Timeout is a number of seconds above 0", param="X-Request-Timeout")
    return float(given)
