"""A row that is a job: the name of its next step, a due time, a lease with a fencing token, and its place in a lane.

The columns of `job_columns` belong to the table of the thing itself (a report, a clear receipt), so that what is known
about it and what is to be done next are written by one statement. Nobody owns a row that sleeps; a row whose worker died
is due again when its lease has run out; and what a worker writes after that matches no row, because the next claim has
counted the token up.

    step        name of the next step; a changed program goes on by it
    due_at      when it is due (seconds since 1970, UTC); null: nothing is to be done
    lane        what it must keep the order of (a card); null: it bars nobody and nobody bars it
    lane_seq    its place in the lane; set whenever `lane` is
    token       counts the claims; the highest one may write
    lease_until until when a worker has it; null: nobody does
    worker      who
    tries       claims since the last time that it was settled: more than 1 means that workers failed or died over it

**Lanes.** A row with a lane bars the later ones of that lane for as long as it has its lane: also while it sleeps, is
held or has failed. Whoever finishes with the order (the bureau's verdict is there) writes `lane: None`; whoever wants
it back (the same report is sent again) writes the lane again.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from os import getpid
from platform import node
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.jobs.database import present, server_now
from shared.jobs.limiter import Limiter

_FREE: Final[Mapping[str, object]] = {"lease_until": None, "worker": ""}


@dataclass(frozen=True)
class Claim:
    """A row that a worker has for a while.

    Attributes:
        table: Its table.
        key: Its primary key.
        token: What the worker's writes must name.
        step: What is to be done.
        tries: How often it was claimed since it was last settled, this time included.
        row: The row as it was claimed.
    """

    table: sa.Table
    key: Any
    token: int
    step: str
    tries: int
    row: Row[Any]


@dataclass(frozen=True)
class Count:
    """How many rows of a step there are.

    Attributes:
        waiting: Due later.
        due: Due now, and nobody has them; some may wait for their lane.
        running: Under lease.
        idle: Without a due time.
    """

    waiting: int
    due: int
    running: int
    idle: int


@dataclass(frozen=True)
class Outlook:
    """When there is something to claim.

    Attributes:
        now: The present, by the clock that was asked for.
        next_due: The earliest time at which a row can be claimed, in the past if one can be claimed now; None if
            nothing will be until somebody writes.
    """

    now: float
    next_due: float | None


def job_columns() -> list[sa.Column[Any]]:
    """Return the columns of a job, new ones for each table."""
    return [
        sa.Column("step", sa.Text, nullable=False, server_default=""),
        sa.Column("due_at", sa.Float),
        sa.Column("lane", sa.Text),
        sa.Column("lane_seq", sa.BigInteger),
        sa.Column("token", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("lease_until", sa.Float),
        sa.Column("worker", sa.Text, nullable=False, server_default=""),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    ]


def job_indexes(table: sa.Table) -> None:
    """Add the indexes to a table's description that its claims need. The table has one column as its primary key."""
    assert len(table.primary_key) == 1
    c = table.c
    for name, columns, present_column in (
        # With the key, in the order of the claims: a thousand rows that became due together are not sorted each time.
        ("due", (c.due_at, _key(table)), c.due_at),
        ("lane", (c.lane, c.lane_seq), c.lane),
        ("lease", (c.lease_until,), c.lease_until),
        # Who looks for one step must not read the thousands of rows that wait for another one.
        ("step", (c.step, c.due_at, _key(table)), c.due_at),
    ):
        where = present_column.is_not(None)
        sa.Index(f"{table.name}_job_{name}", *columns, sqlite_where=where, postgresql_where=where)


def worker_name() -> str:
    """Return a name for this worker that no other one has: machine, process, and chance."""
    return f"{node()}:{getpid()}:{secrets.token_hex(4)}"


def claim(
    connection: Connection,
    table: sa.Table,
    worker: str,
    *,
    lease_seconds: float,
    limit: int = 1,
    now: float | None = None,
    steps: Collection[str] | None = None,
    limiter: Limiter | None = None,
    in_order: bool = True,
    only: object | None = None,
) -> list[Claim]:
    """Take rows that are due and nobody has, the longest overdue first.

    Args:
        connection: In a transaction that may write; the rows are taken when it commits.
        table: The table.
        worker: Who takes them.
        lease_seconds: For how long; more than the longest request takes.
        limit: At most so many.
        now: The present; None for the database's clock, which all nodes share.
        steps: Only rows with such a step; None for all.
        limiter: Take no more than the host's limits allow to begin now.
        in_order: A row waits for the earlier ones of its lane. Otherwise it waits only while another one of its lane
            is under lease.
        only: The key of the one row that is wanted; None for any.

    Returns:
        What was taken. No two rows of a lane are under lease at once.
    """
    if limiter is not None:
        now = present(connection) if now is None else now
        limit = limiter.reserve(connection, limit, now).count
    if limit <= 0:
        return []
    statements = _statements(table, connection.dialect.name, now is not None, _steps(steps), in_order, only is not None)
    moment: dict[str, object] = {} if now is None else {"job_now": now}
    if only is not None:
        moment["job_only"] = only
    order, lanes = [], set()
    for row in connection.execute(statements.candidates, {"job_limit": limit, **moment}):
        if row.lane is None or row.lane not in lanes:
            lanes.add(row.lane)
            order.append(row.key)
    if not order:
        return []
    # Whether a lane is free is asked again now that it is ours to take: in between another node may have taken it.
    about = {"job_keys": order, "job_lease": lease_seconds, "job_worker": worker, **moment}
    key = _key(table)
    place = {each: index for index, each in enumerate(order)}
    rows = sorted(connection.execute(statements.taking, about).all(), key=lambda row: place[getattr(row, key.name)])
    if limiter is not None and now is not None:
        limiter.took(connection, len(rows), now, lease_seconds)
    return [Claim(table, getattr(row, key.name), row.token, row.step, row.tries, row) for row in rows]


