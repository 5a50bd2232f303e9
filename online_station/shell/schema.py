"""The tables of the online station, and how a database of an earlier release becomes one of this."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.jobs.database import add_missing
from shared.jobs.limiter import limit_table
from shared.jobs.rows import job_columns, job_indexes


def _job_columns(but: Collection[str]) -> list[sa.Column[Any]]:
    """Return the columns of a job, but for those that the table of the first release had already."""
    return [column for column in job_columns() if column.name not in but]


_METADATA: Final = sa.MetaData()
SETTING: Final = sa.Table(
    "setting",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
REPORT: Final = sa.Table(
    "report",
    _METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("stem", sa.Text, nullable=False, index=True),
    sa.Column("taxpayer_id", sa.Text, nullable=False),
    sa.Column("machine_no", sa.Integer, nullable=False),
    sa.Column("stamp", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("card_no", sa.Text, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("header", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.Integer, nullable=False),
    sa.Column("file_sha256", sa.Text, nullable=False),
    sa.Column("recipients", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("hold", sa.Text),
    sa.Column("released", sa.Boolean, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("resend", sa.Text, nullable=False),
    sa.Column("receipt_no", sa.Text, nullable=False),
    sa.Column("result_no", sa.Integer),
    sa.Column("to_stage", sa.Boolean, nullable=False),
    sa.Column("ack_delivered", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("questions", sa.Integer, nullable=False, default=0),
    sa.Column("uploads", sa.Integer, nullable=False, default=0),
    sa.Column("found_at", sa.Float, nullable=False),
    sa.Column("changed_at", sa.Float, nullable=False),
    *_job_columns(but=("step", "due_at")),
)
job_indexes(REPORT)
# What is looked at page by page: newest first, by state, by taxpayer, by month; and the later copies of a card.
sa.Index("report_found", REPORT.c.found_at, REPORT.c.digest)
sa.Index("report_state", REPORT.c.state, REPORT.c.found_at, REPORT.c.digest)
sa.Index("report_taxpayer", REPORT.c.taxpayer_id, REPORT.c.found_at, REPORT.c.digest)
sa.Index("report_month", REPORT.c.period, REPORT.c.kind, REPORT.c.taxpayer_id, REPORT.c.machine_no)
sa.Index("report_card", REPORT.c.card_no, REPORT.c.sequence)
EVENT: Final = sa.Table(
    "event",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("from_state", sa.Text, nullable=False),
    sa.Column("to_state", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
RESULT: Final = sa.Table(
    "result",
    _METADATA,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("result_no", sa.Integer, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("body_sha256", sa.Text, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
)
ACK: Final = sa.Table(
    "ack",
    _METADATA,
    sa.Column("sha256", sa.Text, primary_key=True),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("stem", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float),
    sa.Column("taken_at", sa.Float, nullable=False),
    *_job_columns(but=("due_at",)),
)
job_indexes(ACK)
sa.Index("ack_taken", ACK.c.taken_at)
QUARANTINED: Final = sa.Table(
    "quarantined",
    _METADATA,
    sa.Column("stored_name", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("reason_zh", sa.Text, nullable=False),
    sa.Column("reason_en", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
STANDING: Final = sa.Table(
    "standing",
    _METADATA,
    sa.Column("taxpayer_id", sa.Text, primary_key=True),
    sa.Column("period", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

LEG: Final = sa.Table(
    "leg",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, index=True),
    sa.Column("leg", sa.Text, nullable=False),
    sa.Column("stick_id", sa.Text, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
)

COMPANY: Final = sa.Table(
    "company",
    _METADATA,
    sa.Column("taxpayer_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("inbox", sa.Text, nullable=False),
    sa.Column("key_file", sa.Text, nullable=False),
    sa.Column("pin_file", sa.Text, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
)
ROBOT: Final = sa.Table(
    "robot",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("ca_file", sa.Text, nullable=False),
    sa.Column("added_at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.Column("failed_at", sa.Float),
    sa.Column("failure_zh", sa.Text, nullable=False),
    sa.Column("failure_en", sa.Text, nullable=False),
)
"""Where alarms are sent to."""
ALARM: Final = sa.Table(
    "alarm",
    _METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("zh", sa.Text, nullable=False),
    sa.Column("en", sa.Text, nullable=False),
    sa.Column("raised_at", sa.Float, nullable=False),
    sa.Column("said_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
)
sa.Index("alarm_open", ALARM.c.ended_at, ALARM.c.raised_at)
NOTICE: Final = sa.Table(
    "notice",
    _METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("robot", sa.Text, nullable=False),
    sa.Column("alarm", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("zh", sa.Text, nullable=False),
    sa.Column("en", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_at", sa.Float, nullable=False),
)
sa.Index("notice_due", NOTICE.c.robot, NOTICE.c.due_at)
"""What a robot has still to be told: a row goes when it was told."""
HOST_LIMIT: Final = limit_table(_METADATA)
BLOB: Final = sa.Table(
    "blob",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Files that every node must be able to reach, in parts; empty where the database is a file of one PC."""
