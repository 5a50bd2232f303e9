"""The states of a disk after a power cut, as the campaigns on real drivers rebuild them, are those that can be."""

from __future__ import annotations

import struct

from tests.support.powercut import SECTOR, Cut, Entry, Sectors, cuts_in_order, cuts_with_loss, difference, read_record

A, B, C = (letter * SECTOR for letter in (b"A", b"B", b"C"))
BEFORE = bytes(8 * SECTOR)


def write(sector: int, data: bytes, **more: bool) -> Entry:
    return Entry(sector * SECTOR, data, **more)


FLUSH = Entry(0, b"", flush=True)
MARK = Entry(0, b"", mark="safe")


def states(cuts: list[Cut]) -> list[tuple[Sectors, bool]]:
    return [(cut.sectors, cut.marked) for cut in cuts]


def test_a_disk_that_keeps_everything_stops_at_some_write() -> None:
    record = [write(1, A), write(2, B + C), MARK, FLUSH]
    found = states(list(cuts_in_order(BEFORE, record, {1: A, 2: B, 3: C})))
    assert found == [({}, False), ({1: A}, False), ({1: A, 2: B, 3: C}, True)]


def test_what_was_flushed_is_never_lost_and_what_was_not_may_be_in_any_part() -> None:
    record = [write(1, A), FLUSH, write(2, B + C), MARK]
    found = states(list(cuts_with_loss(BEFORE, record, range(200))))
    after_the_mark = [sectors for sectors, marked in found if marked]
    assert all(sectors.get(1) == A for sectors in after_the_mark)
    assert sorted(sorted(sectors) for sectors in after_the_mark) == [[1], [1, 2], [1, 2, 3], [1, 3]]
    assert ({}, False) in found
    assert ({1: A}, False) in found
    assert len(found) == len({(frozenset(sectors.items()), marked) for sectors, marked in found}), "each once"


def test_a_write_that_went_through_the_cache_is_there_while_an_earlier_one_may_not_be() -> None:
    found = states(list(cuts_with_loss(BEFORE, [write(1, A), write(2, B, sure=True)], [])))
    assert found == [({}, False), ({1: A}, False), ({1: A, 2: B}, False), ({2: B}, False)]


def test_the_kernel_s_record_is_read_as_it_is_laid_out() -> None:
    def line(sector: int, count: int, flags: int, text: bytes = b"") -> bytes:
        return (struct.pack("<QQQQ", sector, count, flags, len(text)) + text).ljust(SECTOR, b"\0")

    head = struct.pack("<QQQI", 0x6A736677736872, 1, 4, SECTOR).ljust(SECTOR, b"\0")
    log = head + line(5, 2, 0) + A + B + line(0, 0, 1) + line(0, 0, 8, b"safe\0") + line(7, 1, 3) + C
    assert read_record(log) == [
        Entry(5 * SECTOR, A + B),
        Entry(0, b"", flush=True),
        Entry(0, b"", mark="safe"),
        Entry(7 * SECTOR, C, flush=True, sure=True),
    ]


def test_a_difference_is_the_sectors_that_changed() -> None:
    after = bytearray(BEFORE)
    after[3 * SECTOR : 4 * SECTOR] = A
    assert difference(BEFORE, bytes(after)) == {3: A}
