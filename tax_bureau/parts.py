"""Uploads in parts (GW-30 to GW-39): what has arrived of a large report, kept so that neither side sends it twice.

spool/parts/TAXPAYER-DIGEST.bin     the octets that arrived
spool/parts/TAXPAYER-DIGEST.json    how many of them count; replaced durably after every part

The second file alone says what counts. Octets behind its offset are a part whose writing was cut short: nobody was told
that they arrived, and the next part is written over them. An upload belongs to the taxpayer whose key sends it: nobody
can stand in the way of another taxpayer's report by beginning it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from shared.durable import TEMPORARY_SUFFIX, write_durably
from shared.envelope.seal import MAX_FILE_BYTES
from tax_bureau.spool import Arrival

try:
    import fcntl
except ImportError:  # pragma: no cover  Windows
    fcntl = None  # type: ignore[assignment]

MAX_PART_BYTES: Final = 8 << 20
MAX_OPEN: Final = 16
"""Uploads that one taxpayer may have under way."""
FORGOTTEN_SECONDS: Final = 7 * 86400
"""Without a new part for that long, an upload is gone."""
GIVES_WAY_SECONDS: Final = 3600
"""Without a new part for that long, an upload gives way to another file of the same report."""
_RANGE: Final = re.compile(r"bytes ([0-9]{1,12})-([0-9]{1,12})/([0-9]{1,12})", re.ASCII)
_SWEEP_SECONDS: Final = 3600.0
_STALE_SECONDS: Final = 86400
_CHUNK: Final = 1 << 20


class TooManyUploads(Exception):
    """The taxpayer has as many uploads under way as it may."""


@dataclass(frozen=True)
class Part:
    """What a request says about the part that it brings.

    Attributes:
        first: Position of its first octet in the file.
        last: Position of its last octet.
        total: Size of the file.
        sha256: Of the part.
        whole_sha256: Of the file.
    """

    first: int
    last: int
    total: int
    sha256: bytes
    whole_sha256: bytes

    @property
    def size(self) -> int:
        """How many octets it has."""
        return self.last - self.first + 1

    @property
    def is_last(self) -> bool:
        """Whether the file ends with it."""
        return self.last + 1 == self.total


def parse_range(value: str) -> tuple[int, int, int] | None:
    """Return first, last and total of a `Content-Range`, or None if it is none of an upload."""
    match = _RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, total = (int(number) for number in match.groups())
    return (first, last, total) if first <= last < total else None


@dataclass(frozen=True)
class Partial:
    """An upload under way.

    Attributes:
        taxpayer_id: Whose key sends it.
        digest: The report that it is said to be.
        total: Size of the file.
        whole_sha256: Of the file, in hex.
        offset: How many octets count.
        touched: When the last part came, in POSIX seconds.
    """

    taxpayer_id: str
    digest: str
    total: int
    whole_sha256: str
    offset: int
    touched: float

    def is_of(self, part: Part) -> bool:
        """Return whether the part is of this very file."""
        return (self.total, self.whole_sha256) == (part.total, part.whole_sha256.hex())


class Parts:
    """The folder of uploads under way. Whoever changes an upload holds its lock, against threads and other processes.

    Where the system has no such locks between processes (Windows), one process works in it.
    """

    def __init__(self, folder: Path, locks: Path) -> None:
        """Use `folder` for the uploads and `locks` for what processes lock, making them if they are not there."""
        self._folder = folder
        self._lock_folder = locks
        for path in (folder, locks):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._guard = threading.Lock()
        self._locks: weakref.WeakValueDictionary[tuple[str, str], threading.Lock] = weakref.WeakValueDictionary()
        self._swept = 0.0

    @contextmanager
    def locked(self, taxpayer_id: str, digest: str) -> Iterator[None]:
        """Let nobody else change this upload meanwhile."""
        with self._guard:
            lock = self._locks.setdefault((taxpayer_id, digest), threading.Lock())
        with lock, self._locked_to_others(digest):
            yield

    @contextmanager
    def _locked_to_others(self, digest: str) -> Iterator[None]:
        if fcntl is None:  # pragma: no cover
            yield
            return
        # A few files that stay, each for many uploads: one that is removed might be locked by somebody at that moment.
        with open(self._lock_folder / f"upload-{digest[:1]}", "ab") as handle:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX)
            yield

    def find(self, taxpayer_id: str, digest: str, now: float) -> Partial | None:
        """Return an upload that is under way; None if there is none, or it is forgotten."""
        partial = self._read(self._note(taxpayer_id, digest))
        return None if partial is None or partial.touched + FORGOTTEN_SECONDS < now else partial

    def begin(self, taxpayer_id: str, digest: str, part: Part, now: float) -> Partial:
        """Begin an upload, of which nothing counts yet.

        Raises:
            TooManyUploads: The taxpayer may not begin another one.
        """
        partial = Partial(taxpayer_id, digest, part.total, part.whole_sha256.hex(), 0, now)
        with self._guard:
            if sum(1 for _ in self._folder.glob(f"{taxpayer_id}-*.json")) >= MAX_OPEN:
                raise TooManyUploads
            self.data(partial).unlink(missing_ok=True)
            self._keep(partial)
        return partial

    def append(self, partial: Partial, part: Part, path: Path, now: float) -> Partial:
        """Write the part that begins at the offset; on return it survives a power cut.

        The last part is written and does not count (GW-33): what counts then is the whole file's proof.

        Args:
            partial: The upload.
            part: What the part is; its digest was compared with its octets.
            path: Where its octets lie.
            now: POSIX seconds.

        Raises:
            OSError: It could not be written, and does not count.
        """
        assert part.first == partial.offset, "parts come in order"
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(self.data(partial), flags, 0o600), "r+b") as file, path.open("rb") as source:
            file.truncate(partial.offset)
            file.seek(partial.offset)
            shutil.copyfileobj(source, file, _CHUNK)
            file.flush()
            os.fsync(file.fileno())
        longer = replace(partial, offset=part.last + 1, touched=now)
        if not part.is_last:
            self._keep(longer)
        return longer

    def holds(self, partial: Partial, part: Part) -> bool:
        """Return whether the part, octet by octet, is among what counts already."""
        if part.last >= partial.offset:
            return False
        found = hashlib.sha256()
        left = part.size
        try:
            with self.data(partial).open("rb") as file:
                file.seek(part.first)
                while left and (data := file.read(min(left, _CHUNK))):
                    found.update(data)
                    left -= len(data)
        except FileNotFoundError:
            return False
        return not left and found.digest() == part.sha256

    def whole(self, partial: Partial) -> Arrival:
        """Return the file of an upload whose last part was written."""
        path = self.data(partial)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
            return Arrival(path, file.tell(), sha256)

    def data(self, partial: Partial) -> Path:
        """Return where an upload's octets lie."""
        return self._folder / f"{partial.taxpayer_id}-{partial.digest}.bin"

    def has_data(self, partial: Partial) -> bool:
        """Return whether all that counts is there: the file leaves when it is accepted, just before that is committed."""
        try:
            return self.data(partial).stat().st_size >= partial.offset
        except FileNotFoundError:
            return partial.offset == 0

    def discard(self, taxpayer_id: str, digest: str) -> None:
        """Forget an upload; harmless if there is none."""
        note = self._note(taxpayer_id, digest)
        # The note last: whatever lies here has one, so that it is found again.
        note.with_suffix(".bin").unlink(missing_ok=True)
        note.unlink(missing_ok=True)

    def sweep(self, now: float, on_file: Callable[[str], bool], *, at_start: bool = False) -> int:
        """Forget uploads that nobody goes on with; return how many. Of a report that is on file, none is waited for long.

        Args:
            now: POSIX seconds.
            on_file: Tells whether a report of that digest is on file.
            at_start: Remove also what a crash left half written; otherwise this looks only once in an hour.
        """
        if at_start:
            self._sweep_temporary(now)
        elif 0 <= now - self._swept < _SWEEP_SECONDS:
            return 0
        self._swept = now
        removed = 0
        for note in self._folder.glob("*.json"):
            taxpayer_id, _, digest = note.stem.partition("-")
            with self.locked(taxpayer_id, digest):
                partial = self._read(note)
                idle = None if partial is None else now - partial.touched
                if idle is None or idle > FORGOTTEN_SECONDS or (idle > GIVES_WAY_SECONDS and on_file(digest)):
                    self.discard(taxpayer_id, digest)
                    removed += 1
        return removed

    def _sweep_temporary(self, now: float) -> None:
        """Remove what was left half written, if it is a day old: a younger file may be another process's."""
        for path in self._folder.glob(f".*{TEMPORARY_SUFFIX}"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - _STALE_SECONDS:
                    path.unlink()

    def _note(self, taxpayer_id: str, digest: str) -> Path:
        return self._folder / f"{taxpayer_id}-{digest}.json"

    def _keep(self, partial: Partial) -> None:
        note = self._note(partial.taxpayer_id, partial.digest)
        write_durably(note, json.dumps(asdict(partial)).encode())

    def _read(self, note: Path) -> Partial | None:
        try:
            partial = Partial(**json.loads(note.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None  # one that does not parse is as good as none: the upload begins anew
        sound = 0 <= partial.offset < partial.total <= MAX_FILE_BYTES
        return partial if sound and note == self._note(partial.taxpayer_id, partial.digest) else None
