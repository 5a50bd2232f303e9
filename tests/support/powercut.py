"""What a disk can look like after a power cut: every state that its recorded writes allow.

The record is the kernel's own (device-mapper target `log-writes`): all writes in the order of their completion, the
cache flushes between them, and marks that were set by hand. There are two kinds of disks. One keeps what it was given:
a cut leaves the writes up to some point. The other has a cache of its own: what was written before the last flush is
there, and of what came after it any part may be, sector by sector.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SECTOR = 512
_MAGIC, _VERSION = 0x6A736677736872, 1
_SUPER = struct.Struct("<QQQI")
_ENTRY = struct.Struct("<QQQQ")
_FLUSH, _FUA, _DISCARD, _MARK = 1, 2, 4, 8


@dataclass(frozen=True)
class Entry:
    """One line of the record.

    Attributes:
        offset: Where on the disk, in bytes.
        data: What was written there; empty for a mere flush or a mark.
        flush: Whether everything before it had reached the medium.
        sure: Whether it had itself reached the medium when it was done.
        mark: The text of a mark, or nothing.
    """

    offset: int
    data: bytes
    flush: bool = False
    sure: bool = False
    mark: str = ""


Sectors = dict[int, bytes]
"""What differs from the disk before the first write: sectors by their numbers. Whole disks would be slow to copy."""


@dataclass(frozen=True)
class Cut:
    """A disk after a power cut.

    Attributes:
        sectors: What differs.
        marked: Whether the mark had been set before.
        how: When it was cut, for messages.
    """

    sectors: Sectors
    marked: bool
    how: str


def read_record(log: bytes) -> list[Entry]:
    """Return the lines of a `log-writes` device."""
    magic, version, count, sector = _SUPER.unpack_from(log)
    assert (magic, version) == (_MAGIC, _VERSION), "this is no record of writes"
    entries, at = [], sector
    for _ in range(count):
        where, length, flags, mark_length = _ENTRY.unpack_from(log, at)
        if flags & _MARK:
            start = at + _ENTRY.size
            entries.append(Entry(0, b"", mark=log[start : start + mark_length].rstrip(b"\0").decode()))
            at += sector
            continue
        assert not flags & _DISCARD, "a stick is mounted without discard"
        data = log[at + sector : at + sector * (1 + length)]
        entries.append(Entry(where * sector, data, flush=bool(flags & _FLUSH), sure=bool(flags & _FUA)))
        at += sector * (1 + length)
    return entries


def difference(before: bytes, after: bytes) -> Sectors:
    """Return the sectors in which a disk differs from what it was."""
    found = {}
    step = SECTOR * 128
    for start in range(0, len(before), step):
        if before[start : start + step] != after[start : start + step]:
            for at in range(start, min(start + step, len(before)), SECTOR):
                if before[at : at + SECTOR] != after[at : at + SECTOR]:
                    found[at // SECTOR] = after[at : at + SECTOR]
    return found


def _written(entry: Entry) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(entry.data), SECTOR):
        yield (entry.offset + at) // SECTOR, entry.data[at : at + SECTOR]


def _without_same(before: bytes, sectors: Sectors) -> Sectors:
    return {n: data for n, data in sectors.items() if before[n * SECTOR : (n + 1) * SECTOR] != data}


def cuts_in_order(before: bytes, entries: Sequence[Entry], at_mark: Sectors) -> Iterator[Cut]:
    """Yield what a cut leaves of a disk that keeps what it was given, each state once.

    Args:
        before: The disk's content before the first write.
        entries: The record. Its mark does not count here: it stands before the writes that were not yet flushed.
        at_mark: How the disk differed when the mark was set; what is not older has it behind it.
    """
    sectors: Sectors = {}
    marked = not at_mark
    yield Cut({}, marked, "before the first write")
    for number, entry in enumerate(entries, 1):
        earlier, was_marked = sectors, marked
        sectors = _without_same(before, {**sectors, **dict(_written(entry))})
        marked = marked or sectors == at_mark
        if (sectors, marked) != (earlier, was_marked):
            yield Cut(sectors, marked, f"after write {number}")
    assert marked, "the record does not lead to the disk"


def cuts_with_loss(before: bytes, entries: Sequence[Entry], seeds: Iterable[int]) -> Iterator[Cut]:
    """Yield what a cut can leave of a disk with a cache of its own, each state once.

    Args:
        before: The disk's content before the first write.
        entries: The record, with a mark or without.
        seeds: At every point of the record, each throws its dice for what is left of the writes after the last flush;
            all of them and none of them are always tried.
    """
    seen: set[tuple[frozenset[tuple[int, bytes]], bool]] = set()
    luck = [_Luck("all", None), _Luck("none", None), *(_Luck(f"seed {seed}", seed) for seed in seeds)]
    sure: Sectors = {}  # as of the last flush
    pending: list[Entry] = []
    marked = False
    for number, entry in enumerate([Entry(0, b""), *entries]):
        if entry.flush:
            for earlier in pending:
                sure.update(_written(earlier))
            pending = []
        marked = marked or bool(entry.mark)
        if entry.sure:
            sure.update(_written(entry))
        elif entry.data:
            pending.append(entry)
        for chance in luck:
            sectors = _without_same(before, {**sure, **dict(chance.left_of(pending, number))})
            key = frozenset(sectors.items()), marked
            if key not in seen:
                seen.add(key)
                yield Cut(sectors, marked, f"after write {number}, kept of the cache: {chance.name}")


@dataclass(frozen=True)
class _Luck:
    name: str
    seed: int | None

    def left_of(self, pending: Sequence[Entry], number: int) -> Iterator[tuple[int, bytes]]:
        """Yield the sectors that reached the medium: some writes whole, some not at all, some in part."""
        if self.seed is None:
            for entry in pending if self.name == "all" else ():
                yield from _written(entry)
            return
        dice = random.Random(f"{self.seed} {number}")
        share = dice.choice((0.2, 0.5, 0.8))
        for entry in pending:
            fate = dice.random()
            for sector in _written(entry):
                if fate < 0.3 or (fate < 0.6 and dice.random() < share):
                    yield sector
