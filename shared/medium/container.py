"""Many small files as one file on a medium (STICK-14 to STICK-20).

A cheap stick takes a thousand files of 100 KB four times faster as one file, and one file has fewer ways to be half
there. So a visit that carries many reports may carry a container: a plain ustar archive, which stock `tar` opens.

    header · data · zeros to 512    for each member, in the order of the names
    header · data · zeros to 512    manifest.json, last: what a complete container holds
    1024 zero octets                and nothing after them

Every field that could vary is fixed, so there is exactly one container of given members. The reader does not
interpret headers: it takes name and size from one, writes the header that they must have, and compares. It does the
same with the manifest, and so has no parser that could be led astray. Nothing is compressed: what a container can
unfold to is its own length.

The manifest names neither time nor station. A container of the same members is then the same file, and under the same
name, whoever packs it and however often: packing again after a crash finds the earlier one as "already there" and can
finish a part of it. When and by whom a hand-over was made stands in the transfer log; when a report was made stands
in the report.

A container proves nothing: its members do, each by its own signature. The manifest only says that none is missing.

    plan  →  write          reading:  for entry in read(file, size): …      then `plan` says whether it was complete
"""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from shared.canonical import render_json
from shared.errors import ContainerDamaged, NameInvalid
from shared.ids import ReportName, parse_report_name
from shared.medium.names import MAX_SIZES, TRUST, Direction
from shared.text import Text

FORMAT: Final = "taxferry-batch/1"
MANIFEST: Final = "manifest.json"
MAX_MEMBERS: Final = 2_000
MAX_BYTES: Final = 1 << 30
"""Of a whole container, headers included: far below what FAT can hold, and little to do again after a mishap."""

_BLOCK: Final = 512
_CHUNK: Final = 1 << 20
_END: Final = bytes(2 * _BLOCK)
_DIRECTIONS: Final = {
    ".dat": Direction.TO_ONLINE,
    ".ack": Direction.TO_ONLINE,
    ".txt": Direction.TO_OFFLINE,
    TRUST: Direction.TO_OFFLINE,
}


