"""A result as the texts of QR codes, for places that a file on a stick may not enter (QR-*).

    TF1-7XKQ4MZ2ABCD-03-11-KBUWK4TTEBRG...-A2B3C4D
        │            │  │  │               └ CRC-32 of all that stands before the last separator
        │            │  │  └ 280 octets of a zstd frame in base32
        │            │  └ of how many
        │            └ which part
        └ the set: the beginning of the frame's SHA-256

What types the texts in is a scanner that plays a keyboard, or a person who pastes them: so only capital letters,
digits and one separator are used, every part can be judged by itself, and the order does not matter. This module
neither draws nor reads: it knows the texts only. Whether what they carry is a result, the signature inside decides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import zstandard

from shared.envelope.der import Malformed
from shared.envelope.frame import FrameReader
from shared.errors import QrContradicts, QrIncomplete, QrTooLarge
from shared.text import Text

PART_BYTES: Final = 280
"""Octets of the frame in every part but the last: with them a part fits a QR code of version 13 at level M."""
MAX_PARTS: Final = 99
MAX_CONTENT_BYTES: Final = 65536
MAX_PART_LENGTH: Final = 479
"""Characters of the longest part."""

_LEVEL: Final = 19
_SET_LENGTH: Final = 12
_CHECK_LENGTH: Final = 7
_NOISE_LENGTH: Final = 16
"""Characters before or after a part that are a scanner's own: more of them were meant to be something."""
_START: Final = re.compile(r"TF([0-9])-")
_SHAPE: Final = re.compile(
    rf"TF1-([A-Z2-7]{{{_SET_LENGTH}}})-([0-9]{{2}})-([0-9]{{2}})-([A-Z2-7]{{1,448}})-([A-Z2-7]{{{_CHECK_LENGTH}}})"
)
_NUMBERED: Final = re.compile(rf"TF1-[A-Z2-7]{{{_SET_LENGTH}}}-([0-9]{{2}})-[0-9]{{2}}-")
# A Chinese keyboard's dashes, after NFKC has taken care of the full-width ones; and capitals, of these letters only.
_FOLDED: Final = str.maketrans(
    dict.fromkeys("\u2010\u2012\u2013\u2014\u2015\u2212", "-")
    | {chr(small): chr(small - 32) for small in range(ord("a"), ord("z") + 1)}
)


@dataclass(frozen=True)
class Part:
    """What one QR code says.

    Attributes:
        set_id: The set that it belongs to.
        number: Which part it is, from 1.
        total: How many there are.
        octets: Its piece of the frame.
    """

    set_id: str
    number: int
    total: int
    octets: bytes

    @property
    def text(self) -> str:
        """The one text of this part."""
        head = f"TF1-{self.set_id}-{self.number:02}-{self.total:02}-{_base32(self.octets)}"
        return f"{head}-{_check(head)}"


@dataclass(frozen=True)
class Unreadable:
    """A text that is no part, or no longer one.

    Attributes:
        why: The reason, for people.
        number: Which part it seems to be; 0 if that cannot be told.
    """

    why: Text
    number: int = 0


@dataclass(frozen=True)
class Taken:
    """A part that was read.

    Attributes:
        part: The part.
        again: Whether it was there already.
    """

    part: Part
    again: bool


_FOREIGN: Final = Unreadable(Text("不是报税结果的二维码", "it is no QR code of a result"))


def split(data: bytes) -> list[str]:
    """Return the texts that carry `data`, one for each QR code.

    Raises:
        QrTooLarge: More than `MAX_PARTS` codes would be needed, or more than a reader would take.
    """
    if len(data) > MAX_CONTENT_BYTES:
        raise QrTooLarge(size=len(data))
    frame = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compress(data)
    pieces = [frame[at : at + PART_BYTES] for at in range(0, len(frame), PART_BYTES)]
    if len(pieces) > MAX_PARTS:
        raise QrTooLarge(size=len(data))
    set_id = _set_id(frame)
    return [Part(set_id, number, len(pieces), piece).text for number, piece in enumerate(pieces, 1)]


