from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import DatabaseTooNew
from appliance.store import feedback as feedback_rows
from appliance.store import interactions
from appliance.store.connections import read_write
from appliance.store.database import Database
from appliance.store.feedback import Feedback
from appliance.store.migrations import migrate
from appliance.store.timestamps import now

from .samples import feedback, interaction

TABLES = {
    *("interactions", "feedback", "releases", "release_events", "keys", "audit", "probe", "kinds", "moments"),
    *("examples", "routers", "slices", "slice_rows", "evaluations", "evaluation_results"),
    *("reviews", "jobs", "setback"),
}


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


def test_a_log_from_before_the_kinds_is_listed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.touch()
    moments = [f"2026-01-01T00:{minute:02}:00.000000+00:00" for minute in (3, 5, 4, 9, 9, 7)]
    with closing(read_write(path)) as conn:
        migrate(conn, path, stop_before="m007_kinds_and_moments")
        for n, created in enumerate(moments):
            row = interaction(f"req_{n}", created=created, cohort=("legal", "health")[n % 2])
            interactions.insert(conn, row)
    database = Database.open(path)
    database.write(lambda conn: interactions.insert(conn, interaction("req_new"))).result()
    with database.read() as conn:
        assert [row.seq for row in interactions.page(conn, limit=9, cohort="legal")] == [7, 5, 3, 1]
        for since in moments:
            wanted = [seq for seq, created in reversed([*enumerate([*moments, "3"], 1)]) if created >= since]
            assert [row.seq for row in interactions.page(conn, limit=9, since=since)] == wanted
    database.close()


def test_a_clock_that_was_ahead_before_setbacks_were_kept_hides_no_row(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.touch()
    moments = [f"{year}-01-01T00:00:00.000000+00:00" for year in (2025, 2030, 2026, 2027)]
    with closing(read_write(path)) as conn:
        migrate(conn, path, stop_before="m016_setback")
        for n, created in enumerate(moments):
            interactions.insert(conn, interaction(f"req_{n}", created=created))
    database = Database.open(path)
    with database.read() as conn:
        assert [row.seq for row in interactions.page(conn, limit=9, until=moments[2])] == [3, 1]
    database.close()


def test_feedback_from_before_use_could_be_unsaid_says_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.touch()
    uses = ("for", "none", "against", "none")
    with closing(read_write(path)) as conn:
        migrate(conn, path, stop_before="m013_use_unsaid")
        interactions.insert(conn, interaction("req_1"))
        for n, use in enumerate(uses):
            said = (f"fb_{9 - n}", "req_1", "", now(), 1, None, None, None, use, f"i{n}", "aa")
            conn.execute(f"INSERT INTO feedback VALUES ({', '.join('?' * len(said))})", said)  # noqa: S608
        conn.execute("DELETE FROM feedback WHERE id = 'fb_9'")  # so that the rows do not count from 1
    database = Database.open(path)
    with database.read() as conn:
        kept = [Feedback(**row) for row in conn.execute("SELECT * FROM feedback ORDER BY rowid")]
        assert [(row.id, row.use) for row in kept] == [("fb_8", None), ("fb_7", "against"), ("fb_6", None)]
        assert [n for (n,) in conn.execute("SELECT rowid FROM feedback ORDER BY rowid")] == [2, 3, 4]
    again = feedback("fb_new", idempotency_key="i1")
    assert database.write(lambda conn: feedback_rows.record(conn, again)).result() == kept[0]
    database.close()


def test_a_log_from_before_reviews_tells_what_was_reviewed(tmp_path: Path) -> None:
    path = tmp_path / "appliance.db"
    path.touch()
    said = [("rating", 0), ("correction", "No."), ("cohort", "health"), ("use", "against"), ("comment", "hm")]
    with closing(read_write(path)) as conn:
        migrate(conn, path, stop_before="m014_origin_and_reviewed")
        for n, (column, value) in enumerate([*said, ("use", None)], 1):
            interactions.insert(conn, interaction(f"req_{n}", origin="probe" if n % 2 else "live"))
            conn.execute(
                f"INSERT INTO feedback (id, request_id, key_id, created, body_digest, {column}) "  # noqa: S608
                "VALUES (?, ?, '', '', '', ?)",
                (f"fb_{n}", f"req_{n}", value),
            )
        interactions.insert(conn, interaction("req_7", cohort="finance"))
    database = Database.open(path)
    with database.read() as conn:
        assert [row.seq for row in interactions.page(conn, limit=9, reviewed=True)] == [4, 3, 2, 1]
        assert [row.seq for row in interactions.page(conn, limit=9, reviewed=False)] == [7, 6, 5]
        assert [row.seq for row in interactions.page(conn, limit=9, origin="probe")] == [5, 3, 1]
        assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
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
        DatabaseTooNew, match=r"m999_future.*m016_setback.*install the newer version.*restore the backup"
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
