"""One visit to a stick.

Placing a file (STICK-5), in an order that was tested on real drivers, because the textbook one loses files on Linux
vfat:

    write a part → fsync → read it back past the cache and compare → fsync the folder
    → (remove a superseded file, proven older; fsync the folder) → rename without replacing
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
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Generic, Literal, Self, TypeVar

from shared import durable
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
from shared.medium.names import (
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
from shared.medium.port import LOCAL, FilePort, Folder
from shared.text import Text
from shared.text.system import os_reason

_CHUNK: Final = 1 << 20
_RESERVE: Final = 1 << 20
_MAX_ENTRIES: Final = 10_000
_MAX_FILES: Final = 2_000
_MAX_IDENTITY: Final = 4_096
_MAX_LOG: Final = 4 << 20
_BOM: Final = b"\xef\xbb\xbf"
_LOG_HEADER: Final = ("时间 time", "站点 station", "方向 direction", "文件 name", "摘要 digest", "字节 bytes")

Place = Literal["to-online", "to-offline", "root"]
T = TypeVar("T")


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
        report: Whose it claims to be; None for a trust file.
        suffix: `.dat`, `.txt`, `.ack`, or `trust.txt`.
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
class Taken(Generic[T]):
    """A file that was copied from the stick and proven.

    Attributes:
        path: The local file, durable.
        size: Its length.
        sha256: Its SHA-256, in hex.
        proof: What the caller's `prove` returned.
        already: Whether the local file was there before, with the same bytes.
    """

    path: Path
    size: int
    sha256: str
    proof: T
    already: bool


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
        self._swept = False
        self.identity = identity
        """Who the stick is, or None if it was never prepared (it can then be read only)."""

    @property
    def path(self) -> Path:
        """Where the stick is."""
        return self._root.path

    # Opening -------------------------------------------------------------------------------------------------------

    @classmethod
    def prepare(cls, path: Path, label: str, *, station: str, now: datetime, files: FilePort = LOCAL) -> Stick:
        """Make a folder a stick of ours: marker, identity, the two folders. Touches nothing else on it.

        Args:
            path: The folder; it exists.
            label: Its name for people; at most 40 characters are kept.
            station: The id of this station.
            now: The time.
            files: The file system.

        Returns:
            The open stick. One that was prepared before keeps its identity.

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
                files.make_below(root, MARKER)
                files.sync_folder(root)
                stick._marker = files.open_below(root, MARKER)
                stick.identity = stick._read_identity()
                if stick.identity is None:
                    stick._write_identity(
                        StickIdentity(
                            id=secrets.token_hex(8),
                            label=_clean_label(label) or path.name or "stick",
                            made_at=format_time(now),
                            station=stick._station,
                        )
                    )
                for direction in Direction:
                    files.make_below(stick._marker, direction)
                files.sync_folder(stick._marker)
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
        with self._errors():
            for folder in (*self._folders.values(), self._marker, self._root):
                if folder is not None:
                    with _allow_read_only():
                        self._files.sync_folder(folder)
            if self.identity is not None and self._read_identity() != self.identity:
                raise MediumDamaged(reason=Text("标记文件读不出来了", "the marker can no longer be read"))

    # Reading -------------------------------------------------------------------------------------------------------

    def list(self, *suffixes: str) -> Listing:
        """Return what lies in the two folders and in the root, one level deep (STICK-3, STICK-9).

        Args:
            suffixes: `.dat`, `.txt`, `.ack`, `trust.txt`; all of them by default.

        Returns:
            Files by their names; whether a file is what it claims is not known before it was taken and proven.
        """
        wanted = suffixes or (".dat", ".txt", ".ack", TRUST)
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
                    suffix = meaning[1] or TRUST
                    if suffix not in wanted:
                        continue
                    if len(files) >= _MAX_FILES:
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
        """Open a listed file where it lies, for a look at it; read from it no more than it was listed with."""
        with self._errors():
            file = self._files.open_read(self._folder_of(entry.place), entry.name)
        with file:
            yield file

    def take(
        self,
        entry: StickFile,
        folder: Path,
        *,
        prove: Callable[[BinaryIO], T],
        name: Callable[[T], str],
        replace: bool = False,
    ) -> Taken[T]:
        """Copy a listed file into a local folder, durably; it has its final name only after it was proven (STICK-8).

        Args:
            entry: From `list`.
            folder: A local folder; it exists. Nobody sees the copy under its final name before the proof.
            prove: Called with the local copy, open for reading at its start. Raises if it is not acceptable.
            name: The final name, from the proof.
            replace: Whether a local file of that name with other bytes may be replaced.

        Returns:
            What lies in the folder now.

        Raises:
            MediumDamaged: The stick failed or the file changed while it was read. Nothing was added.
            NameTaken: Another file has the name. Nothing was added.
            TaxferryError: Whatever `prove` raises. Nothing was added; the stick is as it was.
        """
        handle, temporary_name = tempfile.mkstemp(prefix=".take.", suffix=durable.TEMPORARY_SUFFIX, dir=folder)
        temporary = Path(temporary_name)
        try:
            with os.fdopen(handle, "wb") as local:
                size, sha256 = self._copy_out(entry, local)
                local.flush()
                os.fsync(local.fileno())
            with temporary.open("rb") as copy:
                proof = prove(copy)
            target = folder / _plain(name(proof))
            if target.exists():
                if hash_file(target) == (sha256, size):
                    temporary.unlink()
                    durable.sync_directory(folder)
                    return Taken(target, size, sha256, proof, already=True)
                if not replace:
                    raise NameTaken(name=target.name)
            durable.publish(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Taken(target, size, sha256, proof, already=False)

    def _copy_out(self, entry: StickFile, local: BinaryIO) -> tuple[int, str]:
        digest, size = hashlib.sha256(), 0
        with self._errors():
            source = self._files.open_read(self._folder_of(entry.place), entry.name)
        with source:
            while True:
                with self._errors():
                    block = source.read(min(_CHUNK, entry.size + 1 - size))
                if not block:
                    break
                size += len(block)
                if size > entry.size:
                    break
                digest.update(block)
                local.write(block)
        if size != entry.size:
            raise MediumDamaged(
                reason=Text(f"“{entry.name}”在读取时变化了", f"'{entry.name}' changed while it was read")
            )
        return size, digest.hexdigest()

    # Writing -------------------------------------------------------------------------------------------------------

    def place(
        self,
        source: Path,
        name: str,
        direction: Direction,
        *,
        now: datetime,
        digest: str = "",
        supersedes: Callable[[BinaryIO], bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Placement:
        """Put a local file on the stick under a name, durably and never over another one (STICK-5, STICK-7).

        Args:
            source: The local file; it is kept.
            name: Its final name on the stick.
            direction: Who is to read it.
            now: The time, for the transfer log.
            digest: The report digest for the log; the file's SHA-256 by default.
            supersedes: Called with a file of the same name and other content, open at its start; True means that it is
                proven older and may be removed. What is only the beginning of the new content (a copy that broke off)
                is always replaced.
            progress: Called with the bytes written and the bytes in all.

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
        if self.identity is None:
            raise MediumUnprepared(name=str(self.path))
        sha256, size = hash_file(source)
        with self._errors(needed=size):
            folder = self._folder(direction)
            self._sweep_own()
            known = self._compare(folder, name, source, size, sha256)
        if known == "same":
            with self._errors(), _allow_read_only():
                # It may have been placed by a visit that broke off before the last two steps.
                self._files.sync_name(folder, name)
                self._files.sync_folder(folder)
            return Placement(name, size, sha256, already=True)
        if known == "other":
            with self._errors():
                older = supersedes is not None and self._ask(folder, name, supersedes)
            if not older:
                raise NameTaken(name=name)
        part = str(PartName(name, sha256[:8], self._station))
        with self._errors(needed=size):
            free = self._files.free_bytes(folder)
            if free < size + _RESERVE:
                raise MediumFull(needed=size + _RESERVE, free=free)
        try:
            self._write_part(folder, part, source, size, sha256, progress)
            with self._errors(needed=size):
                self._read_back(folder, part, size, sha256)
                self._files.sync_folder(folder)
                if known != "none":
                    self._files.remove(folder, name)
                    self._files.sync_folder(folder)
                self._files.rename_new(folder, part, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self._files.remove(folder, part)
            raise
        with self._errors(needed=size):
            self._files.sync_name(folder, name)
            self._files.sync_folder(folder)
        self.log(now, direction, name, digest or sha256, size)
        return Placement(name, size, sha256, already=False)

    def _compare(
        self, folder: Folder, name: str, source: Path, size: int, sha256: str
    ) -> Literal["none", "same", "beginning", "other"]:
        """Return how a file of this name relates to ours, as the medium itself has it."""
        look = self._files.look(folder, name)
        if look is None:
            return "none"
        if not look.regular:
            raise ForeignObject(name=name, reason=Text("不是普通文件", "it is no ordinary file"))
        if look.size > size:
            return "other"
        with self._files.open_read(folder, name, past_cache=True) as there, source.open("rb") as ours:
            remaining = look.size
            while remaining:
                block = there.read(min(_CHUNK, remaining))
                if not block or block != ours.read(len(block)):
                    return "other"
                remaining -= len(block)
        return "same" if look.size == size else "beginning"

    def _ask(self, folder: Folder, name: str, supersedes: Callable[[BinaryIO], bool]) -> bool:
        with self._files.open_read(folder, name) as there:
            return supersedes(there)

    def _write_part(
        self,
        folder: Folder,
        part: str,
        source: Path,
        size: int,
        sha256: str,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        digest, written = hashlib.sha256(), 0
        with source.open("rb") as ours:
            with self._errors(needed=size):
                file = self._files.create(folder, part)
            closed = False
            try:
                # One octet more than expected is enough to see that the source grew.
                while written <= size and (block := ours.read(min(_CHUNK, size + 1 - written))):
                    digest.update(block)
                    written += len(block)
                    with self._errors(needed=size):
                        file.write(block)
                    if progress is not None:
                        progress(written, size)
                with self._errors(needed=size):
                    self._files.sync_file(file)
                    closed = True
                    file.close()
            finally:
                if not closed:
                    with contextlib.suppress(OSError):
                        file.close()
        if (written, digest.hexdigest()) != (size, sha256):
            raise OSError(errno.EAGAIN, "the source changed while it was copied", str(source))

    def _read_back(self, folder: Folder, part: str, size: int, sha256: str) -> None:
        digest, read = hashlib.sha256(), 0
        with self._files.open_read(folder, part, past_cache=True) as file:
            while block := file.read(_CHUNK):
                digest.update(block)
                read += len(block)
        if (read, digest.hexdigest()) != (size, sha256):
            raise MediumDamaged(reason=Text("写入后读回的内容不一致", "what was read back is not what was written"))

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
            digest = hashlib.sha256()
            with self._files.open_read(folder, entry.name) as file:
                while block := file.read(_CHUNK):
                    digest.update(block)
            if digest.hexdigest() != sha256:
                return False
            self._files.remove(folder, entry.name)
            self._files.sync_folder(folder)
        return True

    def log(self, now: datetime, direction: Direction, name: str, digest: str, size: int) -> None:
        """Add a line to the transfer log, for people. Its loss is allowed: no error is raised (STICK-11)."""
        if self._marker is None:
            return
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(
            [format_time(now), self._station, direction.value, name, digest, size]
        )
        with contextlib.suppress(OSError):
            look = self._files.look(self._marker, LOG)
            if look is not None and (not look.regular or look.size > _MAX_LOG):
                self._files.remove(self._marker, LOG)
                look = None
            data = line.getvalue().encode()
            if look is None or look.size == 0:
                data = _BOM + (",".join(_LOG_HEADER) + "\r\n").encode() + data
            self._files.append(self._marker, LOG, data)

    def _sweep_own(self) -> None:
        """Remove the parts that an earlier visit of this station left; those of others are theirs (STICK-4)."""
        if self._swept:
            return
        for direction in Direction:
            folder = self._folder(direction)
            for name in self._files.names(folder, _MAX_ENTRIES):
                part = parse_part_name(name)
                if part is not None and part.station == self._station:
                    with contextlib.suppress(FileNotFoundError):
                        self._files.remove(folder, name)
        self._swept = True

    # Within --------------------------------------------------------------------------------------------------------

    def _places(self) -> Iterator[tuple[Place, Folder]]:
        for direction in Direction:
            if self._marker is not None:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    yield direction.value, self._folder(direction, make=False)
        yield "root", self._root

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
            if make and self._files.look(self._marker, direction) is None:
                self._files.make_below(self._marker, direction)
                self._files.sync_folder(self._marker)
            known = self._folders[direction] = self._files.open_below(self._marker, direction)
        return known

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
        return StickIdentity(number, _clean_label(label), made_at[:40], station_tag(station))

    def _write_identity(self, identity: StickIdentity) -> None:
        assert self._marker is not None
        data = render_json({"format": "taxferry-stick/1", **vars(identity)}) + b"\n"
        part = str(PartName(IDENTITY, hashlib.sha256(data).hexdigest()[:8], self._station))
        for name in (part, IDENTITY):  # what a crash left of an earlier attempt, or an identity that does not parse
            with contextlib.suppress(FileNotFoundError):
                self._files.remove(self._marker, name)
        with self._files.create(self._marker, part) as file:
            file.write(data)
            self._files.sync_file(file)
        self._files.sync_folder(self._marker)
        self._files.rename_new(self._marker, part, IDENTITY)
        self._files.sync_name(self._marker, IDENTITY)
        self._files.sync_folder(self._marker)
        self.identity = identity

    @contextlib.contextmanager
    def _errors(self, *, needed: int = 0) -> Iterator[None]:
        """Give the system's errors their meaning for a medium."""
        try:
            yield
        except OSError as error:
            raise self._meaning(error, needed) from error

    def _meaning(self, error: OSError, needed: int) -> MediumError:
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


_FULL: Final = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


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
