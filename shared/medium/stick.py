"""One visit to a stick.

Placing a file (STICK-5), in an order that was tested on real drivers, because the textbook one loses files on Linux
vfat:

    write a part (or adopt one that is complete) → fsync the folder, then the part
    → read it back past the cache and compare → fsync the folder
    → (remove a superseded file, proven older; fsync the folder) → rename without replacing → fsync the folder
    → open under the final name and fsync again → fsync the folder

A crash or a pulled stick anywhere leaves the old state or the new one and perhaps a part of ours, never a wrong file
under a final name that a receiver would believe: receivers prove what they take. Whoever sends keeps the original until
the proof of the next leg; so a whole stick may be lost.

A pulled stick can look like an empty, healthy folder. Therefore "not there" means nothing here, and `finish` ends each
visit with a question that only a living medium can answer.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self

from shared.canonical import render_json
from shared.clock import format_time
from shared.errors import (
    ForeignObject,
    MediumAbsent,
    MediumDamaged,
    MediumError,
    MediumFull,
    MediumReadOnly,
    MediumUnprepared,
    NameTaken,
)
from shared.files import hash_file
from shared.ids import ReportName
from shared.medium import container
from shared.medium.names import (
    BATCH,
    IDENTITY,
    LOG,
    MARKER,
    MAX_SIZES,
    TRUST,
    Direction,
    PartName,
    parse_part_name,
    recognise,
    station_tag,
)
from shared.medium.port import LOCAL, FileLook, FilePort, Folder
from shared.text import Text
from shared.text.system import os_reason

_CHUNK: Final = 1 << 20
_RESERVE: Final = 1 << 20
_MAX_ENTRIES: Final = 10_000
_MAX_FILES: Final = 2_000
_MAX_IDENTITY: Final = 4_096
_MAX_LOG: Final = 4 << 20
_CHECKED_AGAIN: Final = 64 << 20
_BOM: Final = b"\xef\xbb\xbf"


def _nothing(_size: int) -> None:
    """Show no progress."""


_LOG_HEADER: Final = ("时间 time", "站点 station", "方向 direction", "文件 name", "摘要 digest", "字节 bytes")

Place = Literal["to-online", "to-offline", "root"]


@dataclass(frozen=True)
class StickIdentity:
    """What `stick.json` says.

    Attributes:
        id: Sixteen hex digits, made when the stick was prepared.
        label: The name that a person gave it.
        made_at: When it was prepared.
        station: By which station.
    """

    id: str
    label: str
    made_at: str
    station: str


@dataclass(frozen=True)
class StickFile:
    """A file on the stick whose name is one of ours.

    Attributes:
        name: Its name as it stands there.
        place: In which of the three folders.
        size: Its length.
        report: Whose it claims to be; None for a trust file and for a container.
        suffix: `.dat`, `.txt`, `.ack`, `trust.txt`, or `.tar`.
    """

    name: str
    place: Place
    size: int
    report: ReportName | None
    suffix: str


@dataclass(frozen=True)
class Unusable:
    """Something under one of our names that cannot be taken, and why."""

    name: str
    place: Place
    error: MediumError


@dataclass(frozen=True)
class Listing:
    """What lies on the stick.

    Attributes:
        files: Those with a name of ours, in the order of their names.
        unusable: Those with such a name that are empty, too large or no ordinary files.
        foreign: How many other entries there are. They were not opened.
        truncated: Whether there was more than anyone puts on a stick, and the rest was not looked at.
    """

    files: tuple[StickFile, ...]
    unusable: tuple[Unusable, ...] = ()
    foreign: int = 0
    truncated: bool = False


@dataclass(frozen=True)
class Placement:
    """A file that now lies on the stick, durably.

    Attributes:
        name: Its final name.
        size: Its length.
        sha256: Its SHA-256, in hex.
        already: Whether it was there before.
    """

    name: str
    size: int
    sha256: str
    already: bool


@dataclass(frozen=True)
class Outgoing:
    """A local file that is to lie on the stick.

    Attributes:
        path: Where it is kept; the stick is given a copy.
        name: Its name on the stick.
        sha256: Its SHA-256, in hex.
        size: Its length.
        digest: The report digest, for the transfer log.
    """

    path: Path
    name: str
    sha256: str
    size: int
    digest: str = ""

    @classmethod
    def of(cls, path: Path, name: str, digest: str = "") -> Outgoing:
        """Describe a file as it lies on the disk now."""
        sha256, size = hash_file(path)
        return cls(path, name, sha256, size, digest)


Produce = Callable[[Callable[[bytes], object]], None]
"""Hands the bytes that are to be written to what is given, block by block, the same ones at each call."""


class Stick:
    """An open stick. Use it in a `with` statement; each method may raise the medium's errors (B30 to B35)."""

    def __init__(
        self, files: FilePort, root: Folder, marker: Folder | None, identity: StickIdentity | None, station: str
    ) -> None:
        """Use `open` or `prepare`."""
        self._files = files
        self._root = root
        self._marker = marker
        self._folders: dict[Direction, Folder] = {}
        self._station = station
        self._parts_seen: dict[str, int] = {}
        self._placed: list[tuple[Folder, str, int, str]] = []
        self._to_check = 0
        self.identity = identity
        """Who the stick is, or None if it was never prepared (it can then be read only)."""

    @property
    def path(self) -> Path:
        """Where the stick is."""
        return self._root.path

    @property
    def read_only(self) -> bool:
        """Whether the medium says that it cannot be written: a disc, a locked stick."""
        try:
            return self._files.read_only(self._root)
        except OSError:
            return False

    # Opening -------------------------------------------------------------------------------------------------------

    @classmethod
    def prepare(
        cls,
        path: Path,
        label: str,
        *,
        station: str,
        now: datetime,
        new_identity: bool = False,
        files: FilePort = LOCAL,
    ) -> Stick:
        """Make a folder a stick of ours: marker, identity, the two folders. Touches nothing else on it.

        Args:
            path: The folder; it exists.
            label: Its name for people; at most 40 characters are kept.
            station: The id of this station.
            now: The time.
            new_identity: Give a new one to a stick that has one: it is a copy of another stick.
            files: The file system.

        Returns:
            The open stick. One that was prepared before keeps its identity unless a new one was asked for.

        Raises:
            MediumAbsent: There is no such folder.
            MediumFull: Nothing but folders was made.
            MediumReadOnly: Nothing was made.
            MediumDamaged: Run it again.
        """
        root = _open_root(files, path)
        stick = cls(files, root, None, None, station_tag(station))
        try:
            with stick._errors(needed=_RESERVE):
                stick._marker = stick._make_folder(root, MARKER)
                stick.identity = stick._read_identity()
                if stick.identity is None or new_identity:
                    known = "" if stick.identity is None else stick.identity.label
                    stick._write_identity(
                        StickIdentity(
                            id=secrets.token_hex(8),
                            label=_clean_label(label) or known or path.name or "stick",
                            made_at=format_time(now),
                            station=stick._station,
                        )
                    )
                for direction in Direction:
                    files.sync_folder(stick._folder(direction))
        except BaseException:
            stick.close()
            raise
        return stick

    @classmethod
    def open(cls, path: Path, *, station: str, unprepared: bool = False, files: FilePort = LOCAL) -> Stick:
        """Open a stick for one visit.

        Args:
            path: The folder.
            station: The id of this station.
            unprepared: Whether a medium without the marker may be read: a disc, a folder that a person filled
                (STICK-13).
            files: The file system.

        Raises:
            MediumAbsent: There is no such folder.
            MediumUnprepared: It has no marker, or the marker's identity does not parse.
            MediumDamaged: It cannot be read.
        """
        root = _open_root(files, path)
        stick = cls(files, root, None, None, station_tag(station))
        try:
            with stick._errors():
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    stick._marker = files.open_below(root, MARKER)
                if stick._marker is not None:
                    stick.identity = stick._read_identity()
            if stick.identity is None and not unprepared:
                raise MediumUnprepared(name=str(path))
        except BaseException:
            stick.close()
            raise
        return stick

    def close(self) -> None:
        """Give the handles back. Does not say that the stick is alive: `finish` does."""
        for folder in (*self._folders.values(), self._marker, self._root):
            if folder is not None:
                with contextlib.suppress(OSError):
                    self._files.close(folder)
        self._folders, self._marker = {}, None

    def __enter__(self) -> Self:
        """Return the stick; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def finish(self) -> None:
        """Prove that the medium is alive and that everything placed has reached it; then it is safe to remove.

        Raises:
            MediumDamaged: It was pulled or failed: what was placed in this visit must be placed again.
        """
        self._check_again()
        # A medium that cannot be written is fine as long as nothing was.
        allow = contextlib.nullcontext if self._placed else _allow_read_only
        with self._errors():
            if self.identity is not None:
                with allow():
                    self._sweep_own()
            for folder in (*self._folders.values(), self._marker, self._root):
                if folder is not None:
                    with allow():
                        self._files.sync_folder(folder)
            if self.identity is not None and self._read_identity() != self.identity:
                raise MediumDamaged(reason=Text("标记文件读不出来了", "the marker can no longer be read"))

    def _check_again(self) -> None:
        """Read again what was placed before the log was last written: on a damaged medium the two may share a place."""
        left = _CHECKED_AGAIN
        for folder, name, size, sha256 in self._placed[: self._to_check]:
            if size <= left:
                left -= size
                with self._errors():
                    self._read_back(folder, name, size, sha256, _nothing)

    # Reading -------------------------------------------------------------------------------------------------------

    def list(self, *suffixes: str) -> Listing:
        """Return what lies in the two folders and in the root, one level deep (STICK-3, STICK-9).

        Args:
            suffixes: `.dat`, `.txt`, `.ack`, `trust.txt`, `.tar` (containers); all of them by default.

        Returns:
            Files by their names; whether a file is what it claims is not known before it was taken and proven.
        """
        wanted = suffixes or (".dat", ".txt", ".ack", TRUST, BATCH)
        files: list[StickFile] = []
        unusable: list[Unusable] = []
        foreign, truncated = 0, False
        with self._errors():
            for place, folder in self._places():
                names = self._files.names(folder, _MAX_ENTRIES + 1)
                truncated = truncated or len(names) > _MAX_ENTRIES
                for name in sorted(names[:_MAX_ENTRIES]):
                    if parse_part_name(name) is not None or (place == "root" and name == MARKER):
                        continue
                    meaning = recognise(name)
                    if meaning is None:
                        foreign += 1
                        continue
                    suffix = meaning[1]
                    if suffix not in wanted:
                        continue
                    if len(files) + len(unusable) >= _MAX_FILES:
                        truncated = True
                        continue
                    found = self._usable(folder, place, name, meaning[0], suffix)
                    if isinstance(found, StickFile):
                        files.append(found)
                    elif found is not None:
                        unusable.append(found)
        return Listing(tuple(files), tuple(unusable), foreign, truncated)

    def _usable(
        self, folder: Folder, place: Place, name: str, report: ReportName | None, suffix: str
    ) -> StickFile | Unusable | None:
        look = self._files.look(folder, name)
        if look is None:
            return None
        reason = None
        if not look.regular:
            reason = Text("不是普通文件", "it is no ordinary file")
        elif look.size == 0:
            reason = Text("是空的（0 字节），可能没有拷贝完", "it is empty (0 bytes): a copy that never finished")
        elif look.size > MAX_SIZES[suffix]:
            reason = Text(f"太大（{look.size} 字节）", f"it is too large ({look.size} bytes)")
        if reason is not None:
            return Unusable(name, place, ForeignObject(name=name, reason=reason))
        return StickFile(name, place, look.size, report, suffix)

    @contextlib.contextmanager
    def reading(self, entry: StickFile) -> Iterator[BinaryIO]:
        """Open a listed file where it lies, for a look at it; read from it no more than it was listed with.

        The system's errors inside the block are taken for the medium's.
        """
        with self._errors(), self._files.open_read(self._folder_of(entry.place), entry.name) as file:
            yield file

    def blocks(self, entry: StickFile) -> Iterator[bytes]:
        """Yield a listed file's bytes; nothing is proven by that (STICK-8).

        Raises:
            MediumDamaged: The stick failed, or the file changed while it was read. What was yielded is worthless.
        """
        size = 0
        with self._errors(), self._files.open_read(self._folder_of(entry.place), entry.name) as source:
            while size <= entry.size and (block := source.read(min(_CHUNK, entry.size + 1 - size))):
                size += len(block)
                if size <= entry.size:
                    yield block
        if size != entry.size:
            raise MediumDamaged(
                reason=Text(f"“{entry.name}”在读取时变化了", f"'{entry.name}' changed while it was read")
            )

    # Writing -------------------------------------------------------------------------------------------------------

    def place(
        self,
        source: Path,
        name: str,
        direction: Direction,
        *,
        now: datetime,
        digest: str = "",
        superseded: Collection[str] = (),
        advanced: Callable[[int], None] = _nothing,
    ) -> Placement:
        """Put a local file on the stick under a name, durably and never over another one (STICK-5, STICK-7).

        Args:
            source: The local file; it is kept.
            name: Its final name on the stick.
            direction: Who is to read it.
            now: The time, for the transfer log.
            digest: The report digest for the log; the file's SHA-256 by default.
            superseded: SHA-256 of files that are proven older: one of them may be removed to make way for this one.
                What is only the beginning of the new content (a copy that broke off) is always replaced.
            advanced: Told of every block's length, when it is written and again when it is read back.

        Returns:
            What lies there; `already` if the same bytes lay there before.

        Raises:
            MediumUnprepared: The stick has no marker. Nothing was written.
            MediumFull: There is no room. Nothing of ours is left there.
            MediumReadOnly: Nothing was written.
            NameTaken: Another file has the name. It was not touched.
            MediumDamaged: Whether the file is there is unknown: place it again, on this stick or another.
            OSError: The source cannot be read. Nothing has the final name.
        """
        out = Outgoing.of(source, name, digest)

        def produce(write: Callable[[bytes], object]) -> None:
            _produce_file(out, write)

        lines = [(name, digest or out.sha256, out.size)]
        already = self._put(direction, name, out.size, out.sha256[:8], produce, superseded, advanced, now, lines)
        return Placement(name, out.size, out.sha256, already)

    def place_batch(
        self,
        items: Sequence[Outgoing],
        direction: Direction,
        *,
        now: datetime,
        advanced: Callable[[int], None] = _nothing,
    ) -> Sequence[Placement]:
        """Put many local files on the stick as containers, each durably and never over another file (STICK-14).

        Args:
            items: The files; their names differ.
            direction: Who is to read them.
            now: The time, for the transfer log.
            advanced: As for `place`.

        Returns:
            The containers; one, unless the files are more or larger than one may hold.

        Raises:
            MediumError: As `place` does. Containers before the one that failed lie there, whole.
            OSError: A source cannot be read or is not what was described. Nothing has the failed container's name.
        """
        sources = {item.name: item for item in items}

        def opened(member: container.Member) -> BinaryIO:
            return sources[member.name].path.open("rb")

        placed = []
        members = [container.Member(item.name, item.size, item.sha256) for item in items]
        for group in container.split(members):
            if len(group) == 1:
                item = sources[group[0].name]
                placed.append(
                    self.place(item.path, item.name, direction, now=now, digest=item.digest, advanced=advanced)
                )
                continue
            plan = container.plan(group, direction)

            def produce(write: Callable[[bytes], object], plan: container.Plan = plan) -> None:
                container.write(plan, opened, write)

            mark = plan.name.removeprefix("batch-")[:16]
            inside = [sources[member.name] for member in group]
            lines = [(plan.name, mark, plan.size)]
            lines += [(f"{plan.name}/{item.name}", item.digest or item.sha256, item.size) for item in inside]
            already = self._put(direction, plan.name, plan.size, mark[:8], produce, (), advanced, now, lines)
            placed.append(Placement(plan.name, plan.size, mark, already))
        return placed

    def _put(
        self,
        direction: Direction,
        name: str,
        size: int,
        mark: str,
        produce: Produce,
        superseded: Collection[str],
        advanced: Callable[[int], None],
        now: datetime,
        lines: Sequence[tuple[str, str, int]],
    ) -> bool:
        """Let `produce`'s bytes lie under a name, and note `lines` in the log; return whether they did before.

        The log is written before the part is read back: on a damaged file system, where two names can share one place
        on the medium, what the log overwrote would otherwise be called safe.
        """
        if self.identity is None:
            raise MediumUnprepared(name=str(self.path))
        with self._errors(needed=size):
            folder = self._folder(direction)
            known = self._compare(folder, name, size, produce)
        if known == "same":
            return self._confirm(folder, name, size, advanced)
        if known == "other" and (not superseded or self._hash(folder, name) not in superseded):
            raise NameTaken(name=name)
        part = self._adopt(folder, PartName(name, mark, self._station), size, produce)
        try:
            if part is None:
                part = str(PartName(name, mark, self._station))
                self._make_room(folder, size)
                written = self._write_part(folder, part, size, produce, advanced)
                self._log(now, direction, lines)
                with self._errors(needed=size):
                    self._read_back(folder, part, size, written, advanced)
            else:
                self._log(now, direction, lines)
                with self._errors(needed=size):
                    if self._compare(folder, part, size, produce) != "same":
                        raise _not_what_was_written()
                written = self._hash(folder, part)
                advanced(2 * size)
            with self._errors(needed=size):
                self._files.sync_folder(folder)
                if known != "none":
                    self._files.remove(folder, name)
                    self._files.sync_folder(folder)
            try:
                with self._errors(needed=size):
                    self._files.rename_new(folder, part, name)
            except NameTaken:
                # Another station shares this folder and was faster; perhaps with the very same bytes.
                with self._errors(needed=size):
                    same = self._compare(folder, name, size, produce) == "same"
                if not same:
                    raise
                with contextlib.suppress(OSError):
                    self._files.remove(folder, part)
        except BaseException:
            if part is not None:
                with contextlib.suppress(OSError):
                    self._files.remove(folder, part)
            raise
        with self._errors(needed=size):
            self._settle_name(folder, name)
        self._placed.append((folder, name, size, written))
        return False

    def _settle_name(self, folder: Folder, name: str) -> None:
        """Let a file that was renamed be durable under its new name.

        On FAT the old entry must be off the medium before the new one gets its length and place (which the second sync
        does): after a power cut between the two, both would share the content, and whoever removes one destroys both.
        """
        self._files.sync_folder(folder)
        self._files.sync_name(folder, name)
        self._files.sync_folder(folder)

    def confirm(self, direction: Direction, name: str) -> None:
        """Let a file that was found whole be durable under its name."""
        with self._errors(), _allow_read_only():
            folder = self._folder(direction)
            self._files.sync_name(folder, name)
            self._files.sync_folder(folder)

    def _confirm(self, folder: Folder, name: str, size: int, advanced: Callable[[int], None]) -> bool:
        """Let a file that lies there be durable: it may have been placed by a visit that broke off before that."""
        advanced(2 * size)
        with self._errors(), _allow_read_only():
            self._files.sync_name(folder, name)
            self._files.sync_folder(folder)
        return True

    def _compare(
        self, folder: Folder, name: str, size: int, produce: Produce
    ) -> Literal["none", "same", "beginning", "other"]:
        """Return how a file of this name relates to ours, as the medium itself has it."""
        look = self._files.look(folder, name)
        if look is None:
            return "none"
        if not look.regular:
            raise ForeignObject(name=name, reason=Text("不是普通文件", "it is no ordinary file"))
        if look.size > size:
            return "other"
        remaining = look.size

        def compare(block: bytes) -> None:
            nonlocal remaining
            wanted = block[:remaining]
            position = 0
            while position < len(wanted):
                found = there.read(len(wanted) - position)
                if not found or found != wanted[position : position + len(found)]:
                    raise _Compared("other")
                position += len(found)
            remaining -= len(wanted)
            if not remaining:
                raise _Compared("same" if look.size == size else "beginning")

        if not remaining:
            return "beginning" if size else "same"
        with self._files.open_read(folder, name, past_cache=True) as there:
            try:
                produce(compare)
            except _Compared as found:
                return found.relation
        return "other"

    def _adopt(self, folder: Folder, ours: PartName, size: int, produce: Produce) -> str | None:
        """Return a complete part with our bytes that a visit left, whoever's it was (STICK-4); a broken one of ours goes.

        It is synced before it is compared: what is adopted lies on the medium.
        """
        with self._errors(needed=size):
            # Those that lay here when the visit began, and one of this visit that could not be removed: to list the
            # folder for each of a thousand files takes longer than to write some of them.
            for name in dict.fromkeys((*self._parts_seen, str(ours))):
                part = parse_part_name(name)
                if part is None or (part.name, part.digest8) != (ours.name, ours.digest8):
                    continue
                look = self._files.look(folder, name)
                if look is None:
                    continue
                if look.regular and look.size == size:
                    self._files.sync_name(folder, name)
                    if self._compare(folder, name, size, produce) == "same":
                        return name
                if part.station == self._station:
                    self._files.remove(folder, name)
        return None

    def _hash(self, folder: Folder, name: str) -> str:
        digest = hashlib.sha256()
        with self._errors(), self._files.open_read(folder, name) as file:
            while block := file.read(_CHUNK):
                digest.update(block)
        return digest.hexdigest()

    def _make_room(self, folder: Folder, size: int) -> None:
        """Make sure that a part fits, the reserve included.

        Parts that earlier visits of ours left go first; then orphans of others, if that is enough (STICK-4).
        """
        needed = size + _RESERVE
        with self._errors(needed=size):
            if self._files.free_bytes(folder) >= needed:
                return
            self._sweep_own()
            free = self._files.free_bytes(folder)
            if free < needed and free + sum(self._parts_seen.values()) >= needed:
                # Nobody is writing them: they have not grown. Their senders have the originals.
                self._sweep(lambda part, look: self._parts_seen.get(str(part)) == look.size)
                free = self._files.free_bytes(folder)
        if free < needed:
            raise MediumFull(needed=needed, free=free)

    def _write_part(
        self, folder: Folder, part: str, size: int, produce: Produce, advanced: Callable[[int], None]
    ) -> str:
        digest, written = hashlib.sha256(), 0
        with self._errors(needed=size):
            file = self._files.create(folder, part)
        closed = False
        # What comes in pieces (a container's headers and members) is written in whole blocks: a write that begins or
        # ends elsewhere makes a slow medium read a block of its own and write it twice.
        block, filled = bytearray(_CHUNK), 0

        def out() -> None:
            nonlocal filled, written
            whole = block if filled == _CHUNK else block[:filled]
            digest.update(whole)
            with self._errors(needed=size):
                file.write(whole)
            written += filled
            advanced(filled)
            filled = 0

        def write(data: bytes) -> None:
            nonlocal filled
            at = 0
            while at < len(data):
                more = min(len(data) - at, _CHUNK - filled)
                block[filled : filled + more] = memoryview(data)[at : at + more]
                at += more
                filled += more
                if filled == _CHUNK:
                    out()

        try:
            produce(write)
            if filled:
                out()
            with self._errors(needed=size):
                self._sync_new(folder, file)
                closed = True
                file.close()
        finally:
            if not closed:
                with contextlib.suppress(OSError):
                    file.close()
        if written != size:
            raise OSError(errno.EAGAIN, "the source changed while it was copied", part)
        return digest.hexdigest()

    def _read_back(self, folder: Folder, part: str, size: int, sha256: str, advanced: Callable[[int], None]) -> None:
        digest, read = hashlib.sha256(), 0
        with self._files.open_read(folder, part, past_cache=True) as file:
            while block := file.read(_CHUNK):
                digest.update(block)
                read += len(block)
                advanced(len(block))
        if (read, digest.hexdigest()) != (size, sha256):
            raise _not_what_was_written()

    def remove(self, entry: StickFile, sha256: str) -> bool:
        """Remove a file whose next leg is proven; only if it still has exactly these bytes (STICK-10).

        Args:
            entry: From `list`.
            sha256: The SHA-256 of what was taken and proven.

        Returns:
            Whether it was removed; False if it is another file by now, or none.
        """
        if self.identity is None:
            raise MediumUnprepared(name=str(self.path))
        folder = self._folder_of(entry.place)
        with self._errors():
            look = self._files.look(folder, entry.name)
            if look is None or not look.regular or look.size != entry.size:
                return False
            if self._hash(folder, entry.name) != sha256:
                return False
            self._files.remove(folder, entry.name)
            self._files.sync_folder(folder)
        return True

    def _log(self, now: datetime, direction: Direction, lines: Sequence[tuple[str, str, int]]) -> None:
        """Add lines to the transfer log, for people. Its loss is allowed, and no error (STICK-11).

        Raises:
            MediumError: The marker's folder cannot be synced: that is not the log's loss alone.
        """
        if self._marker is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        for name, digest, size in lines:
            writer.writerow([format_time(now), self._station, direction.value, name, digest, size])
        file = None
        with contextlib.suppress(OSError):
            look = self._files.look(self._marker, LOG)
            if look is not None and (not look.regular or look.size > _MAX_LOG):
                self._files.remove(self._marker, LOG)
                look = None
            self._to_check = len(self._placed)
            data = text.getvalue().encode()
            if look is None or look.size == 0:
                data = _BOM + (",".join(_LOG_HEADER) + "\r\n").encode() + data
            file = self._files.append(self._marker, LOG, data)
        if file is not None:
            # As for a new file, what is allocated goes first; to close it would already let its entry go.
            try:
                with self._errors(), _allow_read_only():
                    self._files.sync_folder(self._marker)
                with contextlib.suppress(OSError):
                    self._files.sync_file(file)
            finally:
                with contextlib.suppress(OSError):
                    file.close()

    def _sweep_own(self) -> None:
        """Remove the parts that an earlier visit of this station left (STICK-4)."""
        self._sweep(lambda part, _look: part.station == self._station)

    def _sweep(self, unwanted: Callable[[PartName, FileLook], bool]) -> None:
        for _, folder in self._places():
            if folder is self._root:
                continue
            removed = False
            for name in self._files.names(folder, _MAX_ENTRIES):
                part = parse_part_name(name)
                look = None if part is None else self._files.look(folder, name)
                if part is not None and look is not None and look.regular and unwanted(part, look):
                    with contextlib.suppress(FileNotFoundError):
                        self._files.remove(folder, name)
                        removed = True
            if removed:
                self._files.sync_folder(folder)

    # Within --------------------------------------------------------------------------------------------------------

    def _places(self) -> Iterator[tuple[Place, Folder]]:
        for direction in Direction:
            if self._marker is not None:
                with contextlib.suppress(FileNotFoundError, ForeignObject):
                    yield direction.value, self._folder(direction, make=False)
        yield "root", self._root

    def not_folders(self) -> Sequence[ForeignObject]:
        """Return what lies in place of one of the two folders and is none: a file, a link. Nothing goes through it."""
        found = []
        with self._errors():
            for direction in Direction:
                try:
                    self._folder(direction, make=False)
                except FileNotFoundError:
                    continue
                except ForeignObject as error:
                    found.append(error)
        return found

    def _folder_of(self, place: Place) -> Folder:
        if place == "root":
            return self._root
        with self._errors():
            return self._folder(Direction(place), make=False)

    def _folder(self, direction: Direction, *, make: bool = True) -> Folder:
        known = self._folders.get(direction)
        if known is None:
            if self._marker is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), MARKER)
            try:
                if make:
                    known = self._make_folder(self._marker, direction)
                else:
                    known = self._files.open_below(self._marker, direction)
            except OSError as error:
                if error.errno not in _NO_FOLDER:
                    raise
                reason = Text("应是文件夹，却是别的东西", "it should be a folder and is something else")
                raise ForeignObject(name=f"{MARKER}/{direction}", reason=reason) from error
            self._folders[direction] = known
            for name in self._files.names(known, _MAX_ENTRIES):
                if parse_part_name(name) is not None and (look := self._files.look(known, name)) is not None:
                    self._parts_seen[name] = look.size
        return known

    def _make_folder(self, parent: Folder, name: str) -> Folder:
        """Open a folder; if there is none, make it first, durably.

        On FAT a power cut may leave the entry of a new folder and not what it points to: a folder that nobody can open
        or remove. It is therefore made under a name that is never used again, and gets its own on the medium.
        """
        if self._files.look(parent, name) is not None:
            return self._files.open_below(parent, name)
        part = str(PartName(name, secrets.token_hex(4), self._station))
        self._files.make_below(parent, part)
        made = self._files.open_below(parent, part)
        try:
            self._files.sync_folder(made)
        finally:
            self._files.close(made)
        self._files.sync_folder(parent)
        with contextlib.suppress(FileExistsError):  # another station shares this place and was faster
            self._files.rename_new(parent, part, name)
        made = self._files.open_below(parent, name)
        try:
            self._files.sync_folder(made)
            self._files.sync_folder(parent)
        except BaseException:
            self._files.close(made)
            raise
        return made

    def _sync_new(self, folder: Folder, file: BinaryIO) -> None:
        """Let a new file reach the medium, what is allocated to it before the entry that points there.

        FAT's driver writes them the other way round; after a power cut between the two it declares the whole medium
        read-only as soon as somebody removes the file. A folder's sync brings the allocation alone.
        """
        file.flush()
        self._files.sync_folder(folder)
        self._files.sync_file(file)

    def _read_identity(self) -> StickIdentity | None:
        """Return what the marker says, or None if it says nothing that can be read (STICK-2)."""
        if self._marker is None or (look := self._files.look(self._marker, IDENTITY)) is None:
            return None
        if not look.regular or look.size > _MAX_IDENTITY:
            return None
        with self._files.open_read(self._marker, IDENTITY) as file:
            data = file.read(_MAX_IDENTITY)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        values = [found.get(key) for key in ("id", "label", "made_at", "station")]
        if not all(isinstance(v, str) for v in values) or not re.fullmatch(r"[0-9a-f]{16}", str(values[0]), re.ASCII):
            return None
        number, label, made_at, station = (str(v) for v in values)
        return StickIdentity(number, _clean_label(label), _clean_label(made_at), station_tag(station))

    def _write_identity(self, identity: StickIdentity) -> None:
        assert self._marker is not None
        data = render_json({"format": "taxferry-stick/1", **vars(identity)}) + b"\n"
        part = str(PartName(IDENTITY, hashlib.sha256(data).hexdigest()[:8], self._station))
        for name in (part, IDENTITY):  # what a crash left of an earlier attempt, or an identity that does not parse
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(self._marker, name)
        with self._files.create(self._marker, part) as file:
            file.write(data)
            self._sync_new(self._marker, file)
        self._files.sync_folder(self._marker)
        self._files.rename_new(self._marker, part, IDENTITY)
        self._settle_name(self._marker, IDENTITY)
        self.identity = identity

    @contextlib.contextmanager
    def _errors(self, *, needed: int = 0) -> Iterator[None]:
        """Give the system's errors their meaning for a medium."""
        try:
            yield
        except OSError as error:
            raise self.meaning(error, needed) from error

    def meaning(self, error: OSError, needed: int = 0) -> MediumError:
        """Return what an error of the system means for a medium."""
        if error.errno in _FULL:
            free = 0
            with contextlib.suppress(OSError):
                free = self._files.free_bytes(self._root)
            return MediumFull(needed=needed, free=free)
        if error.errno in _READ_ONLY:
            return MediumReadOnly(name=str(self.path))
        if isinstance(error, FileExistsError):
            return NameTaken(name=str(error.filename2 or error.filename or "?"))
        return MediumDamaged(reason=os_reason(error))


