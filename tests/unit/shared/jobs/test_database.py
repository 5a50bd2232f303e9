"""Opening, transactions, migrations and upserts, on both kinds of database."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
import sys
import threading

import pytest
import sqlalchemy as sa

from shared.errors import ConfigurationError, StoreDamaged, StoreUnreachable
from shared.jobs.database import add_missing, insert_new, insert_or_update, migrate, open_database, present
from shared.jobs.rows import job_columns, job_indexes
from tests.support.jobs import PARCEL, make_tables, put, row

THING = sa.Table(
    "thing",
    sa.MetaData(),
    sa.Column("a", sa.Text, primary_key=True),
    sa.Column("b", sa.Integer, primary_key=True),
    sa.Column("note", sa.Text),
)


def first(connection):
    THING.create(connection)


def second(connection):
    connection.exec_driver_sql("CREATE TABLE more (x integer)")


def tables(database):
    with database.reading() as connection:
        return set(sa.inspect(connection).get_table_names())


def notes(database):
    with database.reading() as connection:
        return [tuple(r) for r in connection.execute(sa.select(THING).order_by(THING.c.a, THING.c.b))]


def test_what_raises_is_undone(database):
    migrate(database, [first])
    with pytest.raises(KeyError), database.writing() as connection:  # noqa: PT012
        connection.execute(sa.insert(THING).values(a="x", b=1))
        raise KeyError
    assert notes(database) == []


def test_a_reader_changes_nothing(database):
    migrate(database, [first])
    with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"), database.reading() as connection:
        connection.execute(sa.insert(THING).values(a="x", b=1))
    assert notes(database) == []
    with database.writing() as connection:
        assert insert_new(connection, THING, {"a": "x", "b": 1})


def test_a_reader_sees_one_state_while_others_write(database):
    migrate(database, [first])
    with database.reading() as connection:
        count = sa.select(sa.func.count()).select_from(THING)
        assert connection.scalar(count) == 0
        with database.writing() as other:
            insert_new(other, THING, {"a": "x", "b": 1})
        assert connection.scalar(count) == 0
    assert len(notes(database)) == 1


def test_writers_of_all_threads_take_turns(database):
    """What a writer has read is still true when it commits, if it locks what it reads."""
    migrate(database, [first])
    with database.writing() as connection:
        connection.execute(sa.insert(THING).values(a="x", b=1, note="0"))

    def work():
        for _ in range(25):
            with database.writing() as connection:
                number = connection.scalar(sa.select(THING.c.note).with_for_update())
                connection.execute(sa.update(THING).values(note=str(int(number) + 1)))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(60)
    assert notes(database) == [("x", 1, "100")]


def test_a_migration_takes_place_once_and_in_order(database):
    assert migrate(database, [first]) == 0
    assert migrate(database, [first]) == 1
    assert migrate(database, [first, second]) == 1
    assert {"thing", "more"} <= tables(database)


def test_a_database_of_a_newer_release_is_not_touched(database):
    migrate(database, [first, second])
    with pytest.raises(StoreDamaged):
        migrate(database, [first])
    assert migrate(database, [first, second]) == 2


def test_a_migration_that_fails_leaves_the_version_before(database):
    def broken(connection):
        connection.exec_driver_sql("CREATE TABLE half (x integer)")
        raise KeyError

    migrate(database, [first])
    with pytest.raises(KeyError):
        migrate(database, [first, broken])
    assert "half" not in tables(database)
    assert migrate(database, [first, second]) == 1


def test_of_nodes_that_start_at_once_one_migrates(database_url):
    done, start, guard = [], threading.Barrier(3), threading.Lock()

    def step(connection):
        with guard:
            done.append(threading.get_ident())
        first(connection)

    def node():
        with contextlib.closing(open_database(database_url)) as database:
            start.wait()
            migrate(database, [step, second])

    nodes = [threading.Thread(target=node, daemon=True) for _ in range(3)]
    for thread in nodes:
        thread.start()
    for thread in nodes:
        thread.join(60)
    assert len(done) == 1


def test_a_table_of_an_earlier_release_becomes_one_of_jobs(database):
    """Its own step and due time stay as they are."""

    def earlier(connection):
        connection.exec_driver_sql(
            "CREATE TABLE parcel (key text PRIMARY KEY, due_at double precision, step text NOT NULL)"
        )
        connection.exec_driver_sql("INSERT INTO parcel VALUES ('old', 5.5, 'ask')")

    migrate(database, [earlier])
    migrate(database, [earlier, lambda connection: add_missing(connection, PARCEL)])
    with database.writing() as connection:
        add_missing(connection, PARCEL)  # again changes nothing
    found = row(database, "old")
    assert (found.step, found.due_at, found.lane, found.token, found.worker, found.tries) == (
        "ask",
        5.5,
        None,
        0,
        "",
        0,
    )
    put(database, "new")
    with database.reading() as connection:
        names = {index["name"] for index in sa.inspect(connection).get_indexes("parcel")}
    assert names == {"parcel_job_due", "parcel_job_lane", "parcel_job_lease", "parcel_job_step"}


def test_inserting_and_updating_say_what_happened(database):
    migrate(database, [first])
    with database.writing() as connection:
        assert insert_new(connection, THING, {"a": "x", "b": 1, "note": "one"})
        assert not insert_new(connection, THING, {"a": "x", "b": 1, "note": "two"})
        insert_or_update(connection, THING, {"a": "x", "b": 1, "note": "three"})
        insert_or_update(connection, THING, {"a": "y", "b": 1, "note": "four"})
        insert_or_update(connection, THING, {"a": "y", "b": 1})
    assert notes(database) == [("x", 1, "three"), ("y", 1, "four")]


def test_the_databases_clock_goes(database):
    def now():
        with database.reading() as connection:
            return present(connection)

    assert 1_700_000_000 < now() <= now()


def test_a_thread_does_not_wait_for_itself(tmp_path):
    with (
        contextlib.closing(open_database(tmp_path / "a.db")) as database,
        database.writing(),
        pytest.raises(RuntimeError),
        database.writing(),
    ):
        pass


def test_sqlite_is_set_so_that_a_power_cut_loses_no_acknowledged_step(tmp_path):
    with contextlib.closing(open_database(tmp_path / "a.db")) as database, database.reading() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="platform: no modes")
def test_a_database_file_is_its_owners_only(tmp_path):
    with contextlib.closing(open_database(tmp_path / "a.db")) as database:
        migrate(database, [first])
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_a_database_of_a_present_release_is_taken_over(tmp_path):
    path = tmp_path / "station.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute("CREATE TABLE thing (a text, b integer, note text, PRIMARY KEY (a, b))")
        old.execute("PRAGMA user_version = 1")
        old.commit()
    with contextlib.closing(open_database(path)) as database:
        assert migrate(database, [first, second]) == 1
    with contextlib.closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize("where", ["sqlite:///:memory:", "mysql://host/db", "postgresql://h:port/x", "sqlite://"])
def test_what_cannot_keep_a_promise_is_refused(where):
    with pytest.raises(ConfigurationError):
        open_database(where)


def test_no_password_is_shown(tmp_path):
    for where in ("postgresql://joe:secret@h:port/x", f"postgresql://joe:secret@/x?host={tmp_path}"):
        with pytest.raises((ConfigurationError, StoreUnreachable)) as caught:
            open_database(where)
        assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreUnreachable) as caught:
        open_database(f"postgresql://joe@/x?host={tmp_path}")
    assert str(tmp_path) in str(caught.value.text)


def test_postgresql_is_set_so_that_it_waits_for_the_log_and_for_nobody_for_ever(postgresql):
    with contextlib.closing(open_database(postgresql, name="probe")) as database, database.reading() as connection:

        def setting(name):
            return connection.exec_driver_sql(f"SHOW {name}").scalar()

        assert setting("synchronous_commit") == "on"
        assert setting("statement_timeout") == "1min"
        assert setting("lock_timeout") == "20s"
        assert setting("idle_in_transaction_session_timeout") == "2min"
        assert setting("application_name").startswith("probe ")


@pytest.mark.parametrize(("theirs", "ours"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_what_the_server_promises_is_made_stronger_and_never_weaker(postgresql, theirs, ours):
    with contextlib.closing(open_database(postgresql)) as database, database.writing() as connection:
        name = connection.exec_driver_sql("SELECT current_database()").scalar()
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = '{theirs}'")
    with contextlib.closing(open_database(postgresql)) as database, database.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == ours


def test_kept_connections_survive_a_restart_of_the_server(postgresql, cluster):
    with contextlib.closing(open_database(postgresql)) as database:
        make_tables(database)
        put(database, "a")
        cluster.crash()
        assert row(database, "a").key == "a"


def test_an_index_is_used_for_what_is_due(database):
    make_tables(database)
    put(database, *(f"k{n:05}" for n in range(3000)), due_at=2e9)
    query = "SELECT key FROM parcel WHERE due_at <= 1000.0 ORDER BY due_at, key LIMIT 5"
    with database.writing() as connection:
        connection.exec_driver_sql("ANALYZE parcel")
        explain = "EXPLAIN" if database.is_server else "EXPLAIN QUERY PLAN"
        plan = "\n".join(str(r) for r in connection.exec_driver_sql(f"{explain} {query}"))
    assert "parcel_job_due" in plan


def test_columns_of_two_tables_are_not_shared():
    metadata = sa.MetaData()
    for name in ("one", "two"):
        table = sa.Table(name, metadata, sa.Column("key", sa.Text, primary_key=True), *job_columns())
        job_indexes(table)
    assert len(metadata.tables) == 2
