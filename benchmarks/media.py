"""Media to write to: a plain folder, file systems in image files, and a slow stick in software.

A medium that this machine cannot make is `Absent` and says why; the others are measured without it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

LONGEST = 60
"""Seconds that making or unmounting a medium may take."""


class Absent(Exception):
    """This machine cannot make the medium; the text says why."""


@dataclass(frozen=True)
class Medium:
    """A kind of medium.

    Attributes:
        name: How it is called.
        words: What it is.
        mounted: Makes one that holds a number of bytes, in a folder for its image; gives the folder to write to.
        slow: Whether a gigabyte takes minutes on it.
    """

    name: str
    words: str
    mounted: Callable[[Path, int], AbstractContextManager[Path]]
    slow: bool = False


def need(*tools: str) -> None:
    """Give up a medium for want of a tool."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise Absent(f"{tool} is not installed")


def _run(*words: str | Path) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode != 0:
        raise Absent(f"{words[0]}: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout.strip()


def _need_root() -> None:
    if sys.platform != "linux":
        raise Absent("file systems in image files are mounted on Linux only")
    if os.geteuid() != 0:
        raise Absent("only root can mount an image")


def _until(seen: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONGEST
    while not seen():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Absent("nbdfuse did not come up")
        time.sleep(0.02)


@contextmanager
def _loop(file: Path) -> Iterator[str]:
    """Make a file a block device, past the cache of the file: what is read back has to come from below."""
    device = _run("losetup", "--find", "--show", "--direct-io=on", file)
    try:
        yield device
    finally:
        _run("losetup", "--detach", device)


@contextmanager
def _mounted(folder: Path, *words: str | Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    _run(*words, folder)
    try:
        yield folder
    finally:
        _unmount(folder)


def _unmount(folder: Path) -> None:
    """Unmount; whoever looks through all mounts of this machine may hold one for a moment."""
    deadline = time.monotonic() + LONGEST / 6
    while True:
        try:
            _run("umount", folder)
            return
        except Absent:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _image(where: Path, size: int) -> Path:
    image = where / "image"
    with image.open("wb") as file:
        file.truncate(size + size // 4 + (64 << 20))
    return image


@contextmanager
def plain(where: Path, _size: int) -> Iterator[Path]:
    """Give a folder of this machine's disk."""
    folder = where / "folder"
    folder.mkdir()
    yield folder


@contextmanager
def ext4(where: Path, size: int) -> Iterator[Path]:
    """Give a small ext4, as a stick that was formatted on Linux has it."""
    _need_root()
    need("losetup", "mkfs.ext4", "mount")
    with ExitStack() as stack:
        device = stack.enter_context(_loop(_image(where, size)))
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        yield stack.enter_context(_mounted(where / "mnt", "mount", device))


@contextmanager
def _exfat(where: Path, device: str) -> Iterator[Path]:
    _run("mkfs.exfat", device)
    with _mounted(where / "mnt", "mount.exfat-fuse", device) as folder:
        yield folder


@contextmanager
def exfat(where: Path, size: int) -> Iterator[Path]:
    """Give an exFAT by its user-space driver, on a device as fast as this machine's disk."""
    _need_root()
    need("losetup", "mkfs.exfat", "mount.exfat-fuse")
    with _loop(_image(where, size)) as device, _exfat(where, device) as folder:
        yield folder


@contextmanager
def _emulated(where: Path, size: int, *filters: str) -> Iterator[Path]:
    """Give an exFAT on a device whose speed is limited by nbdkit."""
    _need_root()
    need("nbdkit", "nbdfuse", "losetup", "mkfs.exfat", "mount.exfat-fuse")
    holder, pidfile = where / "nbd", where / "nbd.pid"
    holder.mkdir(exist_ok=True)
    names = [f"--filter={word}" for word in filters if "=" not in word]
    settings = [word for word in filters if "=" in word]
    server = ["nbdkit", *names, "memory", str(size + size // 4 + (64 << 20)), *settings]
    process = subprocess.Popen(
        ["nbdfuse", "--pidfile", str(pidfile), str(holder), "[", *server, "]"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until(pidfile.exists, process)
        with _loop(holder / "nbd") as device, _exfat(where, device) as folder:
            yield folder
    finally:
        with contextlib.suppress(Absent):
            _unmount(holder)  # nbdfuse ends with its mount, and nbdkit with nbdfuse
        try:
            process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def slow(where: Path, size: int) -> Iterator[Path]:
    """Give a stick that reads and writes 20 MB/s and takes 2 ms to begin a write.

    A filter of nbdkit lets what was not used pile up for two seconds unless told otherwise: 40 MB that cost nothing.
    """
    with _emulated(where, size, "rate", "delay", "rate=160M", "burstiness=0.1", "delay-write=2ms") as folder:
        yield folder


@contextmanager
def uneven(where: Path, size: int) -> Iterator[Path]:
    """Give a stick that writes 20 MB/s and reads several times faster, as flash memory does.

    Reads are served by a cache above the filter that limits the rate; 1 ms for each keeps them from being free.
    """
    limits = ("delay", "cache", "rate", "rate=160M", "burstiness=0.1", "cache=writethrough")
    with _emulated(where, size, *limits, "delay-write=2ms", "delay-read=1ms") as folder:
        yield folder


MEDIA = (
    Medium("folder", "a folder on this machine's disk", plain),
    Medium("ext4", "ext4 on a loop device", ext4),
    Medium("exfat", "exFAT (FUSE) on a loop device", exfat),
    Medium("slow", "exFAT (FUSE) on an emulated stick, 20 MB/s both ways, 2 ms a write", slow, slow=True),
    Medium("uneven", "exFAT (FUSE) on an emulated stick, writes 20 MB/s, 2 ms a write, reads 1 ms", uneven, slow=True),
)
