"""Taking a medium out safely: unmount it, make sure that it is unmounted, and cut its power where that can be done.

The caller has closed every handle. This module may start programs, and only those that systems have for this purpose
(`udisksctl`, `umount`, `diskutil`): by their full paths, with a list of arguments, for a bounded time, and with no
shell. On Windows the system is called directly.

Never a lazy unmount: it hides a busy medium instead of waiting for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from shared.medium.volumes import Volume, disk_of, mounted_volumes, volume_at
from shared.text import Text


@dataclass(frozen=True)
class Ejected:
    """What became of an ejection.

    Attributes:
        powered_off: Whether the device has no power any more.
        unmounted: Whether the medium is certainly unmounted: everything has reached it.
        advice: What to do now.
        busy: Whether some program still holds it.
        folder: Whether it is a plain folder, so that there was nothing to eject.
        siblings: Whether other partitions of the same stick are still mounted.
    """

    powered_off: bool
    unmounted: bool
    advice: Text
    busy: bool = False
    folder: bool = False
    siblings: bool = False

    @property
    def safe(self) -> bool:
        """Whether nothing more has to be done before the medium is taken away."""
        return self.folder or (self.unmounted and not self.siblings)


_POWERED_OFF: Final = Text("已弹出并断电，可以拔出", "it is ejected and has no power; take it out")
_UNMOUNTED: Final = Text("已卸载，可以拔出", "it is unmounted; take it out")
_SIBLINGS: Final = Text(
    "已卸载；同一个U盘上还有其他分区在使用（{names}），请用系统的“弹出”或“安全删除硬件”后再拔出",
    "it is unmounted; other partitions of the same stick are in use ({names}): eject them with the system before you take it out",
)
_FOLDER: Final = Text("这是普通文件夹，没有要弹出的介质", "this is a plain folder; there is nothing to eject")
_BUSY: Final = Text(
    "还有程序在使用它（打开的文件、窗口或命令行）；请关闭后再弹出，先不要拔",
    "a program still uses it (an open file, window or command line): close that and eject again; do not pull it yet",
)
_SLOW: Final = Text(
    "系统还在写入，没有写完；请等指示灯停止闪烁，再用系统的“弹出”或“安全删除硬件”，先不要拔",
    "the system is still writing to it: wait until its light is steady, eject it with the system, and do not pull it yet",
)
_CANNOT: Final = Text(
    "本程序无法弹出它；拔出前请用系统的“弹出”或“安全删除硬件”",
    "this program cannot eject it: use the system's own eject ('Safely Remove Hardware') before you take it out",
)

_PATIENCE: Final = 120.0
"""Seconds for an unmount: it waits until all that other programs wrote has reached a slow stick."""


def eject(
    medium: Volume | Path,
    *,
    volumes: Callable[[], Sequence[Volume]] = mounted_volumes,
    platform: str = sys.platform,
    sys_folder: Path = Path("/sys"),
    patience: float = _PATIENCE,
) -> Ejected:
    """Unmount a medium and cut its power, as far as this machine can.

    Args:
        medium: The volume, or the folder at which it is mounted. Every handle to it is closed.
        volumes: The mounted volumes.
        platform: The system, as `sys.platform` names it.
        sys_folder: Linux: where the kernel describes devices.
        patience: Seconds after which the system's answer is given up.

    Returns:
        What was reached, and what a person has to do now. Nothing is raised; whatever could not be proven counts as not
        done.
    """
    if isinstance(medium, Path):
        volume = volume_at(medium, volumes())
        if volume is None:
            # Something is mounted there that is not in the list (the machine's own, a network share): not ours to end.
            return Ejected(False, False, _CANNOT) if _is_mount(medium) else Ejected(False, False, _FOLDER, folder=True)
    else:
        volume = medium
    if platform == "win32":
        return _eject_windows(volume, getattr(ctypes, "windll", None))
    tools = _Tools(patience)
    if platform == "darwin":
        done = tools.run("diskutil", "eject", volume.device)
        gone = done == "done" and not _is_mount(volume.path)
        return _told(done, powered_off=gone, unmounted=gone)
    return _eject_linux(volume, tools, sys_folder)


def _eject_linux(volume: Volume, tools: _Tools, sys_folder: Path) -> Ejected:
    before = _mounts()
    numbers = {each.number for each in before or () if each.path == str(volume.path)}
    if before is not None and not numbers:
        return _told("done", powered_off=False, unmounted=True)
    done = tools.run("udisksctl", "unmount", "--no-user-interaction", "-b", volume.device)
    if done in ("missing", "refused"):
        done = tools.run("umount", str(volume.path))
    after = _mounts()
    if before is None or after is None or any(each.number in numbers for each in after):
        return _told(done, powered_off=False, unmounted=False)
    disk = disk_of(volume.device, sys_folder)
    siblings = [] if disk is None else [each.path for each in after if disk_of(each.source, sys_folder) == disk]
    if siblings:
        return Ejected(False, True, _SIBLINGS.fill(names=Text("、".join(siblings), ", ".join(siblings))), siblings=True)
    off = tools.run("udisksctl", "power-off", "--no-user-interaction", "-b", volume.device)
    return _told("done", powered_off=off == "done", unmounted=True)


def _told(done: str, *, powered_off: bool, unmounted: bool) -> Ejected:
    if unmounted:
        return Ejected(powered_off, True, _POWERED_OFF if powered_off else _UNMOUNTED)
    if done == "busy":
        return Ejected(False, False, _BUSY, busy=True)
    return Ejected(False, False, _SLOW if done == "slow" else _CANNOT, busy=done == "slow")


def _is_mount(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.ismount(path)
    return False


class _Mount(NamedTuple):
    """A line of the kernel's table: the file system's number, where it is mounted, and from what."""

    number: str
    path: str
    source: str


def _mounts(table: Path = Path("/proc/self/mountinfo")) -> list[_Mount] | None:
    """Return every mount that the kernel knows, or None if it cannot be asked: then nothing is certain."""
    found = []
    try:
        for line in table.read_bytes().splitlines():
            fields = line.split(b" ")
            rest = fields.index(b"-")
            found.append(_Mount(os.fsdecode(fields[2]), _plain(fields[4]), _plain(fields[rest + 2])))
    except (OSError, ValueError, IndexError):
        return None
    return found


def _plain(field: bytes) -> str:
    """Return a field as it is called: the kernel writes a blank as its octal number."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8) & 0xFF]), field))


