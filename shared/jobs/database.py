"""One database, SQLite or PostgreSQL, with the same promises: what is committed stays, and writers see no stale row.

    SQLite       one file on a local disk; WAL, `synchronous=FULL`; a writer takes the file with BEGIN IMMEDIATE
    PostgreSQL   15 or newer through psycopg 3; READ COMMITTED with row locks; reconnects when the server comes back

A SQLite database never lies on a stick or on a network share: WAL needs memory that all its users share.
"""

from __future__ import annotations

import platform
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url

from shared.errors import ConfigurationError, StoreDamaged, StoreUnreachable
from shared.text import Text

_OLDEST_SQLITE: Final = (3, 35, 0)
_OLDEST_POSTGRESQL: Final = 150000
_BUSY_SECONDS: Final = 30.0
_STATEMENT_SECONDS: Final = 60
_LOCK_SECONDS: Final = 20
_IDLE_IN_TRANSACTION_SECONDS: Final = 120
_CONNECT: Final[Mapping[str, object]] = {
    "connect_timeout": 10,
    # A server that lost its power says nothing: without these a connection would wait for hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_BEGIN: Final = "taxferry_begin"
_READ: Final = ("BEGIN",)
_DURABLE: Final = ("PRAGMA synchronous=FULL", "BEGIN IMMEDIATE")
_RELAXED: Final = ("PRAGMA synchronous=NORMAL", "BEGIN IMMEDIATE")
_MIGRATING: Final = 7_203_918_446
"""Key of the advisory lock under which one node migrates."""

Migration = Callable[[Connection], None]
"""Takes a database from one schema version to the next."""


class Database:
    """An open database; safe to be used by all threads of a process."""

    def __init__(self, engine: Engine) -> None:
        """Use an engine that `open_database` has prepared."""
        self.engine = engine
        self._local = engine.dialect.name == "sqlite"
        # SQLite's own waiting polls with growing pauses; threads of one process can do better, and take turns.
        self._writer = threading.Lock()
        self._owner: int | None = None

    @property
    def is_server(self) -> bool:
        """Whether several machines may use it at once."""
        return not self._local

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that sees one state and changes nothing."""
        with self.engine.connect() as connection:
            if not self._local:
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                if not self._local:
                    yield connection
                    return
                connection.exec_driver_sql("PRAGMA query_only=ON")
                try:
                    yield connection
                finally:
                    connection.exec_driver_sql("PRAGMA query_only=OFF")

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """Begin a transaction that may change things; durable when the `with` ends, undone if it raises.

        It takes no second one of the same thread inside.

        Args:
            durable: False for what a power cut may undo: a lease, which nobody holds any more after it, or a note that is
                found out again. It waits for no disk then; the next durable transaction takes it along. A server is not
                told: it can fail while those who hold leases go on.

        Raises:
            RuntimeError: This thread is writing already: a defect of the caller.
        """
        if not self._local:
            with self.engine.connect() as connection, connection.begin():
                yield connection
            return
        if self._owner == threading.get_ident():
            raise RuntimeError("a thread writes in one transaction at a time")
        with self._writer:
            self._owner = threading.get_ident()
            try:
                with (
                    self.engine.connect().execution_options(
                        **{_BEGIN: _DURABLE if durable else _RELAXED}
                    ) as connection,
                    connection.begin(),
                ):
                    yield connection
            finally:
                self._owner = None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(where: Path | str, *, name: str = "taxferry", connections: int = 8) -> Database:
    """Open a database.

    Args:
        where: A file for SQLite (made if it is not there, readable by its owner only), or the URL of a PostgreSQL
            database: `postgresql://user@host/database`.
        name: What the server's lists of connections call this program.
        connections: How many connections are kept; as many again are made while they are needed.

    Raises:
        ConfigurationError: The database or its driver is not fit. Nothing was changed.
        StoreUnreachable: There is no server, or it lets nobody in.
    """
    url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) or "://" not in where else _url(where)
    if url.get_backend_name() == "sqlite":
        return Database(_sqlite(url, connections))
    if url.get_backend_name() == "postgresql":
        return Database(_postgresql(url.set(drivername="postgresql+psycopg"), name, connections))
    raise _unfit(Text(f"不支持的数据库类型“{url.drivername}”", f"no such kind of database here: '{url.drivername}'"))


def migrate(database: Database, migrations: Sequence[Migration]) -> int:
    """Bring the schema up to date, in one transaction; of several nodes that start at once, one does it.

    Args:
        database: The database.
        migrations: `migrations[n]` takes it from schema version n to n + 1; entries are only ever added.

    Returns:
        The version it had before.

    Raises:
        StoreDamaged: The database was written by a newer release. It was not touched.
    """
    with database.writing() as connection:
        if database.is_server:
            for setting in ("lock_timeout", "statement_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {setting} = 0")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)")
            version = int(
                connection.exec_driver_sql("SELECT coalesce(max(version), 0) FROM schema_version").scalar_one()
            )
        else:
            version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version > len(migrations):
            raise StoreDamaged(reason=f"schema {version} > {len(migrations)}")
        for migration in migrations[version:]:
            migration(connection)
        if version < len(migrations):
            if database.is_server:
                connection.exec_driver_sql("DELETE FROM schema_version")
                connection.exec_driver_sql("INSERT INTO schema_version VALUES (%s)", (len(migrations),))
            else:
                connection.exec_driver_sql(f"PRAGMA user_version = {len(migrations)}")
        return version


def add_missing(connection: Connection, table: sa.Table) -> None:
    """Give a table that exists the columns and indexes that its description has and it lacks: for migrations.

    A column that is not nullable needs a server default.
    """
    inspector = sa.inspect(connection)
    present = {column["name"] for column in inspector.get_columns(table.name)}
    quote = connection.dialect.identifier_preparer
    for column in table.columns:
        if column.name not in present:
            words = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote.format_table(table)} ADD COLUMN {words}")
    known = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in known:
            index.create(connection)


def insert_new(connection: Connection, table: sa.Table, values: Mapping[str, object]) -> bool:
    """Insert a row unless its key is taken; return whether it was inserted. Safe when two nodes do it at once."""
    # Counted by what comes back: drivers do not agree on a row count for insertions.
    inserting = _insert(connection, table).values(**values).on_conflict_do_nothing()
    return connection.execute(inserting.returning(sa.literal(1))).first() is not None


def insert_or_update(connection: Connection, table: sa.Table, values: Mapping[str, object]) -> None:
    """Insert a row, or write its values over those of the row with the same primary key."""
    statement = _insert(connection, table).values(**values)
    keys = [column.name for column in table.primary_key]
    others = {name: statement.excluded[name] for name in values if name not in keys}
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_=others)
        if others
        else statement.on_conflict_do_nothing()
    )


def present(connection: Connection) -> float:
    """Return the time by the database's clock, which is the same for all nodes: seconds since 1970 in UTC.

    PostgreSQL's stands still within a transaction; SQLite's is this machine's.
    """
    return float(connection.scalar(sa.select(server_now(connection.dialect.name))) or 0.0)


def server_now(dialect: str) -> sa.ColumnElement[float]:
    """Return the database's clock as an expression.

    Never `clock_timestamp()`: it changes within a statement, and the search for due rows could use no index then.
    """
    if dialect == "sqlite":
        return sa.literal_column("(julianday('now') - 2440587.5) * 86400.0", sa.Float)
    return sa.literal_column("CAST(extract(epoch FROM now()) AS double precision)", sa.Float)


def _insert(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _unfit(reason: Text) -> ConfigurationError:
    return ConfigurationError(reason=reason)


def _url(where: str) -> URL:
    try:
        return make_url(where)
    except (sa.exc.ArgumentError, ValueError):
        # The text is not shown: it may hold a password.
        raise _unfit(Text("数据库地址的写法不对", "the database's URL is not well formed")) from None


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def fetchone(self) -> Any: ...
    def close(self) -> object: ...


def _sqlite(url: URL, connections: int) -> Engine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise _unfit(Text(f"SQLite {sqlite3.sqlite_version} 太旧", f"SQLite {sqlite3.sqlite_version} is too old"))
    if not url.database or url.database == ":memory:":
        raise _unfit(Text("SQLite 数据库必须是一个文件", "an SQLite database has to be a file"))
    # Made here, so that it and the files that SQLite puts beside it are readable by their owner only.
    Path(url.database).touch(mode=0o600)
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=connections,
        hide_parameters=True,  # what a row holds is nobody's business in a log
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where `_begun` says, not where the driver guesses
        cursor = connection.cursor()
        try:
            journal = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if journal != "wal":
                raise _unfit(
                    Text(
                        f"数据库 {url.database} 所在的磁盘不适合（须为本机硬盘）",
                        f"the disk of the database {url.database} is not fit (it has to be a local one)",
                    )
                )
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute("PRAGMA foreign_keys=ON")
        finally:
            cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        for statement in connection.get_execution_options().get(_BEGIN, _READ):
            connection.exec_driver_sql(statement)

    try:
        with engine.connect():
            pass
    except BaseException:
        engine.dispose()
        raise
    return engine


def _postgresql(url: URL, name: str, connections: int) -> Engine:
    try:
        engine = sa.create_engine(
            url,
            connect_args={**_CONNECT, "application_name": f"{name} {platform.node()}"[:63]},
            pool_size=connections,
            max_overflow=connections,
            pool_pre_ping=True,  # after a restart of the server the first use of a kept connection would fail
            isolation_level="READ COMMITTED",
            hide_parameters=True,
        )
    except ImportError:
        raise _unfit(
            Text(
                "缺少 PostgreSQL 驱动：请安装 taxferry[postgres]", "PostgreSQL's driver is missing: taxferry[postgres]"
            )
        ) from None

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        cursor: _Cursor = connection.cursor()
        try:
            cursor.execute("SELECT current_setting('synchronous_commit')")
            if cursor.fetchone()[0] in ("off", "local", "remote_write"):
                # An acknowledged step must survive. What is stronger (`remote_apply`) is left as it is.
                cursor.execute("SET synchronous_commit = 'on'")
            cursor.execute(f"SET statement_timeout = '{_STATEMENT_SECONDS}s'")
            cursor.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION_SECONDS}s'")
        finally:
            cursor.close()
        connection.commit()

    try:
        with engine.connect() as connection:
            version = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
            encoding = str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())
        if version < _OLDEST_POSTGRESQL:
            raise _unfit(
                Text(
                    f"PostgreSQL {version // 10000} 太旧，须为 15 或更新",
                    f"PostgreSQL {version // 10000} is too old: 15 or newer",
                )
            )
        if encoding != "UTF8":
            raise _unfit(
                Text(f"数据库编码为 {encoding}，须为 UTF8", f"the database's encoding is {encoding}, not UTF8")
            )
    except sa.exc.OperationalError as error:
        engine.dispose()
        raise StoreUnreachable(reason=str(error.orig).strip().splitlines()[0][:200]) from error
    except BaseException:
        engine.dispose()
        raise
    return engine
