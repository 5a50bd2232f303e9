"""Ordinary files that somebody else left: opened without following links or waiting for pipes, and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_NEVER_WAIT: Final = (
    getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_CHUNK: Final = 1 << 20


def open_ordinary(path: Path | str, *, follow: bool = False, within: int | None = None) -> BinaryIO:
    """Open an ordinary file for reading: never a pipe or a device, and a link only if a person named it.

    Args:
        path: The file.
        follow: Whether a link may lead to it.
        within: Handle of the folder to which `path` is relative.

    Raises:
        OSError: It is gone, may not be read, or is no ordinary file. Nothing is open.
    """
    handle = os.open(path, os.O_RDONLY | _NEVER_WAIT | (0 if follow else _NOFOLLOW), dir_fd=within)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def hash_file(path: Path) -> tuple[str, int]:
    """Return SHA-256 (hex) and size of a file, in bounded memory."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size
