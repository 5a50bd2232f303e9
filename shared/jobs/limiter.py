"""The limits of a host, kept in a row that all nodes read and write.

How many requests are under way is not counted up and down, which would be wrong after each crash: it is the number of
jobs under lease.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from shared.jobs import limits as rules
from shared.jobs.database import insert_new, present
from shared.jobs.limits import Circuit, Limits, Load, Room


class Word(StrEnum):
    """What a request showed about its host."""

    ANSWERED = "answered"
    BUSY = "busy"
    OUTAGE = "outage"


@dataclass(frozen=True)
class Heard:
    """What a host said.

    Attributes:
        word: That it is there; that it wants to be left alone; nothing at all.
        retry_after: Seconds until it wants to be asked again, if it said so.
    """

    word: Word
    retry_after: float | None = None


ANSWERED: Final = Heard(Word.ANSWERED)
OUTAGE: Final = Heard(Word.OUTAGE)


@dataclass(frozen=True)
class Asking:
    """Jobs that speak to a host while they are under lease.

    Attributes:
        table: Where they are.
        steps: Which of its steps; None for all.
    """

    table: sa.Table
    steps: Collection[str] | None = None


def limit_table(metadata: sa.MetaData, name: str = "host_limit") -> sa.Table:
    """Describe the table with one row per limited host."""
    return sa.Table(
        name,
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("tokens", sa.Float, nullable=False),
        sa.Column("filled_at", sa.Float, nullable=False),
        sa.Column("blocked_until", sa.Float, nullable=False),
        sa.Column("circuit", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("outages", sa.Integer, nullable=False),
        sa.Column("probes", sa.Integer, nullable=False),
    )


class Limiter:
    """The limits of one host."""

    def __init__(
        self, table: sa.Table, name: str, limits: Limits, asking: Sequence[Asking], *, requests: int = 1
    ) -> None:
        """Limit a host.

        Args:
            table: From `limit_table`.
            name: The host.
            limits: What it bears. All nodes should be told the same.
            asking: The jobs that speak to it.
            requests: How many requests a job makes at most of those that are claimed with this limiter.
        """
        self._table = table
        self._name = name
        self._limits = limits
        self._asking = tuple(asking)
        self._requests = requests
        # Asked for each claim: putting the statements together would take longer than running them.
        self._find = sa.select(table).where(table.c.name == name)
        self._count = sa.select(*(_running(each).scalar_subquery() for each in self._asking))

    def load(self, connection: Connection) -> Load | None:
        """Return what is known about the host, or None if it was never asked."""
        return self._read(connection, lock=False)

    def room(self, connection: Connection, wanted: int, now: float | None = None) -> Room:
        """Return how many requests could begin; by the time of a claim it may be fewer."""
        now = present(connection) if now is None else now
        load = self._read(connection, lock=False) or rules.untouched(self._limits, now)
        return self._room(connection, load, wanted, now)

    def reserve(self, connection: Connection, wanted: int, now: float) -> Room:
        """Return how many requests may begin; until this transaction ends nobody else is told a number."""
        return self._room(connection, self._locked(connection, now), wanted, now)

    def took(self, connection: Connection, count: int, now: float, lease_seconds: float) -> None:
        """Note that `count` of the reserved jobs begin with this transaction."""
        load = self._locked(connection, now)
        after = rules.took(self._limits, load, count * self._requests, now=now, probe_seconds=lease_seconds)
        self._write(connection, load, after)

    def heard(self, connection: Connection, heard: Heard, now: float | None = None) -> None:
        """Note what a request showed. Nothing is locked or written when that is no news."""
        now = present(connection) if now is None else now
        if not self.is_news(connection, heard, now):
            return
        before = self._locked(connection, now)
        self._write(connection, before, self._after(before, heard, now))

    def is_news(self, connection: Connection, heard: Heard, now: float | None = None) -> bool:
        """Return whether `heard` would change anything."""
        now = present(connection) if now is None else now
        before = self._read(connection, lock=False)
        return before is None or self._after(before, heard, now) != before

    def running(self, connection: Connection, now: float) -> int:
        """Return how many requests are under way, over all nodes."""
        return sum(int(count) for count in connection.execute(self._count, {"limiter_now": now}).one())

    def _room(self, connection: Connection, load: Load, wanted: int, now: float) -> Room:
        running = self.running(connection, now)
        return rules.room(self._limits, load, wanted=wanted, running=running, now=now, requests=self._requests)

    def _after(self, load: Load, heard: Heard, now: float) -> Load:
        after = rules.outage(self._limits, load, now=now) if heard.word is Word.OUTAGE else rules.answered(load)
        return after if heard.retry_after is None else rules.told_to_wait(after, heard.retry_after, now=now)

    def _read(self, connection: Connection, *, lock: bool) -> Load | None:
        row = connection.execute(self._find.with_for_update() if lock else self._find).one_or_none()
        return None if row is None else _load(row)

    def _locked(self, connection: Connection, now: float) -> Load:
        found = self._read(connection, lock=True)
        if found is None:
            fresh = rules.untouched(self._limits, now)
            insert_new(connection, self._table, {"name": self._name, **_columns(fresh)})
            found = self._read(connection, lock=True)
            assert found is not None
        return found

    def _write(self, connection: Connection, before: Load, after: Load) -> None:
        if after != before:
            row = self._table.c.name == self._name
            connection.execute(sa.update(self._table).where(row).values(**_columns(after)))


def _running(asking: Asking) -> sa.Select[Any]:
    columns = asking.table.c
    until = columns.lease_until > sa.bindparam("limiter_now", type_=sa.Float)
    query = sa.select(sa.func.count()).select_from(asking.table).where(until)
    return query if asking.steps is None else query.where(columns.step.in_(sorted(asking.steps)))


def _load(row: sa.Row[Any]) -> Load:
    return Load(
        tokens=row.tokens,
        filled_at=row.filled_at,
        blocked_until=row.blocked_until,
        circuit=Circuit(row.circuit),
        until=row.until,
        outages=row.outages,
        probes=row.probes,
    )


def _columns(load: Load) -> dict[str, object]:
    return {
        "tokens": load.tokens,
        "filled_at": load.filled_at,
        "blocked_until": load.blocked_until,
        "circuit": load.circuit.value,
        "until": load.until,
        "outages": load.outages,
        "probes": load.probes,
    }
