"""Importing labelled examples: the request, its replies, and the rows of the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from appliance.wire.base import Reply, Request
from appliance.wire.requests import Message


class ExamplesRequest(Request):
    path: Annotated[str, Field(min_length=1)]
    cohort: str
    split: Literal["train", "eval"]


class ImportedReply(Reply):
    """`read` is `added` and `known` together."""

    cohort: str
    split: str
    read: int
    added: int
    known: int


class ExamplesEntry(Reply):
    cohort: str
    split: str
    rows: int


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _or_none(text: str | None) -> str | None:
    return text if text and text.strip() else None


OrNone = Annotated[str | None, AfterValidator(_or_none)]


class Turn(Message):
    """A message as in chat; files made for other trainers have more fields."""

    model_config = ConfigDict(extra="ignore")


class ExampleRow(BaseModel):
    """One line of an imported file. Fields of other names are ignored; blank strings are as good as none."""

    model_config = ConfigDict(extra="ignore", strict=True)

    prompt: Annotated[str, AfterValidator(_not_blank)] | None = None
    messages: Annotated[list[Turn], Field(min_length=1)] | None = None
    completion: OrNone = None
    text: OrNone = None
    task: OrNone = None
    metric: OrNone = None
    refs: list[str] | None = None
    subject: OrNone = None
    source: OrNone = None
    origin: Literal["human", "imported", "interaction", "synthetic"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> ExampleRow:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give prompt (with completion) or messages")
        if self.messages is not None and self.completion is not None:
            raise ValueError("completion goes with prompt: of messages the last one is the completion")
        return self

    def conversation(self) -> tuple[list[tuple[str, str]], str | None]:
        """Role and text of each message up to the answer, and the answer if there is one."""
        if self.messages is None:
            return [("user", self.prompt or "")], self.completion
        turns: list[tuple[str, str]] = [(turn.role, turn.text) for turn in self.messages]
        return (turns[:-1], _or_none(turns[-1][1])) if turns[-1][0] == "assistant" else (turns, None)
