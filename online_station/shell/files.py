"""Files in the database, where several nodes share one: what one node took, every other one must be able to send.

On one PC nothing of this is used: its files lie in the home. With a shared database they lie there too, as what every
node fetches from here when it needs it; the database is the one place that has them all and is backed up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from online_station.shell.schema import BLOB
from shared.durable import publish, temporary_beside

PART_BYTES: Final = 1 << 20


def report_name(digest: str) -> str:
    """Return the name of a report's `.dat`."""
    return f"report/{digest}"


def receipt_name(digest: str) -> str:
    """Return the name of the bureau's upload receipt."""
    return f"receipt/{digest}"


def result_name(digest: str, result_no: int) -> str:
    """Return the name of a result."""
    return f"result/{digest}/{result_no}"


def ack_name(sha256: str) -> str:
    """Return the name of a clear receipt."""
    return f"ack/{sha256}"


def put_file(connection: Connection, name: str, path: Path) -> None:
    """Keep a file under a name, in place of what had the name.

    Args:
        connection: In the transaction that notes what the file is.
        name: Its name.
        path: The file.
    """
    _put(connection, name, _parts(path))


def put_octets(connection: Connection, name: str, data: bytes) -> None:
    """Keep octets under a name, in place of what had the name, in the transaction that notes what they are."""
    _put(connection, name, iter([data]))


def fetch(connection: Connection, name: str, path: Path) -> None:
    """Write what has a name into a file, durably and in one step.

    Raises:
        FileNotFoundError: Nothing has that name. There is no file.
    """
    count = connection.execute(sa.select(sa.func.count()).select_from(BLOB).where(BLOB.c.name == name)).scalar_one()
    if not count:
        raise FileNotFoundError(name)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            for part in range(count):
                query = sa.select(BLOB.c.data).where(BLOB.c.name == name, BLOB.c.part == part)
                file.write(connection.execute(query).scalar_one())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def _put(connection: Connection, name: str, parts: Iterator[bytes]) -> None:
    connection.execute(sa.delete(BLOB).where(BLOB.c.name == name))
    for number, data in enumerate(parts):
        connection.execute(sa.insert(BLOB).values(name=name, part=number, data=data))
