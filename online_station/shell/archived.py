"""Which finished reports lie in an archive: what is left of them here, so that they are known for ever."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from online_station.shell.schema import ARCHIVE, ARCHIVED
from online_station.shell.store import Store
from shared.clock import CHINA

WRITING: Final = "writing"
"""An archive that is being written: nothing that is in it has left its place."""
SEALED: Final = "sealed"
"""An archive that was proven by reading it back, and whose contents belong to it from then on."""
REPORT: Final = "report"
QUARANTINED: Final = "quarantined"
LOG: Final = "log"
_BATCH: Final = 500


@dataclass(frozen=True)
class ArchiveRow:
    """One archive file.

    Attributes:
        name: Its name; it lies in `folder`.
        folder: Where it was written.
        period: The month whose reports it holds.
        made_at: When.
        size_bytes: Its length.
        sha256: Of the whole file.
        reports: How many reports it holds; those that were restored since are not counted.
        others: How many other files: what was set aside, and old logs.
    """

    name: str
    folder: str
    period: str
    made_at: datetime
    size_bytes: int
    sha256: str
    reports: int = 0
    others: int = 0


def where_archived(store: Store, digests: Collection[str]) -> dict[str, str]:
    """Return the archives of those of these reports that lie in one."""
    wanted = sorted(digests)
    found: dict[str, str] = {}
    with store.reading() as connection:
        for start in range(0, len(wanted), _BATCH):
            query = sa.select(ARCHIVED.c.key, ARCHIVED.c.archive).where(ARCHIVED.c.kind == REPORT)
            some = query.where(ARCHIVED.c.key.in_(wanted[start : start + _BATCH]))
            found.update((str(key), str(archive)) for key, archive in connection.execute(some))
    return found


def is_archived(store: Store, digest: str) -> bool:
    """Return whether a report lies in an archive: its file is not wanted a second time."""
    return digest in where_archived(store, {digest})


def archive_of(connection: Connection, kind: str, key: str) -> Row[Any] | None:
    """Return the row of what lies in an archive, or None."""
    query = sa.select(ARCHIVED).where(ARCHIVED.c.kind == kind, ARCHIVED.c.key == key)
    return connection.execute(query).one_or_none()


def archives(store: Store) -> list[ArchiveRow]:
    """Return the archives, the oldest period first."""
    count = sa.func.count
    reports = sa.select(ARCHIVED.c.archive, count().label("n")).where(ARCHIVED.c.kind == REPORT)
    others = sa.select(ARCHIVED.c.archive, count().label("n")).where(ARCHIVED.c.kind != REPORT)
    with store.reading() as connection:
        in_reports: Mapping[str, int] = {
            str(name): int(n) for name, n in connection.execute(reports.group_by(ARCHIVED.c.archive))
        }
        in_others: Mapping[str, int] = {
            str(name): int(n) for name, n in connection.execute(others.group_by(ARCHIVED.c.archive))
        }
        rows = connection.execute(
            sa.select(ARCHIVE).where(ARCHIVE.c.state == SEALED).order_by(ARCHIVE.c.period, ARCHIVE.c.name)
        ).all()
    return [
        ArchiveRow(
            row.name,
            row.folder,
            row.period,
            datetime.fromtimestamp(row.made_at, CHINA),
            row.size_bytes,
            row.sha256,
            in_reports.get(row.name, 0),
            in_others.get(row.name, 0),
        )
        for row in rows
    ]
