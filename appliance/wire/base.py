"""What all of the wire's models have in common."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    WithJsonSchema,
    model_serializer,
)

_EMPTY: list[JsonValue] = [None, [], {}, "", "none"]


def _refuse(value: object) -> None:
    if value not in _EMPTY:
        raise ValueError("is not supported here: this endpoint gives text only; leave the field out")


Unsupported: TypeAlias = Annotated[
    Any,
    AfterValidator(_refuse),
    WithJsonSchema({"enum": _EMPTY, "description": "Not supported: refused with content."}),
]
Ignored: TypeAlias = Annotated[Any, Field(description="Accepted and ignored.")]


class Request(BaseModel):
    """What callers send: unknown fields and other types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Reply(BaseModel):
    """What they get."""

    model_config = ConfigDict(extra="forbid")
    # Fields that are left out rather than null, as OpenAI does in chunks.
    omitted: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_omitted(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if value is not None or name not in self.omitted}
