"""What is mounted, the system's own left out, and waiting for a change."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.medium.volumes import (
    MountWake,
    Partition,
    Volume,
    disk_of,
    is_gone,
    mounted_volumes,
    place_of,
    volume_at,
)
from tests.support.loop_mount import ext4_image, may_mount, mounted, quiet
from tests.support.tools import tool


class Line(NamedTuple):
    device: str
    mountpoint: str
    fstype: str = "ext4"
    opts: str = "rw,relatime"


def listed(*lines: Line, platform: str = "linux", **folders: Path) -> list[Volume]:
    return mounted_volumes(partitions=lambda: lines, platform=platform, **folders)


def paths(*lines: Line, platform: str = "linux") -> list[str]:
    return [str(volume.path) for volume in listed(*lines, platform=platform)]


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Devices as the kernel describes them: a fixed disk, a USB disk that calls itself fixed, an SD card, soldered memory."""
    sys_folder = tmp_path / "sys"
    (sys_folder / "class" / "block").mkdir(parents=True)
    for place, partition, removable, kind in (
        ("pci0000:00/ata1/block/sda", "sda1", "0", ""),
        ("pci0000:00/usb2/2-1/block/sdb", "sdb1", "0", ""),
        ("pci0000:00/mmc_host/block/mmcblk0", "mmcblk0p1", "0", "SD"),
        ("pci0000:00/mmc_host/block/mmcblk1", "mmcblk1p1", "0", "MMC"),
        ("pci0000:00/ata2/block/sdc", "sdc1", "1", ""),
        ("virtual/block/loop0", "loop0p1", "0", ""),
    ):
        disk = sys_folder / "devices" / place
        (disk / partition).mkdir(parents=True)
        (disk / partition / "partition").write_text("1\n", encoding="ascii")
        (disk / "removable").write_text(f"{removable}\n", encoding="ascii")
        (disk / "device").mkdir()
        (disk / "device" / "type").write_text(f"{kind}\n", encoding="ascii")
        for node in (disk, disk / partition):
            (sys_folder / "class" / "block" / node.name).symlink_to(node)
    return sys_folder


# The machine's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        "/",
        "/boot",
        "/boot/efi",
        "/home",
        "/home/li",
        "/usr",
        "/usr/local",
        "/var",
        "/var/lib/docker",
        "/nix/store",
        "/snap/x/1",
    ],
)
def test_mounts_of_the_system_are_left_out(own: str) -> None:
    assert paths(Line("/dev/sda9", own), Line("/dev/sdb1", "/media/li/U盘")) == ["/media/li/U盘"]


@pytest.mark.parametrize(
    "place", ["/media/li/A", "/run/media/li/A", "/mnt/stick", "/home/li/stick", "/var/mnt/stick", "/data", "/srv/usb"]
)
def test_a_stick_may_be_mounted_anywhere_else(place: str) -> None:
    assert paths(Line("/dev/sdb1", place, "vfat")) == [place]


def test_other_mounts_of_the_systems_device_are_left_out() -> None:
    assert paths(Line("/dev/sda2", "/"), Line("/dev/sda2", "/data/bind"), Line("/dev/sda3", "/data")) == ["/data"]


@pytest.mark.parametrize("fstype", ["squashfs", "swap", "overlay", "tmpfs", ""])
def test_what_is_no_file_system_to_carry_is_left_out(fstype: str) -> None:
    assert paths(Line("/dev/loop3", "/mnt/x", fstype)) == []


def test_the_drive_of_windows_is_left_out_and_so_is_an_empty_card_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEMDRIVE", "C:")
    drives = [
        Line("C:\\", "C:\\", "NTFS", "rw,fixed"),
        Line("D:\\", "D:\\", "NTFS", "rw,fixed"),
        Line("E:\\", "E:\\", "exFAT", "rw,removable"),
        Line("F:\\", "F:\\", "", "removable"),
        Line("G:\\", "G:\\", "UDF", "ro,cdrom"),
    ]
    found = listed(*drives, platform="win32")
    assert [(v.device, v.removable, v.read_only) for v in found] == [
        ("D:\\", False, False),
        ("E:\\", True, False),
        ("G:\\", True, True),
    ]