def read_parts(text: str) -> Iterator[Part | Unreadable]:
    """Yield what a line, or a whole pasted text, says; nothing for one of blanks (QR-7 to QR-10).

    A few characters around a part (a scanner's prefix, blanks, line ends) do not matter.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_FOLDED)
    starts = list(_START.finditer(plain))
    before = plain[: starts[0].start()] if starts else plain
    if _is_said(before, _NOISE_LENGTH if starts else 0):
        yield _FOREIGN
    for start, following in zip(starts, [*starts[1:], None][: len(starts)], strict=True):
        found, after = _read(plain[start.start() : following.start() if following else None], start[1])
        yield found
        if isinstance(found, Part) and _is_said(after, _NOISE_LENGTH):
            yield _FOREIGN


def _is_said(text: str, noise: int) -> bool:
    return len(text.strip()) > noise


def _read(text: str, version: str) -> tuple[Part | Unreadable, str]:
    """Return what stands at the beginning of `text`, and what comes after it."""
    if version != "1":
        why = Text(
            f"二维码是第 {version} 版的，本程序只认第 1 版",
            f"the code is of version {version}, this program knows version 1",
        )
        return Unreadable(why), ""
    found = _SHAPE.match(text)
    if found is None:
        seems = _NUMBERED.match(text)
        why = Text("不完整，或夹有别的字符", "it is not complete, or other characters are in it")
        return Unreadable(why, int(seems[1]) if seems is not None else 0), ""
    set_id, number, total, payload, check = found[1], int(found[2]), int(found[3]), found[4], found[5]
    after = text[found.end() :]
    if check != _check(found[0][: -_CHECK_LENGTH - 1]):
        why = Text("有字符读错（校验不符）", "a character was misread (the checksum differs)")
        return Unreadable(why, number), after
    octets = _octets(payload)
    whole = octets is not None and (len(octets) == PART_BYTES or (number == total and len(octets) < PART_BYTES))
    if octets is None or not whole or not 1 <= number <= total:
        return Unreadable(Text("不是规定的写法", "it is not in the one permitted form"), number), after
    return Part(set_id, number, total, octets), after


@dataclass
class PartSet:
    """The parts of one set that were read so far.

    Attributes:
        set_id: Its identity.
        total: How many parts it has.
    """

    set_id: str
    total: int
    _octets: dict[int, bytes] = field(default_factory=dict, repr=False)

    def take(self, part: Part) -> Taken | Unreadable:
        """Take in a part of this set; of two that contradict each other the first stays."""
        before = self._octets.get(part.number)
        if part.total != self.total or before not in (None, part.octets):
            return Unreadable(
                Text("与前面扫到的同组二维码矛盾", "it contradicts an earlier code of the same set"), part.number
            )
        self._octets[part.number] = part.octets
        return Taken(part, again=before is not None)

    @property
    def count(self) -> int:
        """How many parts are here."""
        return len(self._octets)

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers that are not here, ascending."""
        return tuple(number for number in range(1, self.total + 1) if number not in self._octets)

    def complete(self) -> bytes:
        """Return what the set carries.

        Raises:
            QrIncomplete: Parts are missing.
            QrContradicts: Every part is whole and all of them together are not what their maker named.
        """
        if self.missing:
            raise QrIncomplete(reason=self.what_is_missing)
        frame = b"".join(self._octets[number] for number in range(1, self.total + 1))
        if _set_id(frame) != self.set_id:
            raise QrContradicts(reason=Text("总校验不符", "the checksum of the whole differs"))
        reader = FrameReader(MAX_CONTENT_BYTES)
        try:
            content = b"".join(reader.feed(frame))
            reader.finish()
        except Malformed:
            raise QrContradicts(
                reason=Text("压缩数据不可用，或内容过大", "the compressed frame is unusable, or holds too much")
            ) from None
        return content

    @property
    def what_is_missing(self) -> Text:
        """How far the set is, in words."""
        if not self.missing:
            return Text(f"{self.total} 张已收齐", f"all {self.total} are here")
        numbers = [str(number) for number in self.missing]
        return Text(
            f"已收到 {self.count}/{self.total}，还缺第 {'、'.join(numbers)} 张",
            f"{self.count} of {self.total} received, still missing: {', '.join(numbers)}",
        )


class Parts:
    """Collects parts in any order, of several sets at once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._sets: dict[str, PartSet] = {}

    def add(self, text: str) -> list[Taken | Unreadable]:
        """Take in a line, or a whole pasted text; return what became of each part in it."""
        news: list[Taken | Unreadable] = []
        for found in read_parts(text):
            if isinstance(found, Part):
                of_set = self._sets.setdefault(found.set_id, PartSet(found.set_id, found.total))
                news.append(of_set.take(found))
            else:
                news.append(found)
        return news

    @property
    def sets(self) -> Mapping[str, PartSet]:
        """All sets that were met, by their identity, in the order of their first parts."""
        return self._sets

    @property
    def whole(self) -> Sequence[PartSet]:
        """The sets that lack nothing."""
        return [one for one in self._sets.values() if not one.missing]

    @property
    def missing(self) -> Mapping[str, tuple[int, ...]]:
        """The numbers that each unfinished set lacks."""
        return {one.set_id: one.missing for one in self._sets.values() if one.missing}

    def complete(self) -> bytes:
        """Return what the first finished set carries.

        Raises:
            QrIncomplete: No set is finished. The reason says what each of them lacks.
            QrContradicts: As `PartSet.complete`.
        """
        for one in self.whole:
            return one.complete()
        raise QrIncomplete(reason=self.what_is_missing)

    @property
    def what_is_missing(self) -> Text:
        """What each unfinished set lacks, in words."""
        unfinished = [one for one in self._sets.values() if one.missing]
        if not unfinished:
            return Text("没有收到一张二维码", "not one code was received")
        if len(unfinished) == 1:
            return unfinished[0].what_is_missing
        each = [(one.set_id, one.what_is_missing) for one in unfinished]
        return Text(
            "扫到了几组二维码：" + "；".join(f"{name} 组{words.zh}" for name, words in each),
            "codes of several sets: " + "; ".join(f"set {name}: {words.en}" for name, words in each),
        )


def _base32(octets: bytes) -> str:
    return base64.b32encode(octets).decode("ascii").rstrip("=")


def _octets(payload: str) -> bytes | None:
    """Return what base32 without padding says, or None if it is not the one spelling of anything."""
    try:
        octets = base64.b32decode(payload + "=" * (-len(payload) % 8))
    except binascii.Error:
        return None
    return octets if _base32(octets) == payload else None


def _check(head: str) -> str:
    return _base32(zlib.crc32(head.encode("ascii")).to_bytes(4, "big"))


def _set_id(frame: bytes) -> str:
    return _base32(hashlib.sha256(frame).digest())[:_SET_LENGTH]
