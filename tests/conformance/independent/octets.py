"""DER as docs/spec needs it, read afresh: nothing here comes from the programs that the specification describes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

INTEGER, BIT_STRING, OCTET_STRING, OID, UTF8, SEQUENCE, SET = 0x02, 0x03, 0x04, 0x06, 0x0C, 0x30, 0x31


class Refused(Exception):
    """The one error of this decoder: the file is not what the specification says."""


def need(condition: object, why: str) -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(why)


def head(data: bytes, at: int, stop: int) -> tuple[int, int, int]:
    """Return identifier, start and end of the content of the element at a place; definite and shortest lengths only."""
    need(at + 2 <= stop, "an element ends early")
    identifier, first = data[at], data[at + 1]
    need(identifier & 0x1F != 0x1F, "an identifier of several octets")
    at += 2
    if first < 0x80:
        size = first
    else:
        count = first & 0x7F
        need(1 <= count <= 4 and at + count <= stop, "a length that is indefinite, too long or cut short")
        size = int.from_bytes(data[at : at + count], "big")
        need(data[at] != 0 and size >= 0x80, "a length in more octets than it needs")
        at += count
    need(at + size <= stop, "an element reaches beyond its end")
    return identifier, at, at + size


class Elements:
    """A run of DER elements, taken one by one."""

    def __init__(self, data: bytes) -> None:
        """Begin at the first."""
        self.data = data
        self.at = 0

    def peek(self) -> int | None:
        """Return the identifier octet that comes next."""
        return self.data[self.at] if self.at < len(self.data) else None

    def whole(self, identifier: int | None = None) -> bytes:
        """Take the next element with its header."""
        begin = self.at
        found, _, self.at = head(self.data, begin, len(self.data))
        need(identifier is None or found == identifier, "another element than the specification says")
        return self.data[begin : self.at]

    def take(self, identifier: int) -> bytes:
        """Take the content of the next element."""
        return content(self.whole(identifier))

    def inside(self, identifier: int) -> Elements:
        """Take the next element and return the run of elements inside."""
        return Elements(self.take(identifier))

    def end(self) -> None:
        """Refuse if something is left."""
        need(self.at == len(self.data), "octets that do not belong there")

    def all(self) -> list[bytes]:
        """Take all that is left, with headers."""
        found = []
        while self.peek() is not None:
            found.append(self.whole())
        return found


def content(element: bytes) -> bytes:
    """Return what is inside one element."""
    _, start, stop = head(element, 0, len(element))
    need(stop == len(element), "octets after an element")
    return element[start:stop]


def only(data: bytes, identifier: int) -> Elements:
    """Return the inside of data that is exactly one element."""
    run = Elements(data)
    inside = run.inside(identifier)
    run.end()
    return inside


def integer(data: bytes) -> int:
    """Return the value of an INTEGER's content."""
    need(data, "an INTEGER without octets")
    need(len(data) == 1 or not (data[0] == 0 and data[1] < 0x80), "an INTEGER in too many octets")
    need(len(data) == 1 or not (data[0] == 0xFF and data[1] >= 0x80), "an INTEGER in too many octets")
    return int.from_bytes(data, "big", signed=True)


def object_id(data: bytes) -> str:
    """Return an OID's content in dotted form."""
    need(data and data[-1] < 0x80, "an OID that is cut short")
    arcs, value, fresh = [], 0, True
    for octet in data:
        need(not (fresh and octet == 0x80), "an OID arc in too many octets")
        value = value << 7 | octet & 0x7F
        fresh = octet < 0x80
        if fresh:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def bits(data: bytes) -> bytes:
    """Return the octets of a BIT STRING that has no unused bits."""
    need(data and data[0] == 0, "a BIT STRING with unused bits")
    return data[1:]


def moment(element: bytes) -> datetime:
    """Return a UTCTime or GeneralizedTime: to the second, `Z`, the shorter one wherever it can be."""
    text = content(element).decode("latin-1")
    if element[0] == 0x17:
        need(re.fullmatch(r"[0-9]{12}Z", text), "a UTCTime in another form")
        text = ("19" if text[:2] >= "50" else "20") + text
    else:
        need(element[0] == 0x18 and re.fullmatch(r"[0-9]{14}Z", text), "a time in another form")
        need(not "1950" <= text[:4] < "2050", "a GeneralizedTime where UTCTime reaches")
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("no such time") from None


def in_set_order(elements: list[bytes]) -> None:
    """Refuse elements that are not in the DER order of a SET OF."""
    need(elements == sorted(elements), "a SET OF in another order")


def distinguished_name(element: bytes) -> list[tuple[str, str]]:
    """Return the attributes of a Name."""
    found = []
    for part in only(element, SEQUENCE).all():
        attributes = only(part, SET).all()
        need(attributes, "an empty part of a name")
        in_set_order(attributes)
        for attribute in attributes:
            pair = only(attribute, SEQUENCE)
            kind, value = object_id(pair.take(OID)), pair.whole()
            pair.end()
            coding = {0x0C: "utf-8", 0x1E: "utf-16-be", 0x1C: "utf-32-be"}.get(value[0], "latin-1")
            try:
                found.append((kind, content(value).decode(coding)))
            except UnicodeDecodeError:
                raise Refused("a name that is not text") from None
    return found


def issuer_and_serial(element: bytes) -> tuple[bytes, int]:
    """Return the Name, as written and not looked into, and the serial number (ENV-6)."""
    pair = only(element, SEQUENCE)
    name = pair.whole(SEQUENCE)
    number = pair.take(INTEGER)
    serial = integer(number)
    need(serial >= 0 and len(number) <= 21, "a serial number that is negative or too long")
    pair.end()
    return name, serial
