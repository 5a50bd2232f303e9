"""Write a file so that a crash leaves either the old file or the new one.

For the station's own disk. Removable media need more (the file is synced again under its final name, and read back):
see `shared.medium`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sqlite3
from pathlib import Path
from typing import Final

TEMPORARY_SUFFIX: Final = ".taxferry-tmp"


def write_durably(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` with `data`; on return the change survives a power cut.

    Args:
        path: Final name. Its directory exists.
        data: Whole content.
        mode: Permission bits, set before the first byte is written.

    Raises:
        OSError: The old content is in place and the temporary file is gone; or, if only the directory could not be
            synced, the new content is in place and may not survive a power cut.
    """
    temporary = temporary_beside(path)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def temporary_beside(path: Path) -> Path:
    """Return a fresh temporary name in the directory of `path`, of the kind that `sweep` removes."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def publish(temporary: Path, path: Path) -> None:
    """Give a complete temporary file its final name, durably, replacing what was there.

    Args:
        temporary: A closed file on the same file system.
        path: Its final name.

    Raises:
        OSError: Nothing has the final name that had it not before.
    """
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def copy_durably(source: Path, path: Path, *, mode: int = 0o600) -> None:
    """Copy `source` to `path` as `write_durably` would, in bounded memory."""
    temporary = temporary_beside(path)
    try:
        with source.open("rb") as reader:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
            with os.fdopen(handle, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
                writer.flush()
                os.fsync(writer.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def move_durably(source: Path, path: Path, *, mode: int = 0o600) -> None:
    """Give a complete file of ours its final name, replacing what was there, also across file systems.

    Raises:
        OSError: Nothing has the final name that had it not before; `source` is where it was, or in both places.
    """
    with contextlib.suppress(OSError):
        os.chmod(source, mode)
    try:
        publish(source, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_durably(source, path, mode=mode)
        source.unlink()


def sync_directory(directory: Path) -> None:
    """Make a rename inside `directory` durable, where the system can."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def sweep(directory: Path) -> int:
    """Remove the temporary files that a crash left in `directory`; return how many there were.

    Only to be called by the one process that holds the directory's lock.
    """
    stale = list(directory.glob(f".*{TEMPORARY_SUFFIX}")) if directory.is_dir() else []
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether a database's file itself is damaged or no database: not busy, not full, not out of reach."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # an extended code keeps its primary one in the low octet
    return primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