ARCHIVE: Final = sa.Table(
    "archive",
    _METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("period", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
)
ARCHIVED: Final = sa.Table(
    "archived",
    _METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("archive", sa.Text, nullable=False, index=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("cleaned", sa.Boolean, nullable=False),
)
"""What lies in an archive. A report's own row stays: its digest is known for ever, and so is how it ended."""
_LATER_TABLES: Final = frozenset(
    {"leg", "company", "host_limit", "blob", "robot", "alarm", "notice", "archive", "archived"}
)


def _first_release(connection: Connection) -> None:
    """Make the tables of the first release: those that later ones added are left to their own migrations."""
    _METADATA.create_all(connection, tables=[t for t in _METADATA.sorted_tables if t.name not in _LATER_TABLES])


def _legs(connection: Connection) -> None:
    """Remember on which stick a report came and a result left."""
    LEG.create(connection)


def _companies(connection: Connection) -> None:
    """Remember the companies that the station reports for."""
    COMPANY.create(connection)


def _jobs(connection: Connection) -> None:
    """Make the rows of reports and clear receipts jobs: with a lease, and an order where one is kept."""
    for table in (HOST_LIMIT, BLOB):
        table.create(connection)
    for table in (REPORT, ACK):
        add_missing(connection, table)
    connection.exec_driver_sql("DROP INDEX IF EXISTS report_due")  # the job's own index takes its place
    on_the_way = REPORT.c.state.in_(("proven", "sending", "unknown"))
    connection.execute(sa.update(REPORT).where(on_the_way).values(lane=REPORT.c.card_no, lane_seq=REPORT.c.sequence))
    connection.execute(sa.update(ACK).values(step="deliver"))
    # A release without leases left no due time while it sent: whoever was sending is gone by now.
    for table, since in ((REPORT, REPORT.c.changed_at), (ACK, ACK.c.taken_at)):
        stopped = (table.c.state == "sending") & table.c.due_at.is_(None)
        connection.execute(sa.update(table).where(stopped).values(due_at=since))


def _paces(connection: Connection) -> None:
    """Find the reports of a step, and the later copies of a card, without reading all."""
    for table in (REPORT, ACK):
        add_missing(connection, table)


def _seeing(connection: Connection) -> None:
    """Let reports be looked at page by page, and let alarms be sent."""
    add_missing(connection, REPORT)
    for table in (ROBOT, ALARM, NOTICE):
        table.create(connection)


def _archives(connection: Connection) -> None:
    """Remember what was moved into archives."""
    for table in (ARCHIVE, ARCHIVED):
        table.create(connection)


Migration = Callable[[Connection], None]
MIGRATIONS: Final[tuple[Migration, ...]] = (_first_release, _legs, _companies, _jobs, _seeing, _archives, _paces)
"""`MIGRATIONS[n]` takes a database from schema version n to n + 1; entries are only ever added."""
SCHEMA_VERSION: Final = len(MIGRATIONS)
