"""A small table of jobs, and what tests do with it."""

from __future__ import annotations

import sqlalchemy as sa

from shared.jobs.database import Database, migrate
from shared.jobs.limiter import Asking, Limiter, limit_table
from shared.jobs.limits import Limits
from shared.jobs.rows import job_columns, job_indexes

METADATA = sa.MetaData()
PARCEL = sa.Table(
    "parcel",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    *job_columns(),
)
job_indexes(PARCEL)
EFFECT = sa.Table(
    "effect",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
HOST = limit_table(METADATA)
MIGRATIONS = (METADATA.create_all,)


def make_tables(database: Database) -> None:
    migrate(database, MIGRATIONS)


def put(
    database: Database, *keys: str, lane: str | None = None, due_at: float | None = 0.0, step: str = "send"
) -> None:
    """Add rows; in a lane their order is that of the keys."""
    rows = [
        {"key": key, "step": step, "due_at": due_at, "lane": lane, "lane_seq": None if lane is None else number}
        for number, key in enumerate(keys, start=1)
    ]
    with database.writing() as connection:
        connection.execute(sa.insert(PARCEL), rows)


def row(database: Database, key: str) -> sa.Row:
    with database.reading() as connection:
        return connection.execute(sa.select(PARCEL).where(PARCEL.c.key == key)).one()


def bureau(limits: Limits, name: str = "bureau") -> Limiter:
    return Limiter(HOST, name, limits, [Asking(PARCEL)])
