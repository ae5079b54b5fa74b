from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from appliance.errors import NotFound
from appliance.store import keys
from appliance.store.database import Database

from .samples import key


def test_keys_are_kept_whole(database: Database) -> None:
    every = key("key_1")
    some = key(
        "key_2",
        scopes=("infer", "admin"),
        cohorts=("legal",),
        tenant="intake",
        hints=True,
        expires="2027-01-01T00:00",
    )
    none = key("key_3", cohorts=())
    for row in (every, some, none):
        database.write(partial(keys.insert, key=row)).result()
    with database.read() as conn:
        assert keys.list_all(conn) == [every, some, none]
        assert keys.get(conn, "key_2") == some
        assert keys.get(conn, "key_4") is None


def test_a_key_is_revoked_once_and_stays_listed(database: Database) -> None:
    database.write(lambda conn: keys.insert(conn, key("key_1"))).result()
    revoked = database.write(lambda conn: keys.revoke(conn, "key_1")).result()
    assert revoked.revoked is not None
    assert replace(revoked, revoked=None) == replace(key("key_1"), created=revoked.created)
    assert database.write(lambda conn: keys.revoke(conn, "key_1")).result() == revoked
    with database.read() as conn:
        assert keys.list_all(conn) == [revoked]


def test_an_unknown_key_cannot_be_revoked(database: Database) -> None:
    with pytest.raises(NotFound, match="key_1"):
        database.write(lambda conn: keys.revoke(conn, "key_1")).result()