def test_the_volumes_of_a_mac_are_those_below_its_folder_for_them() -> None:
    system = [Line("/dev/disk1s1", "/", "apfs"), Line("/dev/disk1s4", "/System/Volumes/Data", "apfs")]
    found = listed(*system, Line("/dev/disk2s1", "/Volumes/财务", "exfat"), platform="darwin")
    assert [(str(v.path), v.removable) for v in found] == [("/Volumes/财务", True)]


# What is known of one ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "place", "removable"),
    [
        ("/dev/sda1", "/data", False),
        ("/dev/sda1", "/media/li/data", False),
        ("/dev/sdb1", "/mnt", True),
        ("/dev/sdb", "/mnt", True),
        ("/dev/mmcblk0p1", "/data", True),
        ("/dev/mmcblk1p1", "/data", False),
        ("/dev/sdc1", "/data", True),
        ("/dev/loop0p1", "/data", False),
        ("/dev/loop0p1", "/media/li/image", True),
        ("/dev/unknown", "/run/media/li/x", True),
        ("/dev/unknown", "/data", False),
    ],
)
def test_whether_a_volume_looks_removable(kernel: Path, device: str, place: str, removable: bool) -> None:
    (volume,) = listed(Line(device, f"{place}/stick"), sys_folder=kernel)
    assert volume.removable is removable


def test_the_disk_of_a_partition_and_of_an_opened_encrypted_stick_is_found(kernel: Path) -> None:
    mapped = kernel / "devices" / "virtual" / "block" / "dm-0"
    (mapped / "slaves").mkdir(parents=True)
    (mapped / "slaves" / "sdb1").symlink_to(kernel / "class" / "block" / "sdb1")
    (kernel / "class" / "block" / "dm-0").symlink_to(mapped)
    usb = kernel / "devices" / "pci0000:00" / "usb2" / "2-1" / "block" / "sdb"
    assert disk_of("/dev/sdb1", kernel) == disk_of("/dev/dm-0", kernel) == usb.resolve()
    assert disk_of("portal", kernel) is None


def test_a_device_that_the_kernel_no_longer_knows_is_gone(kernel: Path, tmp_path: Path) -> None:
    assert is_gone(Volume(tmp_path, "/dev/sdz1", "vfat"), kernel)
    assert not is_gone(Volume(tmp_path, "/dev/sdb1", "vfat"), kernel)
    assert not is_gone(Volume(tmp_path, "E:\\", "vfat"), kernel)
    assert not is_gone(Volume(tmp_path, "/dev/sdz1", "vfat"), tmp_path / "no kernel to ask")


def test_the_serial_is_found_among_the_links_that_udev_makes(tmp_path: Path) -> None:
    device = tmp_path / "sdb1"
    device.touch()
    links = tmp_path / "by-uuid"
    links.mkdir()
    (links / "0000-0000").symlink_to(tmp_path / "sda1")
    (links / "1A2B-3C4D").symlink_to(device)
    assert [v.serial for v in listed(Line(str(device), "/mnt/x"), by_uuid=links)] == ["1A2B-3C4D"]
    assert [v.serial for v in listed(Line(str(device), "/mnt/x"), by_uuid=tmp_path / "none")] == [""]


def test_a_protected_mount_is_read_only() -> None:
    found = listed(
        Line("/dev/sdb1", "/mnt/a", opts="ro,relatime"), Line("/dev/sdc1", "/mnt/b", opts="rw,errors=remount-ro")
    )
    assert [v.read_only for v in found] == [True, False]


# Never at the caller's cost ---------------------------------------------------------------------------------------


def test_a_machine_that_cannot_be_asked_has_no_volumes() -> None:
    def broken() -> Iterable[Partition]:
        raise SystemError("GetVolumeInformation")

    assert mounted_volumes(partitions=broken) == []
    assert listed(Line("/dev/sdb1", "/mnt/a")) != []  # and can be asked again


