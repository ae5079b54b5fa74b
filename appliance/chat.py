"""From messages to token ids, so that no message can forge a role.

The base's own Jinja template is rendered in a sandbox with placeholders in place of the contents; only the text
around them is tokenised with control tokens recognised. "<|im_end|>" inside a message stays plain text.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from appliance.errors import BaseModelError, InvalidRequest
from router.text import LONGEST_TEXT

Turn: TypeAlias = tuple[str, str]  # role, text
_MAX_SCAFFOLD = 1 << 20  # characters a template may render around the contents


class Tokenizer(Protocol):
    """What the engine's model offers; thread-safe."""

    bos: int
    eos: int
    adds_bos: bool

    @property
    def pieces(self) -> Sequence[bytes]: ...

    def tokenize(self, text: str, *, special: bool) -> list[int]: ...


class ChatTemplate:
    """The chat template of one base. `digest` names it in releases and cache keys."""

    def __init__(self, source: str, tokenizer: Tokenizer) -> None:
        """Raises BaseModelError when the template is not valid or cannot render a simple conversation."""
        self.digest = template_digest(source)
        self._tokenizer = tokenizer
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        for unsafe in ("lipsum", "range"):  # no template needs them, and both make work out of nothing
            environment.globals.pop(unsafe)
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _today}
        self._ends = {"bos_token": self._piece(tokenizer.bos), "eos_token": self._piece(tokenizer.eos)}
        try:
            self._template = environment.from_string(source)
            self.encode([("user", "a"), ("assistant", "b"), ("user", "c")], None)
        except Exception as error:  # a template is a program: it may fail in any way a program can
            raise BaseModelError(f"the base's chat template cannot be used: {error}") from error

    def encode(self, turns: Sequence[Turn], system_prompt: str | None) -> list[int]:
        """Token ids of the conversation, ready for the assistant's answer. Raises InvalidRequest when the
        template does not take this order of roles."""
        turns = with_system_prompt(turns, system_prompt)
        nonce = secrets.token_hex(8)
        marks = [f"\ue000{nonce}.{i}\ue001" for i in range(len(turns))]
        scaffold = self._render([(role, mark) for (role, _), mark in zip(turns, marks, strict=True)])
        contents = {mark: text for mark, (_, text) in zip(marks, turns, strict=True)}
        ids: list[int] = []
        for piece in re.split(f"(\ue000{nonce}\\.\\d+\ue001)", scaffold):
            text = contents.get(piece)
            ids += self._tokenizer.tokenize(piece if text is None else text, special=text is None)
        return self.begin(ids)

    def begin(self, ids: list[int]) -> list[int]:
        """Put the base's begin-of-text token first, where the base wants one and the ids lack it."""
        tokenizer = self._tokenizer
        return [tokenizer.bos, *ids] if tokenizer.adds_bos and ids[:1] != [tokenizer.bos] else ids

    def _render(self, turns: Sequence[Turn]) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            text = self._template.render(messages=messages, add_generation_prompt=True, **self._ends)
        except Exception as error:  # as at loading
            raise InvalidRequest(
                f"the base's chat template refuses these messages: {error}", param="messages"
            ) from error
        if len(text) > _MAX_SCAFFOLD:
            raise InvalidRequest("the base's chat template renders more text than is allowed", param="messages")
        for role, mark in turns:
            if mark not in text:
                raise InvalidRequest(
                    f"the base's chat template has no place for this {role} message", param="messages"
                )
        return text

    def _piece(self, token: int) -> str:
        return self._tokenizer.pieces[token].decode("utf-8", "replace") if token >= 0 else ""


def template_digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def conversation_text(turns: Sequence[Turn]) -> str:
    """What the router's text layers read: what the user said, the newest first, as much of it as routing takes. So a
    new subject counts more than an old one. What was answered is left out: it may come from the wrong model."""
    newest, *older = [text for role, text in reversed(turns) if role == "user"] or [""]
    for text in older:
        if len(newest) + len(text) >= LONGEST_TEXT:
            break
        newest += f"\n{text}"
    return newest


def with_system_prompt(turns: Sequence[Turn], system_prompt: str | None) -> list[Turn]:
    """The release's system prompt first; the caller's own opening system message follows it in the same turn,
    since many templates take only one."""
    turns = [("system" if role == "developer" else role, text) for role, text in turns]
    if not system_prompt:
        return turns
    if turns and turns[0][0] == "system":
        return [("system", f"{system_prompt}\n\n{turns[0][1]}"), *turns[1:]]
    return [("system", system_prompt), *turns]


def _today(form: str) -> str:
    """Some templates tell the model the date."""
    return datetime.now(UTC).strftime(form)


def _refuse(message: str) -> None:
    """Templates call `raise_exception` where they do not take an order of roles."""
    raise TemplateError(message)
