"""A disk, as one file of a FUSE file system, that remembers every write and every flush in their order."""

from __future__ import annotations

import base64
import errno
import os
import stat
import sys
from typing import Any

from tests.support.fuse_daemon import serve


class RecordingDisk:
    """The operations of the file system; `disk` is its only file."""

    use_ns = True

    def __init__(self, size: int) -> None:
        self.disk = bytearray(size)
        self.events: list[tuple[int, bytes | None]] = []

    def obey(self, told: dict[str, Any]) -> object:
        command = told["command"]
        if command == "begin":
            self.events.clear()
            return base64.b64encode(self.disk).decode()
        if command == "count":
            return len(self.events)
        assert command == "events"
        return [(at, None if data is None else base64.b64encode(data).decode()) for at, data in self.events]

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
        if path == "/disk":
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": len(self.disk)}
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", "disk"]

    def open(self, path: str, flags: int) -> int:
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.disk[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self.disk[offset : offset + len(data)] = data
        self.events.append((offset, data))
        return len(data)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self.events.append((0, None))
        return 0

    def flush(self, path: str, fh: int) -> int:
        return 0


if __name__ == "__main__":
    made = RecordingDisk(int(sys.argv[2]))
    serve(made, sys.argv[1], made.obey, fsname="recording-disk")