def test_a_card_reader_that_does_not_answer_delays_and_does_not_stop() -> None:
    answer = threading.Event()

    def slow() -> Iterable[Partition]:
        answer.wait(30)
        return [Line("/dev/sdb1", "/mnt/a")]

    before = threading.active_count()
    try:
        assert mounted_volumes(partitions=slow, patience=0.05) == []
        assert mounted_volumes(partitions=slow, patience=0.05) == []
        assert threading.active_count() <= before + 1  # who asks again waits for no thread of his own
    finally:
        answer.set()
    assert listed(Line("/dev/sdb1", "/mnt/a")) != []


# A real mount -----------------------------------------------------------------------------------------------------


def test_a_mount_with_a_blank_and_chinese_in_its_path_is_found(tmp_path: Path) -> None:
    may_mount()
    with mounted(ext4_image(tmp_path / "image"), tmp_path / "财务 U盘 1\\2") as folder:
        volume = volume_at(folder, mounted_volumes())
        assert volume is not None
        assert (volume.path, volume.fstype, volume.read_only) == (folder, "ext4", False)
        assert volume.total_bytes > 1 << 20
        assert not is_gone(volume)
        link = tmp_path / "link"
        link.symlink_to(folder)
        assert volume_at(link, [volume]) == volume
        assert volume_at(tmp_path, [volume]) is None
    assert volume_at(folder, mounted_volumes()) is None


def test_one_medium_at_two_places_is_one_place(tmp_path: Path) -> None:
    with mounted(ext4_image(tmp_path / "image"), tmp_path / "a") as first:
        with mounted(first, tmp_path / "b", "bind") as second:
            assert place_of(first) == place_of(second)
        assert place_of(first) != place_of(second)


ONCE = """
import subprocess, sys, threading
from shared.medium.volumes import MountWake

mount, umount, image, folder = sys.argv[1:]
stop = threading.Event()
with MountWake() as wake:
    print(wake.wait(0, stop))
    for command in ([mount, "-o", "loop", image, folder], [umount, folder]):
        subprocess.run(command, check=True)
        print(wake.wait(5, stop), wake.wait(0, stop))
"""


def test_the_wait_ends_once_for_each_mount_and_each_unmount(tmp_path: Path) -> None:
    may_mount()
    image, folder = ext4_image(tmp_path / "image"), tmp_path / "stick"
    folder.mkdir()
    # In a table of its own, where nobody else on this machine mounts anything meanwhile.
    alone = (tool("unshare"), "--mount", "--propagation", "private")
    done = quiet(*alone, sys.executable, "-c", ONCE, tool("mount"), tool("umount"), image, folder)
    assert done.stdout.split() == ["False", "True", "False", "True", "False"]


def test_a_change_ends_a_wait_that_goes_on(tmp_path: Path) -> None:
    may_mount()
    image, woken = ext4_image(tmp_path / "image"), threading.Event()
    with MountWake() as wake:

        def wait() -> None:
            if wake.wait(30, threading.Event()):
                woken.set()

        thread = threading.Thread(target=wait)
        thread.start()
        with mounted(image, tmp_path / "stick"):
            assert woken.wait(10)
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("table", [Path("/proc/self/mountinfo"), Path("no such table")], ids=["kernel", "elsewhere"])
def test_a_wait_can_be_stopped(table: Path) -> None:
    if not table.exists() and table.is_absolute():
        pytest.skip(f"platform: {sys.platform} has no table of mounts")
    stop, ended = threading.Event(), threading.Event()
    with MountWake(table) as wake:

        def wait() -> None:
            wake.wait(60, stop)
            ended.set()

        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        assert ended.wait(10)
        thread.join()


def test_a_wait_without_a_change_ends_in_its_time() -> None:
    with MountWake(Path("no such table")) as wake:
        assert not wake.wait(0.01, threading.Event())