@dataclass(frozen=True, order=True)
class Member:
    """A file in a container.

    Attributes:
        name: Its name, in the one true spelling: a report's, a result's, a clear receipt's, or `trust.txt`.
        size: Its length.
        sha256: Its SHA-256, in hex.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """A container, all but its members' bytes.

    Attributes:
        name: Its file name, derived from the manifest.
        size: Its length.
        direction: Who is to read it.
        manifest: The bytes of its last member.
        members: The others, in order.
    """

    name: str
    size: int
    direction: Direction
    manifest: bytes
    members: tuple[Member, ...]


def container_name(manifest: bytes) -> str:
    """Return the file name of the container with this manifest (STICK-18)."""
    return f"batch-{hashlib.sha256(manifest).hexdigest()[:16]}.tar"


# Planning and writing --------------------------------------------------------------------------------------------


def plan(members: Iterable[Member], direction: Direction) -> Plan:
    """Return the container of these members.

    Args:
        members: In any order.
        direction: Who is to read it.

    Raises:
        ValueError: None, too many or too much; a name twice; something that does not travel in this direction, is
            empty or larger than its kind may be. `split` makes lists that fit.
    """
    ordered = _ordered(members)
    if not ordered:
        raise ValueError("a container without members")
    if any(_meaning(each.name)[1] is not direction for each in ordered):
        raise ValueError(f"not all of these travel {direction}")
    manifest = _manifest(direction, ordered)
    size = sum(_room(each.size) for each in ordered) + _room(len(manifest)) + len(_END)
    if len(ordered) > MAX_MEMBERS or size > MAX_BYTES:
        raise ValueError(f"{len(ordered)} members, {size} bytes")
    return Plan(container_name(manifest), size, direction, manifest, ordered)


def split(members: Iterable[Member]) -> list[list[Member]]:
    """Return the members in lists of which each fits one container.

    What is too large for any container stands in a list of its own; like every list of one, it is best placed as the
    file that it is.

    Raises:
        ValueError: As `plan`, for what no list could mend.
    """
    lists: list[list[Member]] = []
    data = listed = 0
    for member in _ordered(members):
        more, line = _room(member.size), len(_line(member)) + 1
        fits = data + more + _room(_FRAME + listed + line) + len(_END) <= MAX_BYTES
        if not lists or not fits or len(lists[-1]) == MAX_MEMBERS:
            lists.append([])
            data = listed = 0
        lists[-1].append(member)
        data += more
        listed += line
    return lists


def write(plan: Plan, open_member: Callable[[Member], BinaryIO], sink: Callable[[bytes], object]) -> None:
    """Write a container, in bounded memory.

    Args:
        plan: From `plan`.
        open_member: Opens a member's bytes at their start; they are closed here.
        sink: Called with the container's bytes, piece by piece; writes all that it is given.

    Raises:
        OSError: A member cannot be read; with `EAGAIN`, it is no longer what was planned. What was written so far is
            no container.
    """
    for member in plan.members:
        sink(_header(member.name, member.size))
        with open_member(member) as source:
            for block in _as_planned(member, source):
                sink(block)
        sink(_padding(member.size))
    sink(_header(MANIFEST, len(plan.manifest)) + plan.manifest + _padding(len(plan.manifest)) + _END)


def _as_planned(member: Member, source: BinaryIO) -> Iterator[bytes]:
    """Yield a member's bytes, never more than planned; fail at the end if they are not those that were planned."""
    digest, remaining = hashlib.sha256(), member.size
    while remaining and (block := source.read(min(_CHUNK, remaining))):
        digest.update(block)
        remaining -= len(block)
        yield block
    if remaining or source.read(1) or digest.hexdigest() != member.sha256:
        raise OSError(errno.EAGAIN, "the source changed since the container was planned", member.name)


# Reading ---------------------------------------------------------------------------------------------------------


class Entry:
    """A member that is being read: its bytes follow once, in order."""

    def __init__(self, name: str, size: int, report: ReportName | None, suffix: str, source: _Source) -> None:
        """Only `Reading` makes these."""
        self.name = name
        self.size = size
        self.report = report
        """Whose it claims to be; None for a trust file."""
        self.suffix = suffix
        """`.dat`, `.txt`, `.ack`, or `trust.txt`."""
        self._source = source
        self._digest = hashlib.sha256()
        self._remaining = size

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes more, none only at the end.

        Raises:
            ContainerDamaged: The file ended early. What was read of this member is not to be used.
            OSError: The medium failed.
        """
        if limit < 0:
            raise ValueError("the limit bounds what is held in memory")
        data = self._source.some(min(limit, self._remaining))
        self._remaining -= len(data)
        self._digest.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The SHA-256 of the member, in hex, once all of it was read."""
        if self._remaining:
            raise ValueError(f"{self._remaining} bytes of {self.name} were not read yet")
        return self._digest.hexdigest()


