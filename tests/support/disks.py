"""Real file systems on disks that are files: made, mounted, recorded, made to fail, pulled out. Needs root.

A `Disk` is an image and a place where it is mounted. Whatever happens in its `with` block, at the end nothing is mounted
and no loop device is taken.
"""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.medium import LOCAL
from tests.support.fuse_daemon import mounted

Kind = Literal["ext4", "exfat-fuse", "ntfs-3g"]

SIZE = 16 << 20
_SECONDS = 30
_MAKE: dict[Kind, list[str]] = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "exfat-fuse": ["mkfs.exfat"],
    "ntfs-3g": ["mkfs.ntfs", "-F", "-Q", "-q"],
}
_MOUNT: dict[Kind, list[str]] = {"ext4": ["mount"], "exfat-fuse": ["mount.exfat-fuse"], "ntfs-3g": ["ntfs-3g"]}


class Unmountable(Exception):
    """The driver does not mount this image."""


def run(*words: object) -> str:
    """Run a program that must succeed; return its output."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}")
    return done.stdout


def fails(*words: object) -> bool:
    """Run a program; return whether it failed."""
    return subprocess.run([str(w) for w in words], capture_output=True, timeout=_SECONDS, check=False).returncode != 0


@contextlib.contextmanager
def loop(image: Path) -> Iterator[Path]:
    """Make an image a block device."""
    device = Path(run("losetup", "-f", "--show", image).strip())
    try:
        yield device
    finally:
        fails("losetup", "-d", device)


def unmount(place: Path) -> None:
    """Unmount; if somebody is still in there, let the name go at least."""
    for _ in range(20):
        if not os.path.ismount(place) or not fails("umount", place):
            return
        time.sleep(0.05)
    fails("umount", "-l", place)


@dataclass
class Disk:
    """A file system in a file.

    Attributes:
        kind: By which driver.
        image: The file.
        path: Where it is mounted.
        device: The block device, while there is one.
    """

    kind: Kind
    image: Path
    path: Path
    device: Path | None = None

    @classmethod
    @contextlib.contextmanager
    def made(cls, folder: Path, kind: Kind, *, image: Path | None = None, size: int = SIZE) -> Iterator[Disk]:
        """Make a file system below a folder, or in the image given."""
        path = folder / "mounted"
        path.mkdir(exist_ok=True)
        if image is None:
            image = folder / "disk.img"
            with image.open("wb") as file:
                file.truncate(size)
        disk = cls(kind, image, path)
        with disk.attached() as device:
            run(*_MAKE[kind], device)
        yield disk

    @contextlib.contextmanager
    def attached(self) -> Iterator[Path]:
        """Have the image as a block device."""
        with loop(self.image) as device:
            self.device = device
            try:
                yield device
            finally:
                self.device = None

    @contextlib.contextmanager
    def mounted(self, *options: str) -> Iterator[Path]:
        """Mount; unmount at the end.

        Raises:
            Unmountable: The driver does not want it.
        """
        with self.attached() as device:
            words = [*_MOUNT[self.kind], device, self.path, *(w for o in options for w in ("-o", o))]
            # The driver's daemon inherits no pipes of ours: they would never end.
            done = subprocess.run(
                [str(w) for w in words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
            if done.returncode or not os.path.ismount(self.path):
                raise Unmountable(self.kind)
            try:
                yield self.path
            finally:
                unmount(self.path)

    def copy(self, folder: Path, content: bytes) -> Disk:
        """Return another disk of this kind with this content."""
        folder.mkdir(exist_ok=True)
        (folder / "mounted").mkdir(exist_ok=True)
        (folder / "disk.img").write_bytes(content)
        return Disk(self.kind, folder / "disk.img", folder / "mounted")


class Hooked:
    """The machine's own file operations; before each, a hook is told its number and name."""

    def __init__(self, hook: Callable[[int, str], None]) -> None:
        self._hook, self.count = hook, 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(LOCAL, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            self._hook(self.count, name)
            return method(*arguments, **named)

        return call


# A disk that remembers every write


@dataclass(frozen=True)
class Event:
    """A write to a disk, or a flush (then there is no data)."""

    offset: int
    data: bytes | None


class Recorder:
    """The test's end of a recording disk.

    Attributes:
        image: The file that is the disk.
    """

    def __init__(self, ask: Callable[..., Any], image: Path) -> None:
        self._ask, self.image = ask, image

    def begin(self) -> bytes:
        """Forget what was; return the disk as it is."""
        return base64.b64decode(self._ask("begin"))

    def count(self) -> int:
        """Return how many events there were since."""
        return int(self._ask("count"))

    def events(self) -> list[Event]:
        """Return them."""
        return [Event(at, None if data is None else base64.b64decode(data)) for at, data in self._ask("events")]


@contextlib.contextmanager
def recorder(folder: Path, size: int = SIZE) -> Iterator[Recorder]:
    """Have a disk that records."""
    with mounted("tests.support.recording_disk", folder / "recorder", size) as daemon:
        yield Recorder(daemon.ask, daemon.path / "disk")


# A disk that fails on command


@dataclass
class NetworkDisk:
    """A disk behind a server that can be told to fail, or killed.

    Attributes:
        image: The file that is the disk.
        store: The file that it is made of; still there when the server is not.
    """

    image: Path
    store: Path
    server: subprocess.Popen[bytes]
    _switches: dict[str, Path]

    def fail(self, *what: Literal["read", "write"]) -> None:
        """Have every such request answered by an error from now on; all others succeed."""
        for name, switch in self._switches.items():
            switch.touch() if name in what else switch.unlink(missing_ok=True)

    def pull(self) -> None:
        """Be gone."""
        self.server.send_signal(signal.SIGKILL)
        self.server.wait(_SECONDS)


@contextlib.contextmanager
def network_disk(folder: Path, size: int = SIZE) -> Iterator[NetworkDisk]:
    """Start the server and make its disk a file (nbdkit, nbdfuse)."""
    folder.mkdir(exist_ok=True)
    store, socket, place = folder / "store.img", folder / "nbd", folder / "network"
    place.mkdir(exist_ok=True)
    socket.unlink(missing_ok=True)
    with store.open("wb") as file:
        file.truncate(size)
    switches = {"read": folder / "fail-read", "write": folder / "fail-write"}
    options = [f"error-p{n}-{w}" for n, s in switches.items() for w in ("rate=100%", f"file={s}")]
    ready = folder / "nbdkit.pid"
    ready.unlink(missing_ok=True)
    words = ["nbdkit", "-f", "-P", ready, "-U", socket, "--filter=error", "file", store, "error=EIO", *options]
    fuse = None
    with (folder / "servers.log").open("wb") as said:
        server = subprocess.Popen([str(w) for w in words], stdout=said, stderr=said)
    try:
        # Its socket is there a moment before it listens, and a client that comes then is sent away; this is not.
        _wait(ready.exists, server, said.name)
        fuse = _fused(place, socket, said.name)
        yield NetworkDisk(place / "nbd", store, server, switches)
    finally:
        unmount(place)
        for process in (fuse, server):
            if process is not None:
                process.kill()
                process.wait(_SECONDS)
        if os.path.ismount(place):
            fails("umount", "-l", place)


def _fused(place: Path, socket: Path, log: str) -> subprocess.Popen[bytes]:
    """Start nbdfuse. The kernel now and then refuses a mount while a dead one goes away: nothing was tested then."""
    for attempts_left in (2, 1, 0):
        with open(log, "ab") as said:
            fuse = subprocess.Popen(["nbdfuse", str(place), "--unix", str(socket)], stdout=said, stderr=said)
        try:
            _wait(lambda: os.path.ismount(place), fuse, log)
            return fuse
        except OSError:
            fuse.kill()
            fuse.wait(_SECONDS)
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: str) -> None:
    last = time.monotonic() + _SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > last:
            said = Path(log).read_text(errors="replace").strip()
            raise OSError(f"{process.args!r} does not start: {said}")
        time.sleep(0.01)
