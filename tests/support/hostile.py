"""What a stick may hold that nobody of ours put there, and the proof that none of it was opened or changed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LONG_AGO = 1_000_000_000
"""A time of last reading: with `relatime`, too, one reading moves it."""


@dataclass(frozen=True)
class Trap:
    """How to make something that is no ordinary file."""

    name: str
    make: Callable[[Path, Path], object]


def _device(path: Path, _outside: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: whoever reads it never ends


def _socket(path: Path, _outside: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    here = os.open(path.parent, os.O_RDONLY)
    try:
        made.bind(f"/proc/self/fd/{here}/{path.name}")  # a socket's path is short; a test's folder is not
    finally:
        os.close(here)
        made.close()


TRAPS = (
    Trap("link to a file outside", lambda path, outside: path.symlink_to(outside)),
    Trap("link to a folder", lambda path, outside: path.symlink_to(outside.parent)),
    Trap("link to itself", lambda path, _: path.symlink_to(path.name)),
    Trap("dangling link", lambda path, _: path.symlink_to("/nowhere/at/all")),
    Trap("pipe", lambda path, _: os.mkfifo(path)),
    Trap("socket", _socket),
    Trap("device", _device),
    Trap("folder", lambda path, _: path.mkdir()),
)


def set_traps(folder: Path, names: list[str], outside: Path) -> list[str]:
    """Put one trap of each kind under each of `names`; return the names that were used."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("platform: there are no pipes in folders here")
    used = []
    for trap, name in zip(TRAPS, names, strict=True):
        if trap.name == "device" and os.geteuid() != 0:
            continue
        trap.make(folder / name, outside)
        used.append(name)
    return used


ODDITIES = (
    "autorun.inf",
    "desktop.ini",
    "报税.lnk",
    "\u202etad.0_000000000000013",
    "two\nlines.dat",
    "CON",
    "nul.txt",
    "trailing dots...",
    "trailing blank ",
    "-rf",
    "$(reboot).dat",
    "\x1b[2J.txt",
    "a" * 250,
    "é",
    "e\u0301",
)
"""Names that are none of ours, whatever a shell or Explorer makes of them."""


def scatter(folder: Path) -> None:
    """Put everything into a folder that is none of ours."""
    for name in ODDITIES:
        (folder / name).write_bytes(b"MZ, not for you")
    with open(os.fsencode(folder) + b"/\xff\xfe\xb1\xa8.dat", "wb") as file:
        file.write(b"not for you")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/etc/passwd")
    deep = folder / "deep"
    for _ in range(60):
        deep.mkdir()
        deep = deep / "d"
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            os.utime(path, (LONG_AGO, LONG_AGO))


def snapshot(folder: Path) -> dict[str, Any]:
    """Return everything below a folder as it is, without reading anything; times of last reading are part of it."""
    found: dict[str, Any] = {}
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(where, name)
            status = os.lstat(path)
            read = None if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode) else status.st_atime_ns
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else None
            found[path] = (
                status.st_mode,
                status.st_ino,
                status.st_nlink,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                read,
                target,
            )
    return found