def hold(connection: Connection, claim: Claim, lease_seconds: float, now: float | None = None) -> bool:
    """Make the lease last from now on; False if the row was lost to another worker."""
    return _write(connection, claim, {"lease_until": _clock(connection, now) + lease_seconds})


def holds(connection: Connection, claim: Claim) -> bool:
    """Return whether the row is still the worker's: asked right before an effect by who may have been stopped for a while."""
    return connection.execute(sa.select(sa.literal(1)).where(*_mine(claim))).first() is not None


def current(connection: Connection, claim: Claim) -> Row[Any] | None:
    """Return the row as it is now, for a decision that the same transaction settles; None if it was lost."""
    found = connection.execute(sa.select(claim.table).where(*_mine(claim)).with_for_update())
    return found.one_or_none()


def save(connection: Connection, claim: Claim, values: Mapping[str, object]) -> bool:
    """Write columns and keep the row: a decision before its effect.

    The step and due time that are saved are those with which another worker goes on if this one dies.

    Returns:
        False if the row was lost: nothing changed, and the effect must not be begun.
    """
    return _write(connection, claim, values)


def settle(connection: Connection, claim: Claim, values: Mapping[str, object]) -> bool:
    """Write what became of a step, when the next one is due, and give the row back: one statement.

    Args:
        connection: In a transaction that may write.
        claim: The row.
        values: Columns to write; `due_at` is among them.

    Returns:
        False if the row was lost: nothing changed.

    Raises:
        ValueError: `due_at` is missing: the row would be due again at once, for ever.
    """
    if "due_at" not in values:
        raise ValueError("a settled row says when it is due next")
    return _write(connection, claim, {**_FREE, "tries": 0, **values})


def postpone(connection: Connection, claim: Claim, seconds: float, now: float | None = None) -> bool:
    """Give a row back undone, due again after a while; `tries` goes on counting. False if it was lost."""
    return _write(connection, claim, {**_FREE, "due_at": _clock(connection, now) + seconds})


def let_go(connection: Connection, table: sa.Table, worker: str | None = None) -> int:
    """End the leases of a worker that is certainly dead, without waiting for them to run out.

    Args:
        connection: In a transaction that may write.
        table: The table.
        worker: Which worker; None for all, which only the owner of an exclusive lock may say.

    Returns:
        How many. Should the worker be alive after all, its writes match no row.
    """
    ending = sa.update(table).where(table.c.lease_until.is_not(None)).values(token=table.c.token + 1, **_FREE)
    return connection.execute(ending if worker is None else ending.where(table.c.worker == worker)).rowcount


def pull_in(connection: Connection, table: sa.Table, horizon_seconds: float, now: float | None = None) -> int:
    """Make everything due that is further ahead than anything ever written; return how many rows that were."""
    clock = _clock(connection, now)
    return connection.execute(
        sa.update(table).where(table.c.due_at > clock + horizon_seconds).values(due_at=clock)
    ).rowcount


def are_beyond(connection: Connection, table: sa.Table, horizon_seconds: float, now: float | None = None) -> bool:
    """Return whether something is due further ahead than anything ever written: the clock was set back since."""
    query = sa.select(table.c.due_at).where(table.c.due_at > _clock(connection, now) + horizon_seconds).limit(1)
    return connection.execute(query).first() is not None


def outlook(
    connection: Connection,
    table: sa.Table,
    *,
    now: float | None = None,
    steps: Collection[str] | None = None,
    in_order: bool = True,
) -> Outlook:
    """Return when there is something to claim, and the present by the same clock."""
    statements = _statements(table, connection.dialect.name, now is not None, _steps(steps), in_order)
    row = connection.execute(statements.outlook, {} if now is None else {"job_now": now}).one()
    return Outlook(row.now, min((t for t in (row.free, row.leased) if t is not None), default=None))


def next_due(
    connection: Connection, table: sa.Table, *, now: float | None = None, steps: Collection[str] | None = None
) -> float | None:
    """Return the earliest time at which a row can be claimed, or None if nothing will be until somebody writes."""
    return outlook(connection, table, now=now, steps=steps).next_due


