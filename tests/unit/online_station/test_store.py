"""The station's database: one of an earlier release is brought up to date with all that is in it."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from online_station.core.decide import DEFAULT_POLICY
from online_station.shell import store as module
from online_station.shell.store import Store
from tests.support.first_release import FIRST_SCHEMA
from tests.support.pki import NOW


def schema_of(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1:] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}
        indexes = {tuple(row) for row in db.execute("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'")}
        return columns, indexes, db.execute("PRAGMA user_version").fetchone()[0]


def test_a_database_of_the_first_release_is_brought_up_to_date_with_all_that_is_in_it(station_desk, tmp_path):
    digest = station_desk.report()
    station_desk.once()
    today = station_desk.home.database
    with contextlib.closing(sqlite3.connect(tmp_path / "first.db")) as db:
        db.executescript(FIRST_SCHEMA)
        db.execute("ATTACH ? AS today", (str(today),))
        for table in ("setting", "report", "event", "result", "ack", "quarantined", "standing"):
            wanted = {row[1] for row in db.execute(f"PRAGMA main.table_info({table})")}
            names = ", ".join(sorted(wanted))
            db.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM today.{table}")
        db.commit()
    before = schema_of(tmp_path / "first.db")
    assert before[2] == 1
    assert "leg" not in before[0]
    with contextlib.closing(Store(tmp_path / "first.db", DEFAULT_POLICY)) as store:
        row = store.find(digest)
        assert (row.state.value, row.left, store.legs(digest)) == ("accepted", None, [])
        assert store.settings()
        store.add_leg(digest, "left", "0" * 16, "财务", NOW)
        left = store.find(digest).left
        assert left is not None
        assert (left.label, left.at) == ("财务", NOW)
    assert schema_of(tmp_path / "first.db") == schema_of(today), "one way or the other, the same database"


def test_a_migration_that_breaks_off_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "first.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(FIRST_SCHEMA)
    before = schema_of(path)

    def fail(connection):
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, fail))
        with pytest.raises(OSError, match="no room"):
            Store(path, DEFAULT_POLICY)
    assert schema_of(path) == before
    Store(path, DEFAULT_POLICY).close()
    assert schema_of(path)[2] == len(module.MIGRATIONS)
