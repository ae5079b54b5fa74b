from __future__ import annotations

import sqlite3

import pytest

from appliance.errors import NotFound
from appliance.store import audit, keys
from appliance.store.database import Database


def test_the_newest_changes_come_first_page_by_page(database: Database) -> None:
    def five_changes(conn: sqlite3.Connection) -> None:
        for n in range(5):
            audit.record(conn, "key_1", "promote", "legal", {"version": n}, {"version": n + 1})

    database.write(five_changes).result()
    with database.read() as conn:
        newest = audit.page(conn, limit=2)
        rest = audit.page(conn, limit=10, before_seq=newest[-1].seq)
        assert audit.page(conn, limit=10, before_seq=rest[-1].seq) == []
    assert [row.before for row in newest + rest] == [{"version": n} for n in (4, 3, 2, 1, 0)]
    assert {(row.key_id, row.action, row.object) for row in newest + rest} == {("key_1", "promote", "legal")}


def test_nothing_before_and_nothing_after(database: Database) -> None:
    database.write(lambda conn: audit.record(conn, "", "create", "key_1", None, {"name": "é"})).result()
    database.write(lambda conn: audit.record(conn, "", "delete", "key_1", {"name": "é"}, None)).result()
    with database.read() as conn:
        deleted, created = audit.page(conn, limit=2)
    assert (created.before, created.after) == (deleted.after, deleted.before) == (None, {"name": "é"})


def test_a_change_that_fails_leaves_no_audit_row(database: Database) -> None:
    def change(conn: sqlite3.Connection) -> None:
        audit.record(conn, "key_1", "revoke", "key_9", None, None)
        keys.revoke(conn, "key_9")

    with pytest.raises(NotFound):
        database.write(change).result()
    with database.read() as conn:
        assert audit.page(conn, limit=1) == []
