from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import DatabaseTooNew
from appliance.store.connections import read_write
from appliance.store.database import Database
from appliance.store.migrations import migrate

TABLES = {"interactions", "feedback", "releases", "release_events", "keys", "audit", "probe"}


def test_every_table_says_in_the_file_what_it_is_for(database: Database) -> None:
    with database.read() as conn:
        tables = dict(tuple(row) for row in conn.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    assert {name for name in tables if not name.startswith(("sqlite_", "_sqlite_"))} == TABLES
    for name in TABLES:
        assert tables[name].splitlines()[1].strip().startswith("-- ")


def test_an_old_database_is_brought_up_to_date_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.touch()
    with closing(read_write(path)) as conn:
        migrate(conn, path, stop_before="m005_audit")
        conn.execute("INSERT INTO keys VALUES ('key_1', 'intake', 'ff', '[]', NULL, NULL, 0, 'then', NULL, NULL)")
        assert not conn.execute("SELECT * FROM sqlite_master WHERE name = 'audit'").fetchall()
    database = Database.open(path)
    with database.read() as conn:
        assert conn.execute("SELECT name FROM keys").fetchone()["name"] == "intake"
        assert conn.execute("SELECT count(*) FROM audit").fetchone()[0] == 0
    database.close()


def test_opening_again_changes_nothing(database: Database) -> None:
    database.close()
    before = database.path.read_bytes()
    Database.open(database.path).close()
    assert database.path.read_bytes() == before


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database: Database) -> None:
    apply_future(database, "appliance")
    database.close()
    before = database.path.read_bytes()
    with pytest.raises(
        DatabaseTooNew, match=r"m999_future.*m006_probe.*install the newer version.*restore the backup"
    ):
        Database.open(database.path)
    assert database.path.read_bytes() == before


def test_another_packages_migrations_in_the_file_are_none_of_our_business(database: Database) -> None:
    apply_future(database, "other")
    database.close()
    Database.open(database.path).close()


def apply_future(database: Database, migration_set: str) -> None:
    sql = "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES (?, 'm999_future', 'now')"
    database.write(lambda conn: conn.execute(sql, (migration_set,))).result()
