"""Distinguished encoding, as much of it as the formats need: written and read in one way only.

Everything here works on octets in memory that a caller has bounded before. Streams with indefinite lengths are the
business of `seal` and `opening`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from shared.text import Text

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONGEST_LENGTH: Final = 4
"""Length octets after the first: 4 GiB is more than any file here may have."""


class Malformed(ValueError):
    """Octets that are not the one encoding of what is expected.

    Internal to the envelope: readers of files turn it into the error of their kind of file.

    Attributes:
        reason: What is wrong, for people.
    """

    def __init__(self, reason: Text) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(reason.en)


def context(number: int, *, constructed: bool = True) -> int:
    """Return the identifier octet of the context-specific tag `[number]`."""
    return (0xA0 if constructed else 0x80) | number


def encode_length(length: int) -> bytes:
    """Return the definite length in as few octets as possible."""
    if length < 0x80:
        return bytes((length,))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def element(tag: int, *parts: bytes) -> bytes:
    """Return one element: the identifier octet, the length, the parts joined."""
    content = b"".join(parts)
    return bytes((tag,)) + encode_length(len(content)) + content


def sequence(*parts: bytes) -> bytes:
    """Return a SEQUENCE of the parts."""
    return element(SEQUENCE, *parts)


def set_of(parts: Iterable[bytes]) -> bytes:
    """Return a SET OF in the one order: ascending by the octets of the parts."""
    return element(SET, *sorted(parts))


def integer(value: int) -> bytes:
    """Return a non-negative INTEGER."""
    return element(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(value: bytes) -> bytes:
    """Return a primitive OCTET STRING."""
    return element(OCTET_STRING, value)


def bit_string(value: bytes) -> bytes:
    """Return a BIT STRING of whole octets."""
    return element(BIT_STRING, b"\x00", value)


def object_identifier(dotted: str) -> bytes:
    """Return an OBJECT IDENTIFIER."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return element(OBJECT_IDENTIFIER, *(_base128(arc) for arc in (first * 40 + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


_FIRST_UTC_YEAR: Final = 1950
_LAST_UTC_YEAR: Final = 2049
_LAST_MOMENT: Final = datetime(9999, 12, 31, 15, 59, 59, tzinfo=UTC)
"""What comes after it has no spelling in China time, in which people and files see it (ENV-8)."""


def time(moment: datetime) -> bytes:
    """Return a CMS Time: UTCTime from 1950 to 2049 and GeneralizedTime after, both to the second and in UTC."""
    utc = moment.astimezone(UTC)
    text = f"{utc.year:04d}{utc.month:02d}{utc.day:02d}{utc.hour:02d}{utc.minute:02d}{utc.second:02d}Z"
    if _FIRST_UTC_YEAR <= utc.year <= _LAST_UTC_YEAR:
        return element(UTC_TIME, text[2:].encode("ascii"))
    return element(GENERALIZED_TIME, text.encode("ascii"))


def parse_time(encoded: bytes) -> datetime:
    """Return the moment in an encoded CMS Time.

    Raises:
        Malformed: Anything that `time` would write differently, and the last eight hours of the year 9999.
    """
    reader = Reader(encoded)
    tag = reader.peek()
    text = reader.read(UTC_TIME if tag == UTC_TIME else GENERALIZED_TIME).decode("ascii", "replace")
    reader.finish()
    if tag == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    try:
        # `int` takes blanks and signs; writing the result again refuses them.
        moment = datetime(
            int(text[0:4]),
            int(text[4:6]),
            int(text[6:8]),
            int(text[8:10]),
            int(text[10:12]),
            int(text[12:14]),
            tzinfo=UTC,
        )
    except ValueError:
        raise Malformed(Text("签名时间无效", "the signing time is not a time")) from None
    if moment > _LAST_MOMENT:
        raise Malformed(Text("签名时间超出范围", "the signing time is out of range"))
    if time(moment) != encoded:
        raise Malformed(Text("签名时间不是唯一写法", "the signing time is in another spelling"))
    return moment


class Reader:
    """Reads elements one after the other from octets in memory, strictly.

    Only low tag numbers, only definite lengths, only the shortest length octets, nothing beyond the end.
    """

    def __init__(self, data: bytes) -> None:
        """Stand at the beginning of `data`."""
        self._data = data
        self._at = 0

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def peek(self) -> int:
        """Return the next identifier octet, or -1 at the end."""
        return -1 if self.at_end else self._data[self._at]

    def read(self, tag: int) -> bytes:
        """Return the content of the next element, which must have this identifier octet.

        Raises:
            Malformed: Another tag, a bad length, or the end.
        """
        start, end = self._bounds(tag)
        self._at = end
        return self._data[start:end]

    def read_whole(self, tag: int) -> bytes:
        """Return the next element with its identifier and length octets.

        Raises:
            Malformed: As for `read`.
        """
        begin = self._at
        self._at = self._bounds(tag)[1]
        return self._data[begin : self._at]

    def enter(self, tag: int) -> Reader:
        """Return a reader of the next element's content.

        Raises:
            Malformed: As for `read`.
        """
        return Reader(self.read(tag))

    def expect(self, octets: bytes, what: Text) -> None:
        """Read exactly these octets.

        Raises:
            Malformed: Other octets; the reason is `what`.
        """
        if not self._data.startswith(octets, self._at):
            raise Malformed(what)
        self._at += len(octets)

    def finish(self) -> None:
        """State that nothing is left.

        Raises:
            Malformed: Something is.
        """
        if not self.at_end:
            raise Malformed(Text("结构中有多余的字节", "superfluous octets inside the structure"))

    def _bounds(self, tag: int) -> tuple[int, int]:
        if self.peek() != tag:
            raise Malformed(
                Text(
                    f"结构不符（应为 {tag:02x}，读到 {self.peek() & 0xFF:02x}）",
                    f"expected tag {tag:02x}, found {'the end' if self.at_end else format(self.peek(), '02x')}",
                )
            )
        length, start = decode_length(self._data, self._at + 1)
        if length > len(self._data) - start:
            raise Malformed(Text("结构提前结束", "an element ends early"))
        return start, start + length


def decode_length(data: bytes, at: int) -> tuple[int, int]:
    """Return a definite length and the position after its octets.

    Raises:
        Malformed: Indefinite, not the shortest form, too long, or the octets end early.
    """
    if at >= len(data):
        raise Malformed(Text("结构提前结束", "an element ends early"))
    first = data[at]
    at += 1
    if first < 0x80:
        return first, at
    count = first & 0x7F
    if count == 0 or count > _LONGEST_LENGTH or at + count > len(data):
        raise Malformed(Text("长度编码无效", "an invalid length"))
    length = int.from_bytes(data[at : at + count], "big")
    if encode_length(length) != data[at - 1 : at + count]:
        raise Malformed(Text("长度不是最短编码", "a length that is not in its shortest form"))
    return length, at + count


def parse_integer(content: bytes, *, longest: int = 20) -> int:
    """Return a non-negative INTEGER from its content octets.

    Raises:
        Malformed: Empty, negative, longer than needed or than `longest` octets of value.
    """
    if not content or content[0] & 0x80 or len(content) > longest + 1:
        raise Malformed(Text("整数无效", "an invalid integer"))
    value = int.from_bytes(content, "big")
    if element(INTEGER, content) != integer(value):
        raise Malformed(Text("整数不是最短编码", "an integer that is not in its shortest form"))
    return value
