"""Containers for tests: made of a few bytes, and read to their end or to what is wrong with them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping

from shared.errors import ContainerDamaged
from shared.medium import Direction
from shared.medium.container import Member, Plan, plan, read, write

ACK = "310100000000000_0_200807180808.ack"
DAT = "310100000000000_0_200807180808.dat"
SUB = "310100000000000_12_202008010000.dat"
TXT = "310100000000000_0_200807180808.txt"
FILES = {ACK: b"first\n", DAT: b"second\n" * 80, SUB: b"\0" * 1024}
"""A length below one block, one across two, and a whole number of blocks."""


def member(name: str, data: bytes) -> Member:
    """Return the member that these bytes are."""
    return Member(name, len(data), hashlib.sha256(data).hexdigest())


def pack(files: Mapping[str, bytes], direction: Direction = Direction.TO_ONLINE) -> tuple[Plan, bytes]:
    """Return a container of these files."""
    planned = plan([member(name, data) for name, data in files.items()], direction)
    out = io.BytesIO()
    write(planned, lambda each: io.BytesIO(files[each.name]), out.write)
    assert len(out.getvalue()) == planned.size
    return planned, out.getvalue()


def unpack(data: bytes, size: int | None = None) -> tuple[dict[str, bytes], Plan | None, ContainerDamaged | None]:
    """Return what was read whole, the plan if the container is complete, and the error that ended the reading."""
    found: dict[str, bytes] = {}
    reading = read(io.BytesIO(data), len(data) if size is None else size)
    try:
        for entry in reading:
            content = b""
            while block := entry.read(700):
                content += block
            assert hashlib.sha256(content).hexdigest() == entry.sha256
            assert entry.name not in found
            found[entry.name] = content
    except ContainerDamaged as error:
        assert reading.plan is None
        return found, None, error
    return found, reading.plan, None