def counts(connection: Connection, table: sa.Table, now: float | None = None) -> dict[str, Count]:
    """Return how many rows there are of each step."""
    c, clock = table.c, _clock(connection, now)
    kind = sa.case(
        (c.lease_until > clock, "running"),
        (c.due_at.is_(None), "idle"),
        (c.due_at > clock, "waiting"),
        else_="due",
    ).label("kind")
    found: dict[str, dict[str, int]] = {}
    for step, name, number in connection.execute(sa.select(c.step, kind, sa.func.count()).group_by(c.step, kind)):
        found.setdefault(step, {"waiting": 0, "due": 0, "running": 0, "idle": 0})[name] = number
    return {step: Count(**numbers) for step, numbers in sorted(found.items())}


@dataclass(frozen=True)
class _Statements:
    """What is asked again and again, built once: putting the pieces together takes longer than running them."""

    candidates: sa.Select[Any]
    taking: sa.Executable
    outlook: sa.Select[Any]


@lru_cache(maxsize=64)
def _statements(
    table: sa.Table, dialect: str, told_now: bool, steps: tuple[str, ...] | None, in_order: bool, one: bool = False
) -> _Statements:
    clock = sa.bindparam("job_now", type_=sa.Float) if told_now else server_now(dialect)
    key, c = _key(table), table.c
    unleased = c.lease_until.is_(None) | (c.lease_until <= clock)
    wanted: tuple[sa.ColumnElement[bool], ...] = () if steps is None else (c.step.in_(steps),)
    if steps is not None and len(steps) == 1:
        wanted = (c.step == steps[0],)
    if one:
        wanted = (*wanted, key == sa.bindparam("job_only", type_=key.type))
    first = ~_barred(table, clock, in_order=in_order)
    free = (c.due_at <= clock, unleased, *wanted, first)

    candidates: sa.Select[Any] = (
        sa.select(key.label("key"), c.lane.label("lane"), c.due_at.label("due_at"))
        .where(*free)
        .order_by(c.due_at, key)
        .limit(sa.bindparam("job_limit", type_=sa.Integer))
    )
    if dialect != "sqlite":
        # Materialised, so that the rows are chosen and locked once, whatever the planner thinks of the rest.
        due = candidates.with_for_update(skip_locked=True).cte("due").prefix_with("MATERIALIZED")
        seed = zlib.crc32(table.fullname.encode())
        lock = sa.func.pg_try_advisory_xact_lock(sa.func.hashtextextended(due.c.lane, seed))
        candidates = sa.select(due.c.key, due.c.lane).where(due.c.lane.is_(None) | lock).order_by(due.c.due_at)

    taking = (
        sa.update(table)
        .where(key.in_(sa.bindparam("job_keys", expanding=True)), *free)
        .values(
            token=c.token + 1,
            tries=c.tries + 1,
            lease_until=clock + sa.bindparam("job_lease", type_=sa.Float),
            worker=sa.bindparam("job_worker", type_=sa.Text),
        )
        .returning(*c)
    )

    earliest = sa.select(c.due_at).where(c.due_at.is_not(None), unleased, *wanted, first).order_by(c.due_at).limit(1)
    leased = sa.select(sa.func.min(c.lease_until)).where(c.lease_until > clock)
    outlook = sa.select(
        clock.label("now"), earliest.scalar_subquery().label("free"), leased.scalar_subquery().label("leased")
    )
    return _Statements(candidates, taking, outlook)


def _key(table: sa.Table) -> sa.ColumnElement[Any]:
    (key,) = table.primary_key
    return key


def _steps(steps: Collection[str] | None) -> tuple[str, ...] | None:
    return None if steps is None else tuple(sorted(steps))


def _clock(connection: Connection, now: float | None) -> sa.ColumnElement[float]:
    return server_now(connection.dialect.name) if now is None else sa.literal(now, sa.Float)


def _barred(table: sa.Table, clock: sa.ColumnElement[float], *, in_order: bool) -> sa.ColumnElement[bool]:
    """Another row of the lane comes first: an earlier one, or one that is under lease (it was earlier then)."""
    other = table.alias("other")
    mine, theirs = _key(table), other.c[_key(table).name]
    first = other.c.lease_until > clock
    if in_order:
        first |= other.c.lane_seq < table.c.lane_seq
        first |= (other.c.lane_seq == table.c.lane_seq) & (theirs < mine)
    return sa.exists().where(other.c.lane == table.c.lane, theirs != mine, first).correlate(table)


def _mine(claim: Claim) -> tuple[sa.ColumnElement[bool], ...]:
    c = claim.table.c
    return _key(claim.table) == claim.key, c.token == claim.token, c.lease_until.is_not(None)


def _write(connection: Connection, claim: Claim, values: Mapping[str, Any]) -> bool:
    return connection.execute(sa.update(claim.table).where(*_mine(claim)).values(**values)).rowcount == 1
