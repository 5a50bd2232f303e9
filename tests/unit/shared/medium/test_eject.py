"""Taking a medium out: real unmounts, and programs that behave as the system's own do."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.medium import eject as module
from shared.medium.eject import Ejected, eject
from shared.medium.volumes import Volume, mounted_volumes, volume_at
from tests.support.loop_mount import ext4_image, may_mount, mounted
from tests.support.tools import tool

PLACE = "财务 U盘"


@pytest.fixture
def stick(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system with a file on it."""
    may_mount()
    with mounted(ext4_image(tmp_path / "image"), tmp_path / PLACE) as folder:
        (folder / "a.dat").write_bytes(b"x")
        yield folder


class Programs:
    """Programs that a test puts in the place of the system's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        folder.mkdir()

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\necho {name} \"$@\" >> '{self.log}'\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    if os.name == "nt":
        pytest.skip("platform: starts shell scripts")
    made = Programs(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    return made


def real_volume(folder: Path) -> Volume:
    found = volume_at(folder, mounted_volumes())
    assert found is not None
    return found


# Really -----------------------------------------------------------------------------------------------------------


def test_a_mounted_medium_is_really_unmounted(stick: Path, programs: Programs) -> None:  # STICK-23
    programs.add("udisksctl", "exit 1")  # no desktop is there to ask
    done = eject(stick)
    assert (done.unmounted, done.powered_off, done.safe) == (True, False, True)
    assert "可以拔出" in done.advice.zh
    assert not os.path.ismount(stick)
    assert list(stick.iterdir()) == []
    assert [call.split()[1] for call in programs.calls] == ["unmount", "power-off"]


def test_a_volume_can_be_named_instead_of_its_folder(stick: Path) -> None:
    assert eject(real_volume(stick)).unmounted
    assert not os.path.ismount(stick)


def test_a_medium_with_an_open_file_stays_and_is_called_busy(stick: Path) -> None:  # STICK-23
    with (stick / "a.dat").open("rb"):
        done = eject(stick)
        assert os.path.ismount(stick)
    assert (done.unmounted, done.busy, done.safe) == (False, True, False)
    assert "不要拔" in done.advice.zh
    assert eject(stick).unmounted  # as soon as the file is closed


def test_what_is_mounted_a_second_time_is_not_called_unmounted(stick: Path, tmp_path: Path) -> None:  # STICK-23
    volume = real_volume(stick)
    with mounted(stick, tmp_path / "again", "bind"):
        done = eject(volume)
        assert (done.unmounted, done.safe) == (False, False)
        assert "弹出" in done.advice.zh


def test_another_partition_of_the_stick_that_is_still_in_use_is_named(tmp_path: Path) -> None:
    may_mount()
    first, second = (ext4_image(tmp_path / name) for name in ("image 1", "image 2"))
    with mounted(first, tmp_path / "first"), mounted(second, tmp_path / "second"):
        # Not every kernel makes partitions of an image: two devices are described as those of one disk.
        kernel, volume = tmp_path / "sys", real_volume(tmp_path / "first")
        (kernel / "class" / "block").mkdir(parents=True)
        for each in (volume, real_volume(tmp_path / "second")):
            name = Path(each.device).name
            node = kernel / "devices" / "usb1" / "sdb" / name
            node.mkdir(parents=True)
            (node / "partition").touch()
            (kernel / "class" / "block" / name).symlink_to(node)
        done = eject(volume, sys_folder=kernel)
        assert (done.unmounted, done.siblings, done.safe) == (True, True, False)
        assert str(tmp_path / "second") in done.advice.zh
        assert os.path.ismount(tmp_path / "second")
        assert eject(tmp_path / "second", sys_folder=kernel).safe


def test_a_plain_folder_has_nothing_to_eject(tmp_path: Path, programs: Programs) -> None:
    programs.add("udisksctl", "exit 0")
    done = eject(tmp_path)
    assert done == Ejected(False, False, done.advice, folder=True)
    assert done.safe
    assert "普通文件夹" in done.advice.zh
    assert programs.calls == []


def test_a_mount_of_the_system_is_left_alone(programs: Programs) -> None:
    programs.add("umount", "exit 0")
    done = eject(Path("/"))
    assert (done.unmounted, done.folder, done.safe) == (False, False, False)
    assert programs.calls == []


@pytest.mark.skipif(sys.platform != "linux", reason="platform: the table of mounts of Linux")
def test_what_is_unmounted_already_needs_no_program(tmp_path: Path, programs: Programs) -> None:
    programs.add("umount", "exit 0")
    assert eject(Volume(tmp_path, "/dev/sdz1", "vfat")).unmounted
    assert programs.calls == []


# With programs of a desktop ---------------------------------------------------------------------------------------


def test_a_desktop_unmounts_and_cuts_the_power(stick: Path, programs: Programs) -> None:
    umount = tool("umount")
    programs.add("udisksctl", f'[ "$1" = power-off ] && exit 0\nexec {umount} "$4"')
    volume = real_volume(stick)
    done = eject(volume)
    assert (done.unmounted, done.powered_off, done.safe) == (True, True, True)
    assert "断电" in done.advice.zh
    assert programs.calls == [
        f"udisksctl {verb} --no-user-interaction -b {volume.device}" for verb in ("unmount", "power-off")
    ]


def test_a_program_that_claims_success_is_not_believed(stick: Path, programs: Programs) -> None:  # STICK-23
    programs.add("udisksctl", "exit 0")
    done = eject(stick)
    assert (done.unmounted, done.powered_off, done.safe) == (False, False, False)
    assert "弹出" in done.advice.zh
    assert [call.split()[1] for call in programs.calls] == ["unmount"]


def test_a_busy_medium_is_not_tried_by_another_way(stick: Path, programs: Programs) -> None:
    programs.add("udisksctl", "echo 'Error unmounting /dev/sdb1: target is busy' >&2; exit 1")
    programs.add("umount", "exit 0")
    assert eject(stick).busy
    assert [call.split()[0] for call in programs.calls] == ["udisksctl"]


def test_an_ordinary_user_without_a_desktop_is_told_to_use_the_systems_way(stick: Path, programs: Programs) -> None:
    programs.add("udisksctl", "echo 'Error looking up object' >&2; exit 1")
    programs.add("umount", "echo 'umount: must be superuser to unmount.' >&2; exit 32")
    done = eject(stick)
    assert (done.unmounted, done.busy, done.safe) == (False, False, False)
    assert "安全删除硬件" in done.advice.zh
    assert programs.calls[-1] == f"umount {stick}"


def test_an_unmount_that_still_writes_is_neither_waited_for_nor_ended(stick: Path, programs: Programs) -> None:
    gate, ended = stick.parent / "gate", stick.parent / "ended"
    os.mkfifo(gate)
    programs.add("udisksctl", f"read line < '{gate}'; touch '{ended}'")
    done = eject(stick, patience=0.1)
    assert (done.unmounted, done.busy) == (False, True)
    assert "不要拔" in done.advice.zh
    gate.write_text("written\n", encoding="ascii")
    deadline = time.monotonic() + 10
    while not ended.exists():
        assert time.monotonic() < deadline
        os.sched_yield()


@pytest.mark.parametrize(("status", "ejected"), [(0, True), (1, False)])
def test_a_mac_ejects_by_its_own_program(tmp_path: Path, programs: Programs, status: int, ejected: bool) -> None:
    programs.add("diskutil", f"echo 'dissented by PID 1'; exit {status}")
    done = eject(Volume(tmp_path, "/dev/disk2s1", "exfat"), platform="darwin")
    assert (done.unmounted, done.powered_off, done.busy) == (ejected, ejected, not ejected)
    assert programs.calls == ["diskutil eject /dev/disk2s1"]


# Windows ----------------------------------------------------------------------------------------------------------


class Call:
    """A function of a library; its result type can be set as with ctypes."""

    def __init__(self, behaviour: Any) -> None:
        self.behaviour, self.restype = behaviour, None

    def __call__(self, *arguments: Any) -> Any:
        return self.behaviour(*arguments)


class Windows:
    """A drive as Windows controls it: locked only without open handles, dismounted only locked, ejected only dismounted."""

    def __init__(self, *, opens: bool = True, handles: int = 0, ejects: bool = True) -> None:
        self.opens, self.handles, self.ejects = opens, handles, ejects
        self.opened: list[str] = []
        self.state = "mounted"
        self.closed = False
        self.kernel32 = self
        self.CreateFileW, self.DeviceIoControl, self.CloseHandle = Call(self.open), Call(self.control), Call(self.close)

    def open(self, name: ctypes.c_wchar_p, *_: Any) -> int | None:
        self.opened.append(str(name.value))
        return 7 if self.opens else ctypes.c_void_p(-1).value

    def control(self, handle: ctypes.c_void_p, code: int, *_: Any) -> int:
        assert handle.value == 7
        if code == 0x00090018 and self.state == "mounted" and not self.handles:
            self.state = "locked"
        elif code == 0x00090020 and self.state == "locked":
            self.state = "dismounted"
        elif code == 0x002D4808 and self.state == "dismounted" and self.ejects:
            self.state = "ejected"
        else:
            return int(code == 0x002D4804)
        return 1

    def close(self, handle: ctypes.c_void_p) -> int:
        self.closed = handle.value == 7
        return 1


DRIVE = Volume(Path("E:\\"), "E:\\", "exFAT", removable=True)


def test_windows_locks_dismounts_and_ejects_in_this_order() -> None:
    windows = Windows()
    done = module._eject_windows(DRIVE, windows)
    assert (done.unmounted, done.safe, windows.state, windows.closed) == (True, True, "ejected", True)
    assert windows.opened == ["\\\\.\\E:"]


@pytest.mark.parametrize(
    ("windows", "busy"),
    [(Windows(handles=1), True), (Windows(opens=False), False), (Windows(ejects=False), False)],
    ids=["busy", "refused", "cannot"],
)
def test_windows_that_does_not_eject_is_not_called_safe(windows: Windows, busy: bool) -> None:
    done = module._eject_windows(DRIVE, windows)
    assert (done.unmounted, done.busy, done.safe) == (False, busy, False)
    assert windows.closed is windows.opens


def test_a_folder_is_no_drive_of_windows() -> None:
    windows = Windows()
    mount_point = Volume(Path("C:\\mounts\\stick"), "\\\\?\\Volume{1}\\", "exFAT")
    assert not module._eject_windows(mount_point, windows).safe
    assert windows.opened == []