class Reading:
    """A container that is being read, entry by entry; see `read`.

    Attributes:
        plan: What it was found to hold, once it was read to its end and is complete; None before that.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        """Read nothing yet."""
        self.plan: Plan | None = None
        self._source = _Source(file, size)
        self._entries = self._read()

    def __iter__(self) -> Iterator[Entry]:
        """Go on where the reading stands."""
        return self._entries

    def _read(self) -> Iterator[Entry]:
        source, members = self._source, list[Member]()
        direction: Direction | None = None
        if source.size > MAX_BYTES:
            raise ContainerDamaged(reason=Text(f"太大（{source.size} 字节）", f"too large ({source.size} bytes)"))
        while (header := _parse_header(source.exactly(_BLOCK)))[0] != MANIFEST:
            name, size = header
            try:
                report, travels, suffix = _meaning(name)
            except NameInvalid as error:
                raise ContainerDamaged(reason=error.text) from error
            if direction not in (None, travels):
                raise _damaged_by(name, Text("方向与其他文件不同", "it travels the other way"))
            if members and name <= members[-1].name:
                raise _damaged_by(name, Text("重复或顺序不对", "twice, or out of order"))
            if len(members) == MAX_MEMBERS:
                raise _damaged_by(name, Text("文件个数超过上限", "more files than a container may hold"))
            if not 0 < size <= MAX_SIZES[suffix]:
                raise _damaged_by(name, Text(f"大小不允许（{size} 字节）", f"a size of {size} bytes is not permitted"))
            source.promise(_room(size) - _BLOCK)  # before anyone is given the beginning of what has no end
            direction = travels
            entry = Entry(name, size, report, suffix, source)
            yield entry
            while entry.read(_CHUNK):
                pass
            source.zeros(-size % _BLOCK)
            members.append(Member(name, size, entry.sha256))
        if direction is None:
            raise ContainerDamaged(reason=Text("里面没有文件", "there is no file in it"))
        manifest = _manifest(direction, members)
        # A manifest of another length is another manifest: no more of it need be read than of the right one.
        there = source.exactly(min(header[1], len(manifest)))
        if header[1] != len(manifest) or there != manifest:
            raise ContainerDamaged(reason=_difference(members, there))
        source.zeros(-len(manifest) % _BLOCK)
        source.zeros(len(_END))
        source.end()
        self.plan = Plan(container_name(manifest), source.size, direction, manifest, tuple(members))


def read(file: BinaryIO, size: int) -> Reading:
    """Return a reading of a container; iterate over it.

    Each entry's bytes are to be read before the next is asked for; what is left unread then is skipped. Entries that
    were yielded and read to their end are whole as far as lengths tell, and are to be proven like any file (STICK-14);
    they stay of use when the reading ends with an error. The container is complete if and only if the iteration ends
    by itself; `plan` then says what was in it.

    Args:
        file: Open at its start; it is not closed. It need not be seekable.
        size: Its length, as it was listed. Never more than this is read, but for one octet that must not be there.

    Raises:
        ContainerDamaged: While iterating: it is truncated, damaged, or no container of ours.
        OSError: While iterating: the medium failed.
    """
    return Reading(file, size)


class _Source:
    """The container's bytes in order, never more than were announced."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size
        self._offset = 0

    def promise(self, count: int) -> None:
        """Refuse if fewer than `count` bytes were announced to follow."""
        if count > self.size - self._offset:
            raise ContainerDamaged(reason=_ENDS_EARLY)

    def some(self, limit: int) -> bytes:
        """Return at least one and at most `limit` bytes; none only if the limit is 0."""
        if limit == 0:
            return b""
        self.promise(limit)
        data = self._file.read(limit)
        if not data:
            raise ContainerDamaged(reason=_ENDS_EARLY)
        self._offset += len(data)
        return data

    def exactly(self, count: int) -> bytes:
        """Return `count` bytes."""
        self.promise(count)
        data = b""
        while len(data) < count:
            data += self.some(count - len(data))
        return data

    def zeros(self, count: int) -> None:
        """Read `count` bytes, all of them zero."""
        if any(self.exactly(count)):
            raise ContainerDamaged(reason=Text("填充处有其他内容", "something lies where only zeros may be"))

    def end(self) -> None:
        """Refuse if anything follows."""
        if self._offset != self.size or self._file.read(1):
            raise ContainerDamaged(reason=Text("结尾之后还有内容", "something follows after the end"))


_ENDS_EARLY: Final = Text("没有到结尾就断了，可能没有拷贝完", "it ends early: a copy that never finished")


def _damaged_by(name: str, reason: Text) -> ContainerDamaged:
    return ContainerDamaged(reason=Text(f"“{name}”{reason.zh}", f"'{name}': {reason.en}"))


