"""One encoding: whatever is read is what would be written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.envelope import der
from shared.envelope.der import Malformed, Reader


@pytest.mark.parametrize(
    ("length", "octets"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8180"),
        (255, "81ff"),
        (256, "820100"),
        (65536, "83010000"),
        (1 << 30, "8440000000"),
    ],
)
def test_lengths_take_as_few_octets_as_possible(length: int, octets: str) -> None:
    assert der.encode_length(length).hex() == octets
    assert der.decode_length(bytes.fromhex(octets), 0) == (length, len(octets) // 2)


@pytest.mark.parametrize(
    "octets", ["", "80", "817f", "8100", "82007f", "8200ff", "8300ffff", "81", "8201", "850100000000", "ff"]
)
def test_other_lengths_are_refused(octets: str) -> None:
    with pytest.raises(Malformed):
        der.decode_length(bytes.fromhex(octets), 0)


@pytest.mark.parametrize(
    ("value", "octets"), [(0, "020100"), (1, "020101"), (127, "02017f"), (128, "02020080"), (256, "02020100")]
)
def test_integers(value: int, octets: str) -> None:
    assert der.integer(value).hex() == octets
    assert der.parse_integer(bytes.fromhex(octets)[2:]) == value


@pytest.mark.parametrize("content", ["", "80", "ff", "0001", "00" * 22, "01" * 22])
def test_other_integers_are_refused(content: str) -> None:
    with pytest.raises(Malformed):
        der.parse_integer(bytes.fromhex(content))


@pytest.mark.parametrize(
    ("dotted", "octets"),
    [
        ("1.2.840.113549.1.7.1", "06092a864886f70d010701"),
        ("2.5.4.3", "0603550403"),
        ("1.2.840.113549.1.9.16.1.23", "060b2a864886f70d0109100117"),
        ("2.999.1", "0603883701"),
    ],
)
def test_object_identifiers(dotted: str, octets: str) -> None:
    assert der.object_identifier(dotted).hex() == octets


def test_sets_are_ordered_by_their_octets() -> None:
    low, high = der.integer(1), der.octet_string(b"a")
    assert der.set_of([high, low]) == der.set_of([low, high]) == der.element(der.SET, low, high)


@pytest.mark.parametrize(
    ("moment", "octets"),
    [
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
    ],
)
def test_times(moment: datetime, octets: bytes) -> None:
    assert der.time(moment) == octets
    assert der.parse_time(octets) == moment


@pytest.mark.parametrize(
    "octets",
    [
        b"\x18\x0f20260101000000Z",  # UTCTime could say it
        b"\x17\x0b2601010000Z",  # no seconds
        b"\x17\x11260101000000+0800",
        b"\x17\x0d260229000000Z",
        b"\x17\x0d26010100000 Z",
        b"\x17\x0d2601010000-0Z",
        b"\x17\x0d260101000000z",
        b"\x18\x1120500101000000.5Z",
        b"\x17\x00",
        b"\x16\x0d260101000000Z",
        b"\x17\x0d260101000000Z\x00",
        b"",
        b"\x17\x0d\xb2\xb601010000000",
    ],
)
def test_other_times_are_refused(octets: bytes) -> None:
    with pytest.raises(Malformed):
        der.parse_time(octets)


def test_a_reader_stays_inside_its_element() -> None:
    reader = Reader(der.sequence(der.integer(1)) + der.integer(2))
    inside = reader.enter(der.SEQUENCE)
    assert inside.read(der.INTEGER) == b"\x01"
    inside.finish()
    with pytest.raises(Malformed):
        inside.read(der.INTEGER)
    assert reader.read_whole(der.INTEGER) == der.integer(2)


@pytest.mark.parametrize("octets", ["3003020101ff", "30030201", "3080020101", "0500", "", "30"])
def test_a_reader_refuses_what_it_was_not_told_to_expect(octets: str) -> None:
    def read_all() -> None:
        reader = Reader(bytes.fromhex(octets))
        reader.read(der.SEQUENCE)
        reader.finish()

    with pytest.raises(Malformed):
        read_all()
