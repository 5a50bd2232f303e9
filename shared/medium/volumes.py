"""What is mounted on this machine, and waiting until that changes.

psutil lists the mounts; the system's own are left out, the rest is described. Whether one of them is ours says only the
marker on it (`find.py`): whether a medium is removable cannot be told for certain, so it is a hint for people.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self


@dataclass(frozen=True)
class Volume:
    r"""A mounted file system that is not the machine's own.

    Attributes:
        path: Where it is mounted.
        device: What is mounted: `/dev/sdb1`, `E:\`.
        fstype: The file system, as the machine calls it.
        read_only: Whether it is mounted so that nobody can write.
        total_bytes: Its size; 0 if it could not be asked.
        serial: The file system's UUID, or the volume serial of Windows; `""` if unknown.
        removable: Whether it looks like something that a person plugs in. A hint: some USB disks do not say so.
    """

    path: Path
    device: str
    fstype: str
    read_only: bool = False
    total_bytes: int = 0
    serial: str = ""
    removable: bool = False


class Partition(Protocol):
    """A line of the system's table of mounts, as psutil gives it."""

    @property
    def device(self) -> str:
        """What is mounted."""
        ...

    @property
    def mountpoint(self) -> str:
        """Where."""
        ...

    @property
    def fstype(self) -> str:
        """The file system; empty for a Windows drive without a medium."""
        ...

    @property
    def opts(self) -> str:
        """How it is mounted, separated by commas."""
        ...


def system_partitions() -> Iterable[Partition]:
    """Return what psutil sees: file systems on devices, no pseudo file systems and no network shares."""
    import psutil  # 20 ms, which a verb without a stick does not pay

    return psutil.disk_partitions(all=False)


_PATIENCE: Final = 5.0
_asking: Final = threading.Lock()


def mounted_volumes(
    *,
    partitions: Callable[[], Iterable[Partition]] = system_partitions,
    platform: str = sys.platform,
    sys_folder: Path = Path("/sys"),
    by_uuid: Path = Path("/dev/disk/by-uuid"),
    patience: float = _PATIENCE,
) -> list[Volume]:
    """Return the mounted volumes that are not the machine's own, in the order of their paths.

    Never raises: a machine that cannot be asked has no volumes. It is asked in a thread of its own, because an empty
    card reader can keep an answer back for a long time and psutil has failed on odd volumes.

    Args:
        partitions: The table of mounts.
        platform: The system, as `sys.platform` names it.
        sys_folder: Linux: where the kernel describes devices.
        by_uuid: Linux: where udev links each UUID to its device.
        patience: Seconds after which the answer is given up.
    """
    found: list[Volume] = []

    def ask() -> None:
        try:
            listed = _without_system(partitions(), platform)
            found.extend(sorted((_describe(each, platform, sys_folder, by_uuid) for each in listed), key=_by_path))
        except Exception:  # noqa: BLE001  a library and drivers that are not ours; the caller's visit must go on
            found.clear()
        finally:
            _asking.release()

    # One question at a time: a machine that does not answer must not collect threads that wait for it.
    if not _asking.acquire(timeout=patience):
        return []
    thread = threading.Thread(target=ask, name="volumes", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        _asking.release()
        return []
    thread.join(patience)
    return [] if thread.is_alive() else found


def volume_at(path: Path, volumes: Iterable[Volume]) -> Volume | None:
    """Return the volume that is mounted at a folder, however the folder is spelled; None for a folder within one."""
    here = place_of(path)
    return next((each for each in volumes if each.path == path or place_of(each.path) == here), None)


def place_of(path: Path) -> tuple[int, int] | str:
    """Return what two spellings of one folder have in common: two mounts of one medium as well, links followed."""
    with contextlib.suppress(OSError, ValueError):
        status = path.stat()
        if status.st_ino:
            return status.st_dev, status.st_ino
    return os.path.normcase(os.path.realpath(path))


def _by_path(volume: Volume) -> str:
    return str(volume.path)


# The machine's own -----------------------------------------------------------------------------------------------

_NO_MEDIA: Final = frozenset({"", "squashfs", "erofs", "swap", "overlay", "tmpfs", "ramfs", "autofs"})
"""No file system that is carried about; on Windows `""` is a card reader without a card."""
_LINUX_OWN: Final = re.compile(
    r"/|/(?:home(?:/[^/]+)?|mnt|media|opt|root|run|srv|tmp)|/(?:bin|boot|dev|efi|etc|gnu|lib\d*|nix|proc)(?:/.*)?"
    r"|/(?:ostree|sbin|snap|sys|sysroot|usr)(?:/.*)?|/run/(?!media/).*"
    r"|/var(?!/(?:mnt|media|run/media|home/[^/]+)/)(?:/.*)?",
    re.DOTALL,
)
_MAC_OWN: Final = re.compile(r"/|/(?:System|private|dev|home|net|nix)(?:/.*)?", re.DOTALL)


def _without_system(listed: Iterable[Partition], platform: str) -> list[Partition]:
    """Leave out the machine's own mounts, and every other mount of a device that carries one of them."""
    kept: dict[str, Partition] = {}
    own: set[str] = set()
    for each in listed:
        if _is_own(each, platform):
            own.add(each.device)
        elif each.fstype.lower() not in _NO_MEDIA:
            kept[each.mountpoint] = each  # of two mounts at one place the later one lies on top
    return [each for each in kept.values() if each.device not in own or not each.device]


def _is_own(partition: Partition, platform: str) -> bool:
    if platform == "win32":
        drive = os.environ.get("SYSTEMDRIVE", "C:").rstrip("\\").upper()
        return partition.mountpoint.rstrip("\\").upper() == drive
    pattern = _MAC_OWN if platform == "darwin" else _LINUX_OWN
    return pattern.fullmatch(partition.mountpoint) is not None


def is_gone(volume: Volume, sys_folder: Path = Path("/sys")) -> bool:
    """Return whether a volume's device is certainly no longer there; a pulled stick stays in the table of mounts."""
    listed = sys_folder / "class" / "block"
    if re.fullmatch(r"/dev/[^/]+", volume.device) and listed.is_dir():
        return not (listed / volume.device.removeprefix("/dev/")).exists()
    return False


# What is known of one ---------------------------------------------------------------------------------------------


def _describe(partition: Partition, platform: str, sys_folder: Path, by_uuid: Path) -> Volume:
    path = Path(partition.mountpoint)
    options = set(partition.opts.split(","))
    total = 0
    with contextlib.suppress(OSError):
        total = shutil.disk_usage(path).total
    if platform == "win32":
        serial, removable = _windows_serial(partition.mountpoint), bool(options & {"removable", "cdrom"})
    elif platform == "darwin":
        serial, removable = "", partition.mountpoint.startswith("/Volumes/")
    else:
        serial = _linux_serial(partition.device, by_uuid)
        removable = _linux_removable(partition, sys_folder)
    read_only = bool(options & {"ro", "rdonly", "read-only"})
    return Volume(path, partition.device, partition.fstype, read_only, total, serial, removable)


def _linux_serial(device: str, by_uuid: Path) -> str:
    """Return the UUID that udev knows a device by; without udev there are no such links."""
    with contextlib.suppress(OSError):
        target = os.path.realpath(device)
        for link in sorted(by_uuid.iterdir()):
            if os.path.realpath(link) == target:
                return link.name
    return ""


def disk_of(device: str, sys_folder: Path = Path("/sys")) -> Path | None:
    """Return where the Linux kernel describes the disk that a device is, or is a partition of; None if it does not."""
    node = sys_folder / "class" / "block" / os.path.basename(os.path.realpath(device))
    if not device.startswith("/dev/") or not node.exists():
        return None
    found = node.resolve()
    below = sorted((found / "slaves").glob("*"))  # an opened encrypted stick lies on its partition
    if below:
        found = below[0].resolve()
    return found.parent if (found / "partition").exists() else found


def _linux_removable(partition: Partition, sys_folder: Path) -> bool:
    disk = disk_of(partition.device, sys_folder)
    by_place = partition.mountpoint.startswith(("/media/", "/run/media/", "/var/run/media/"))
    if disk is None or "/virtual/" in disk.as_posix():
        return by_place
    # USB disks say that they are fixed; an SD slot says so of its card; soldered memory hangs on the same bus as cards.
    bus = re.search(r"/usb\d+/", disk.as_posix()) is not None
    return bus or _word(disk / "removable") == "1" or _word(disk / "device" / "type") == "SD"


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _windows_serial(root: str) -> str:
    library: Any = getattr(ctypes, "windll", None)
    if library is None:
        return ""
    number = ctypes.c_uint32()
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = library.kernel32.GetVolumeInformationW(
            ctypes.c_wchar_p(root), None, 0, ctypes.byref(number), None, None, None, 0
        )
        if known:
            return f"{number.value:08X}"
    return ""


# Waiting ----------------------------------------------------------------------------------------------------------

_SLICE: Final = 0.5
"""Seconds until a wait notices that it is to stop."""


class MountWake:
    """Waits until something is mounted or unmounted; use it in a `with` statement.

    On Linux the kernel says so, from the moment this object was made; elsewhere a wait takes its time, and whoever
    waits looks for himself.
    """

    def __init__(self, table: Path = Path("/proc/self/mountinfo")) -> None:
        """Begin to listen.

        Args:
            table: The kernel's table of mounts.
        """
        self._table: int | None = None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._table = os.open(table, os.O_RDONLY | os.O_CLOEXEC)

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait for a change of the mounts, but not longer than some seconds, and not after `stop` is set.

        Returns:
            Whether there was a change, since the last wait or since this object was made.
        """
        while not stop.is_set():
            piece = min(_SLICE, seconds)
            if self._table is None:
                stop.wait(piece)
            elif self._changed(self._table, max(piece, 0)):
                return True
            seconds -= piece
            if seconds <= 0:
                break
        return False

    @staticmethod
    def _changed(table: int, seconds: float) -> bool:
        if sys.platform != "linux":
            return False
        import select

        # The kernel reports each change as an exceptional condition of the table, once for every open file.
        poll = select.poll()
        poll.register(table, select.POLLERR | select.POLLPRI)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Listen no more."""
        if self._table is not None:
            os.close(self._table)
            self._table = None

    def __enter__(self) -> Self:
        """Return the listener; it is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