class _Tools:
    """The system's programs for this purpose."""

    def __init__(self, patience: float) -> None:
        self._patience = patience

    def run(self, name: str, *arguments: str) -> str:
        """Run a program and return how it went: `done`, `busy`, `slow`, `refused`, or `missing`."""
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
        if found is None:
            return "missing"
        try:
            process = subprocess.Popen(  # noqa: S603  the system's own program, a list of arguments, no shell
                [os.path.abspath(found), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=os.environ | {"LC_ALL": "C", "LANGUAGE": "C"},
            )
        except OSError:
            return "missing"
        try:
            words, _ = process.communicate(timeout=self._patience)
        except subprocess.TimeoutExpired:
            # It goes on: the kernel lets nobody end an unmount that writes, not even whoever waits for its end.
            threading.Thread(target=process.communicate, name=name, daemon=True).start()
            return "slow"
        if process.returncode == 0:
            return "done"
        # The programs have one status for every failure; the kernel's EBUSY is only in their words.
        return "busy" if re.search(rb"busy|in use|dissent", words, re.IGNORECASE) else "refused"


# Windows ----------------------------------------------------------------------------------------------------------

_READ_WRITE: Final = 0xC0000000
_SHARE: Final = 3
_OPEN_EXISTING: Final = 3
_LOCK_VOLUME: Final = 0x00090018
_DISMOUNT_VOLUME: Final = 0x00090020
_MEDIA_REMOVAL: Final = 0x002D4804
_EJECT_MEDIA: Final = 0x002D4808


def _eject_windows(volume: Volume, library: Any) -> Ejected:
    """Lock, dismount and eject, in the order that Windows documents; a lock is given only if no handle is open."""
    letter = re.fullmatch(r"([A-Za-z]):\\?", volume.device) or re.fullmatch(r"([A-Za-z]):\\?", str(volume.path))
    if letter is None or library is None:
        return Ejected(False, False, _CANNOT)
    kernel = library.kernel32
    kernel.CreateFileW.restype = ctypes.c_void_p
    handle = kernel.CreateFileW(
        ctypes.c_wchar_p(rf"\\.\{letter[1].upper()}:"), _READ_WRITE, _SHARE, None, _OPEN_EXISTING, 0, None
    )
    if handle is None or handle == ctypes.c_void_p(-1).value:
        return Ejected(False, False, _CANNOT)

    def control(code: int, data: bytes = b"") -> bool:
        returned = ctypes.c_uint32()
        given = ctypes.create_string_buffer(data, len(data)) if data else None
        return bool(
            kernel.DeviceIoControl(
                ctypes.c_void_p(handle), code, given, len(data), None, 0, ctypes.byref(returned), None
            )
        )

    try:
        if not control(_LOCK_VOLUME):
            return Ejected(False, False, _BUSY, busy=True)
        if not control(_DISMOUNT_VOLUME):
            return Ejected(False, False, _CANNOT)
        control(_MEDIA_REMOVAL, b"\x00")
        # A dismounted volume is mounted again by the next program that looks at it, unless it is ejected.
        if not control(_EJECT_MEDIA):
            return Ejected(False, False, _CANNOT)
        return Ejected(False, True, _UNMOUNTED)
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
