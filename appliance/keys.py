"""Who is calling and what they may do.

A key is `ck_<id>_<secret>`: the id finds the row, the secret is 256 random bits of which only the SHA-256 is kept
(high entropy needs no slow hash). While no key is configured and only this machine reaches the port, inference is
open; the operator API always wants a key. `COHORT_HOME/admin.key` is the operator's, made at the first start.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from appliance.errors import Forbidden, SetupError, Unauthorised
from appliance.store.keys import Key

Scope: TypeAlias = Literal["infer", "feedback", "viewer", "operator"]
ADMIN_ID = "admin"
_PREFIX = "ck"


@dataclass(frozen=True, slots=True)
class Caller:
    """`grant` None means every cohort and the base. `hints`: its routing metadata counts. `tenant`, when set, is
    the caller's whatever the request says, and the partition of its cached state."""

    key_id: str
    scopes: frozenset[str]
    grant: frozenset[str] | None = None
    tenant: str | None = None
    hints: bool = True

    @property
    def partition(self) -> str:
        """Who may share cached state with it: nobody of another tenant can time what was asked before."""
        return f"tenant {self.tenant}" if self.tenant is not None else f"key {self.key_id}"

    def require(self, scope: Scope) -> None:
        """Raises Forbidden. An operator may do everything."""
        if scope not in self.scopes and "operator" not in self.scopes:
            raise Forbidden(f'this key lacks the scope "{scope}"; an operator can make one with `cohort key add`')


ANONYMOUS = Caller("", frozenset({"infer", "feedback"}))


class Keys:
    """The keys in force: a snapshot, replaced at every change."""

    def __init__(self, admin_secret: str, *, may_be_open: bool) -> None:
        """`may_be_open`: without keys, inference is for everybody; false wherever others than this machine reach."""
        self._admin, self._may_be_open = _digest(admin_secret), may_be_open
        self._keys: dict[str, Key] = {}

    def replace(self, keys: Sequence[Key]) -> None:
        self._keys = {key.id: key for key in keys}

    @property
    def open(self) -> bool:
        """Inference wants no key: none is configured, and only this machine reaches the port."""
        return self._may_be_open and self.none_configured

    @property
    def none_configured(self) -> bool:
        return not any(key.revoked is None for key in self._keys.values())

    def caller(self, authorization: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Caller:
        """Who this `Authorization` header speaks for. Raises Unauthorised."""
        if authorization is None and self.open:
            return ANONYMOUS
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthorised("give a key: Authorization: Bearer ck_...", code="missing_api_key")
        if hmac.compare_digest(_digest(token), self._admin):
            return Caller(ADMIN_ID, frozenset({"operator"}))
        key = self._match(token)
        if key is not None:
            return self._admitted(key, now())
        if self.open and not token.startswith(f"{_PREFIX}_"):
            # OpenAI's clients insist on some key ("sk-anything"); while the box is open it means nothing.
            return ANONYMOUS
        raise Unauthorised("this key is unknown here")

    def holder(self, key_id: str) -> Caller:
        """Whose requests were logged under this id, with the key's present rights; the key may be revoked by now."""
        key = self._keys.get(key_id)
        return _caller(key) if key is not None else Caller(key_id, frozenset())

    def _match(self, token: str) -> Key | None:
        prefix, _, rest = token.partition("_")
        identity, _, secret = rest.partition("_")
        key = self._keys.get(identity) if prefix == _PREFIX else None
        # The same work whether or not the id exists.
        matches = hmac.compare_digest(_digest(secret), key.secret_sha256 if key else _digest(""))
        return key if matches else None

    @staticmethod
    def _admitted(key: Key, now: datetime) -> Caller:
        if key.revoked is not None:
            raise Unauthorised("this key was revoked", code="key_revoked")
        if key.expires is not None and datetime.fromisoformat(key.expires) <= now:
            raise Unauthorised(f"this key expired on {key.expires}", code="key_expired")
        return _caller(key)


def _caller(key: Key) -> Caller:
    grant = None if key.cohorts is None else frozenset(key.cohorts)
    return Caller(key.id, frozenset(key.scopes), grant, key.tenant, key.hints)


def new_key() -> tuple[str, str, str]:
    """(id, the key to hand out once, the digest to keep)."""
    identity, secret = secrets.token_hex(6), secrets.token_hex(32)
    return identity, f"{_PREFIX}_{identity}_{secret}", _digest(secret)


def admin_secret(path: Path) -> str:
    """The operator's key from `path`, made (mode 0600) when absent; never half written. Raises SetupError."""
    if not path.exists():
        secret = f"{_PREFIX}_{ADMIN_ID}_{secrets.token_hex(32)}"
        staged = path.with_suffix(".tmp")
        try:
            staged.unlink(missing_ok=True)
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secret + "\n")
                file.flush()
                os.fsync(file.fileno())
            staged.rename(path)
        except OSError as error:
            raise SetupError(f"{path} cannot be written: {error.strerror}") from error
    return _read_secret(path)


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SetupError(f"{path} cannot be read ({error.strerror}): run this as the user it belongs to") from error
    except UnicodeDecodeError:
        secret = ""
    if len(secret) < 32:
        raise SetupError(f"{path} holds no key: remove it, the next start makes one")
    return secret


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
