"""Everything that can go wrong on purpose, in one tree. `failures` maps it to HTTP.

    ApplianceError                  500
    |- InvalidRequest               400   the caller's input; `param` names the field
    |  |- ContextExceeded           400
    |  |- PayloadTooLarge           413
    |  `- UnsupportedMedia          415
    |- Unauthorised                 401
    |- Forbidden                    403
    |- NotFound                     404
    |  `- UnknownModel              404
    |- Conflict                     409   the state of things forbids it now
    |- RateLimited                  429   this caller has too much under way
    |- Unavailable                  503   the box is busy, draining, starting or cannot log
    |  `- StoreUnavailable          503
    |- DeadlineExceeded             504
    |- EngineFault                  500   llama.cpp failed this request
    `- SetupError                   at start: configuration, files, ports; the command prints it and exits 1
       |- ConfigError
       |- BaseModelError
       |- HomeInUse
       `- DatabaseTooNew

`retry_after` is in whole seconds.
"""

from __future__ import annotations

from typing import ClassVar


class ApplianceError(Exception):
    """The root. `message` is for people and says what to do; `code` is for programs."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after = retry_after
        self.headers: dict[str, str] = {}


class InvalidRequest(ApplianceError):
    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"


class ContextExceeded(InvalidRequest):
    default_code = "context_length_exceeded"


class PayloadTooLarge(InvalidRequest):
    status = 413
    default_code = "payload_too_large"


class UnsupportedMedia(InvalidRequest):
    status = 415
    default_code = "unsupported_media_type"


class Unauthorised(ApplianceError):
    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"


class Forbidden(ApplianceError):
    status = 403
    type = "permission_error"
    default_code = "forbidden"


class NotFound(ApplianceError):
    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class UnknownModel(NotFound):
    default_code = "model_not_found"


class Conflict(ApplianceError):
    status = 409
    type = "conflict_error"
    default_code = "conflict"


class RateLimited(ApplianceError):
    status = 429
    type = "rate_limit_error"
    default_code = "rate_limit_exceeded"


class Unavailable(ApplianceError):
    status = 503
    type = "server_error"
    default_code = "unavailable"


class StoreUnavailable(Unavailable):
    default_code = "store_unavailable"


class DeadlineExceeded(ApplianceError):
    status = 504
    type = "server_error"
    default_code = "deadline_exceeded"


class EngineFault(ApplianceError):
    default_code = "engine_fault"


class SetupError(ApplianceError):
    default_code = "setup_error"


class ConfigError(SetupError):
    default_code = "config_error"


class BaseModelError(SetupError):
    default_code = "base_model_error"


class HomeInUse(SetupError):
    default_code = "home_in_use"


class DatabaseTooNew(SetupError):
    default_code = "database_too_new"