_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP})
"""What systems answer to who opens as a folder what is a file, or a link."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def _not_what_was_written() -> MediumDamaged:
    return MediumDamaged(reason=Text("写入后读回的内容不一致", "what was read back is not what was written"))


class _Compared(Exception):
    """Two files were compared as far as that takes."""

    def __init__(self, relation: Literal["same", "beginning", "other"]) -> None:
        super().__init__(relation)
        self.relation = relation


def _produce_file(out: Outgoing, write: Callable[[bytes], object]) -> None:
    """Hand out a local file's bytes.

    Raises:
        OSError: It is not what was described (any more).
    """
    digest, size = hashlib.sha256(), 0
    with out.path.open("rb") as ours:
        # One octet more than expected is enough to see that the source grew.
        while size <= out.size and (block := ours.read(min(_CHUNK, out.size + 1 - size))):
            digest.update(block)
            size += len(block)
            write(block)
    if (size, digest.hexdigest()) != (out.size, out.sha256):
        raise OSError(errno.EAGAIN, "the source changed while it was copied", str(out.path))


@contextlib.contextmanager
def _allow_read_only() -> Iterator[None]:
    """Let a write-protected medium that already holds the right bytes be."""
    try:
        yield
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise


def _open_root(files: FilePort, path: Path) -> Folder:
    try:
        return files.open_folder(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MediumAbsent(path=str(path)) from error
    except OSError as error:
        raise MediumDamaged(reason=os_reason(error)) from error


def _clean_label(text: str) -> str:
    return "".join(c for c in " ".join(text.split()) if c.isprintable())[:40]


def _plain(name: str) -> str:
    if name in ("", ".", "..") or any(c in name for c in "/\\\0:"):
        raise ValueError(name)
    return name