def _difference(members: Sequence[Member], manifest: bytes) -> Text:
    """Return what a manifest that is not the expected one disagrees about, for people."""
    for member in members:
        if _line(member) not in manifest:
            return Text(f"“{member.name}”与清单不符", f"'{member.name}' is not what the manifest says")
    return Text("清单与里面的文件不符", "the manifest does not say what is there")


# The one spelling ------------------------------------------------------------------------------------------------


def _ordered(members: Iterable[Member]) -> tuple[Member, ...]:
    """Return members by their names, all of them fit to travel together, as far as each by itself can be."""
    ordered = tuple(sorted(members))
    directions = set()
    for member in ordered:
        try:
            _, direction, suffix = _meaning(member.name)
        except NameInvalid as error:
            raise ValueError(member.name) from error
        directions.add(direction)
        if not 0 < member.size <= MAX_SIZES[suffix]:
            raise ValueError(f"{member.name}: {member.size} bytes")
        if re.fullmatch(r"[0-9a-f]{64}", member.sha256, re.ASCII) is None:
            raise ValueError(f"{member.name}: no SHA-256")
    if len(directions) > 1:
        raise ValueError("members that travel in different directions")
    if len({each.name for each in ordered}) != len(ordered):
        raise ValueError("a name twice")
    return ordered


def _meaning(name: str) -> tuple[ReportName | None, Direction, str]:
    """Return whose a member claims to be, where it travels and of what kind it is.

    True spellings alone: no two of them differ only in case, so no file system can take one for another.

    Raises:
        NameInvalid: Any other name.
    """
    if name == TRUST:
        return None, _DIRECTIONS[TRUST], TRUST
    report, suffix = parse_report_name(name)
    return report, _DIRECTIONS[suffix], suffix


def _manifest(direction: Direction, members: Sequence[Member]) -> bytes:
    return render_json(
        {
            "format": FORMAT,
            "direction": direction.value,
            "members": [{"name": m.name, "bytes": m.size, "sha256": m.sha256} for m in members],
        }
    )


def _line(member: Member) -> bytes:
    """Return what a manifest says of a member."""
    return render_json({"name": member.name, "bytes": member.size, "sha256": member.sha256})


_FRAME: Final = len(_manifest(Direction.TO_OFFLINE, ()))
"""The length of a manifest around its members: of the longer direction."""


def _room(size: int) -> int:
    """Return what a member of this size takes up, header and padding included."""
    return _BLOCK + size + -size % _BLOCK


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def _header(name: str, size: int) -> bytes:
    """Return the one header of a member (STICK-16)."""
    before = b"".join(
        (
            name.encode("ascii").ljust(100, b"\0"),
            b"0000644\0",  # mode
            b"0000000\0" * 2,  # uid, gid
            b"%011o\0" % size,
            b"00000000000\0",  # mtime: the medium has the time of the container, the members have their own
        )
    )
    after = b"".join(
        (
            b"0".ljust(101, b"\0"),  # an ordinary file; no link
            b"ustar\00000",
            bytes(64),  # no names of owners
            b"0000000\0" * 2,  # no device
            bytes(167),  # no prefix
        )
    )
    checksum = sum(before) + sum(b" " * 8) + sum(after)
    return before + b"%06o\0 " % checksum + after


def _parse_header(block: bytes) -> tuple[str, int]:
    """Return name and size of a member.

    Raises:
        ContainerDamaged: It is not exactly the header that a member of this name and size has.
    """
    name, digits = block[:100].rstrip(b"\0"), block[124:135]
    if not any(block):
        raise ContainerDamaged(reason=Text("没有清单，不完整", "it has no manifest: it is not complete"))
    if re.fullmatch(rb"[0-7]{11}", digits) and re.fullmatch(rb"[0-9A-Za-z_.]{1,100}", name):
        size = int(digits, 8)
        if _header(name.decode("ascii"), size) == block:
            return name.decode("ascii"), size
    raise ContainerDamaged(
        reason=Text("文件头损坏，或不是税渡打的包", "a header is damaged, or another program made this archive")
    )
