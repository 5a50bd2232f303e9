"""Received files: streamed to disk within a limit, made durable, and only then given their name.

spool/incoming/   uploads under way; worthless after a crash
spool/parts/      uploads in parts, which go on after a crash (see `parts`)
spool/reports/    accepted reports, named by their digest
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from shared.durable import sync_directory

_STALE_SECONDS: Final = 86400


class TooLarge(Exception):
    """An upload beyond the limit. What had arrived is gone."""


@dataclass(frozen=True)
class Arrival:
    """A complete upload that nobody has decided about yet.

    Attributes:
        path: Where it lies; synced, unless it is but a part.
        size_bytes: Its size.
        sha256: Its hash.
    """

    path: Path
    size_bytes: int
    sha256: bytes


class Upload:
    """One file on its way in."""

    def __init__(self, path: Path, limit: int) -> None:
        """Begin to write at `path`, at most `limit` bytes."""
        self._path = path
        self._limit = limit
        self._hash = hashlib.sha256()
        self._size = 0
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, data: bytes) -> None:
        """Take the next octets.

        Raises:
            TooLarge: Beyond the limit.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise TooLarge
        self._hash.update(data)
        self._file.write(data)

    def finish(self, *, durable: bool = True) -> Arrival:
        """Return the complete file, made durable unless it will be copied anyway."""
        self._file.flush()
        if durable:
            os.fsync(self._file.fileno())
        self._file.close()
        return Arrival(self._path, self._size, self._hash.digest())

    def abandon(self) -> None:
        """Remove what arrived; harmless after the file was accepted."""
        self._file.close()
        self._path.unlink(missing_ok=True)


class Spool:
    """The folder of received files."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, making it if it is not there."""
        self._incoming = folder / "incoming"
        self._reports = folder / "reports"
        for path in (self._incoming, self._reports):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, limit: int) -> Upload:
        """Begin to receive a file of at most `limit` bytes."""
        return Upload(self._incoming / f"{secrets.token_hex(16)}.part", limit)

    def accept(self, arrival: Arrival, digest: str) -> None:
        """Give a file its name; on return that survives a power cut."""
        os.replace(arrival.path, self.path(digest))
        sync_directory(self._reports)

    def give_back(self, digest: str, size_bytes: int, path: Path) -> bool:
        """Take the name from a file that was accepted when the rest of the acceptance failed; return whether there was one.

        Only inside a write transaction that shows that no such report is on file.
        """
        named = self.path(digest)
        if not named.exists() or named.stat().st_size != size_bytes:
            return False
        os.replace(named, path)
        return True

    def path(self, digest: str) -> Path:
        """Return where the report of that digest lies."""
        return self._reports / f"{digest}.dat"

    def sweep(self, now: float, on_file: Callable[[str], bool]) -> int:
        """Remove what crashes left behind; return how many files.

        Only files that are a day old: a younger one may be another process's work. Nobody holds a receipt for any.

        Args:
            now: POSIX seconds.
            on_file: Tells whether a report of that digest is on file.
        """
        stale = [*self._incoming.glob("*.part"), *(p for p in self._reports.glob("*.dat") if not on_file(p.stem))]
        removed = 0
        for path in stale:
            try:
                if path.stat().st_mtime < now - _STALE_SECONDS:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue
        return removed
