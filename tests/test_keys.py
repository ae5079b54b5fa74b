"""Who is calling: keys, their secrets, what they may do, and when they end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Forbidden, SetupError, Unauthorised
from appliance.keys import ANONYMOUS, Caller, Keys, Scope, admin_secret, new_key
from appliance.store.keys import Key

ADMIN = "ck_admin_" + "0" * 64
NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


def made() -> tuple[Key, str]:
    identity, key, digest = new_key()
    scopes = ("infer", "feedback")
    return Key(id=identity, name="app", secret_sha256=digest, scopes=scopes, created="2026", hints=True), key


def holding(*rows: Key, may_be_open: bool = True) -> Keys:
    keys = Keys(ADMIN, may_be_open=may_be_open)
    keys.replace(rows)
    return keys


def code_of(keys: Keys, authorization: str | None) -> str:
    with pytest.raises(Unauthorised) as caught:
        keys.caller(authorization, lambda: NOON)
    return caught.value.code


def test_a_new_key_is_its_id_and_a_secret_of_which_only_the_digest_stays() -> None:
    identity, key, digest = new_key()
    prefix, named, secret = key.split("_")
    assert (prefix, named, len(secret), len(digest)) == ("ck", identity, 64, 64)
    assert secret not in digest
    assert len({new_key()[1] for _ in range(50)}) == 50


def test_a_key_speaks_for_its_row() -> None:
    row, key = made()
    row = replace(row, scopes=("viewer",), cohorts=("legal", "base"), tenant="acme", hints=False)
    caller = holding(row).caller(f"Bearer {key}", lambda: NOON)
    assert caller == Caller(row.id, frozenset({"viewer"}), frozenset({"legal", "base"}), "acme", False)


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer  {} "])
def test_the_scheme_has_no_case(form: str) -> None:
    row, key = made()
    assert holding(row).caller(form.format(key), lambda: NOON).key_id == row.id


def test_a_key_of_all_cohorts_and_one_of_none() -> None:
    row, key = made()
    assert holding(row).caller(f"Bearer {key}", lambda: NOON).grant is None
    assert holding(replace(row, cohorts=())).caller(f"Bearer {key}", lambda: NOON).grant == frozenset()


@pytest.mark.parametrize(
    ("given_", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Bearer", "missing_api_key"),
        ("Bearer   ", "missing_api_key"),
        ("Basic dXNlcg==", "missing_api_key"),
        ("ck_x_y", "missing_api_key"),
        ("Bearer sk-anything", "invalid_api_key"),
        ("Bearer ck_", "invalid_api_key"),
        ("Bearer ck__", "invalid_api_key"),
        ("Bearer ck_absent_" + "0" * 64, "invalid_api_key"),
        ("Bearer ck_admin_" + "1" * 64, "invalid_api_key"),
        ("Bearer é€", "invalid_api_key"),
    ],
)
def test_while_there_are_keys_nothing_else_comes_in(given_: str | None, code: str) -> None:
    assert code_of(holding(made()[0]), given_) == code


def test_the_secret_must_be_the_ids() -> None:
    (one, key), (other, _) = made(), made()
    secret = key.split("_")[2]
    keys = holding(one, other)
    for wrong in (
        f"ck_{other.id}_{secret}",
        f"ck_{one.id}_",
        f"ck_{one.id}",
        f"ck_{one.id}_{one.secret_sha256}",
        key[:-1],
        key + "0",
        key.upper(),
        "xk" + key[2:],
    ):
        assert code_of(keys, f"Bearer {wrong}") == "invalid_api_key", wrong


@given(st.text(max_size=80))
def test_no_header_crashes_or_comes_in(header: str) -> None:
    keys = holding(made()[0])
    for authorization in (header, f"Bearer {header}", f"Bearer ck_{header}"):
        with pytest.raises(Unauthorised):
            keys.caller(authorization, lambda: NOON)


@pytest.mark.parametrize(
    ("expires", "code"),
    [
        ("2027-01-31T11:59:59.999999+00:00", "key_expired"),
        ("2027-01-31T12:00:00.000000+00:00", "key_expired"),
        ("2027-01-31T12:30:00.000000+02:00", "key_expired"),
        ("2027-01-31T12:00:00.000001+00:00", None),
        ("2027-01-31T10:30:00.000000-02:00", None),
    ],
)
def test_a_key_ends_at_its_moment(expires: str, code: str | None) -> None:
    row, key = made()
    keys = holding(replace(row, expires=expires))
    if code:
        assert code_of(keys, f"Bearer {key}") == code
    else:
        assert keys.caller(f"Bearer {key}", lambda: NOON).key_id == row.id


def test_a_revoked_key_is_named_as_such_to_who_holds_it_only() -> None:
    row, key = made()
    keys = holding(replace(row, revoked="2027-01-01T00:00:00+00:00"), made()[0])
    assert code_of(keys, f"Bearer {key}") == "key_revoked"
    assert code_of(keys, f"Bearer ck_{row.id}_{'0' * 64}") == "invalid_api_key"


def test_the_change_of_keys_holds_from_the_next_request_on() -> None:
    row, key = made()
    keys = holding(row)
    keys.replace([made()[0]])
    assert code_of(keys, f"Bearer {key}") == "invalid_api_key"


@pytest.mark.parametrize("given_", [None, "Bearer sk-anything", "Bearer x"])
def test_without_keys_the_box_is_open(given_: str | None) -> None:
    keys = holding()
    assert keys.open
    assert keys.caller(given_) is ANONYMOUS


@pytest.mark.parametrize("given_", ["Bearer ck_a_b", "Bearer ck_admin_" + "1" * 64, "Basic x", "Bearer"])
def test_an_open_box_still_refuses_what_was_meant_as_a_key(given_: str) -> None:
    code_of(holding(), given_)


def test_the_admins_key_is_an_operators_always() -> None:
    for keys in (holding(), holding(made()[0])):
        assert keys.caller(f"Bearer {ADMIN}") == Caller("admin", frozenset({"operator"}))


def test_revoking_the_last_key_does_not_open_a_box_others_can_reach() -> None:
    row, key = made()
    keys = holding(replace(row, revoked="2027-01-01T00:00:00+00:00"), may_be_open=False)
    assert keys.none_configured and not keys.open
    assert code_of(keys, None) == "missing_api_key"
    assert code_of(keys, f"Bearer {key}") == "key_revoked"


def test_a_key_that_expired_does_not_open_the_box() -> None:
    keys = holding(replace(made()[0], expires="2020-01-01T00:00:00+00:00"))
    assert code_of(keys, None) == "missing_api_key"


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ((), ()),
        (("infer",), ("infer",)),
        (("viewer",), ("viewer",)),
        (("infer", "feedback"), ("infer", "feedback")),
        (("operator",), ("infer", "feedback", "viewer", "operator")),
    ],
)
def test_scopes(scopes: tuple[str, ...], may: tuple[str, ...]) -> None:
    caller = Caller("k", frozenset(scopes))
    every: tuple[Scope, ...] = ("infer", "feedback", "viewer", "operator")
    for scope in every:
        if scope in may:
            caller.require(scope)
        else:
            with pytest.raises(Forbidden, match=f'lacks the scope "{scope}"'):
                caller.require(scope)


def test_the_anonymous_caller_infers_and_rates_and_no_more() -> None:
    assert ANONYMOUS.grant is None
    may: tuple[Scope, ...] = ("infer", "feedback")
    for scope in may:
        ANONYMOUS.require(scope)
    may_not: tuple[Scope, ...] = ("viewer", "operator")
    for scope in may_not:
        with pytest.raises(Forbidden):
            ANONYMOUS.require(scope)


def test_the_admins_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    secret = admin_secret(path)
    assert secret.startswith("ck_admin_") and len(secret) == 9 + 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert admin_secret(path) == secret
    assert Keys(secret, may_be_open=False).caller(f"Bearer {secret}").key_id == "admin"


@pytest.mark.parametrize(
    "content", [b"", b"short\n", b"\n" * 64, b"\xff" * 64], ids=["no", "short", "blank", "noise"]
)
def test_a_file_that_holds_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=r"admin\.key"):
        admin_secret(path)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be written: No such file"):
        admin_secret(tmp_path / "absent" / "admin.key")
    (tmp_path / "admin.key").mkdir()
    with pytest.raises(SetupError, match=r"admin\.key"):
        admin_secret(tmp_path / "admin.key")
