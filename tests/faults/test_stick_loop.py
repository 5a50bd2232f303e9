"""Real file systems whose disk loses power at every write, fails, is full, is pulled or unmounted under a visit."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from tests.support import media
from tests.support.cargo import DIRECTION, LONG, Cargo, Tally, leftovers, sample
from tests.support.disks import (
    Disk,
    Event,
    Hooked,
    Kind,
    NetworkDisk,
    Unmountable,
    fails,
    network_disk,
    recorder,
    run,
    unmount,
)
from tests.support.stick_worker import MODES

SIZES = {"310100000000000_0_202608010000.dat": 150_001, "310100000000000_0_202607010000.ack": 900}
KINDS: list[Kind] = ["ext4", "exfat-fuse", "ntfs-3g"]
NEEDS = {"ext4": media.no_loop, "exfat-fuse": media.no_exfat, "ntfs-3g": media.no_ntfs}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    media.need(NEEDS[chosen])
    return chosen


@pytest.fixture(params=MODES)
def cargo(request: pytest.FixtureRequest, tmp_path: Path) -> Cargo:
    return Cargo.make(tmp_path / "cargo", SIZES, request.param)


def end(cargo: Cargo, disk: Disk, said: str) -> str:
    """Mount what is left, judge it, make the next visit, and return the word.

    ntfs-3g replays no journal: some of its crashed disks cannot be mounted, have folders that cannot be read or names that
    share one file, until they are repaired elsewhere. Such a stick is lost as a whole, whoever wrote to it; what this
    project promises then is that its sender keeps everything until the next leg is proven.
    """
    lost = "absent" if disk.kind == "ntfs-3g" and said != "SAFE" else "lost"
    try:
        with disk.mounted() as stick:
            word = cargo.end(stick, said)
            if word in ("crashed", "false-safe"):
                return word
            if word != "lost" and cargo.completes(stick):
                return word
            # On exFAT a crash can leave two names with the same clusters. The next visit notices it by reading back, says
            # that the medium failed, and asks for another one: that is all that can be said of it.
            if disk.kind == "exfat-fuse" and word != "lost" and cargo.visit(stick) == "REFUSED B3501":
                return "refused"
            return lost if word == "lost" or lost == "absent" else "next-visit-blocked"
    except Unmountable:
        return lost


def test_what_was_carried_is_there_after_the_stick_was_unmounted(tmp_path: Path, cargo: Cargo, kind: Kind) -> None:
    tally = Tally("loop", kind, "none")
    with Disk.made(tmp_path, kind) as disk:
        with disk.mounted() as stick:
            cargo.prepare(stick)
            assert cargo.visit(stick) == "SAFE"
        with disk.mounted("ro") as stick:
            assert cargo.end(stick, "SAFE") == "new"
            assert cargo.visit(stick) == "SAFE"  # STICK-13: it is all there
        tally.count(end(cargo, disk, "SAFE"), "")
    tally.close()


# Power


class Replay:
    """A recorded visit, and the disk at every moment of it."""

    def __init__(self, folder: Path, kind: Kind, cargo: Cargo, *, command: list[str] | None = None) -> None:
        with recorder(folder) as disk, Disk.made(folder, kind, image=disk.image) as made:
            with made.mounted() as stick:
                cargo.prepare(stick)
            self.before = disk.begin()
            with made.mounted() as stick:
                if command is None:
                    self.said = cargo.visit(stick)
                else:
                    done = subprocess.run([*command, str(stick / "TAXFERRY" / DIRECTION)], check=False)
                    self.said = "SAFE" if done.returncode == 0 else "REFUSED"
                self.returned = disk.count()
            self.events: list[Event] = disk.events()
        self.disk, self.folder = made, folder

    def moments(self, stride: int) -> Iterator[tuple[str, bytes, bool]]:
        """Yield the disk after each write, and with some of the writes since the last flush only.

        The last value says whether the visit was over by then.
        """
        luck = random.Random(7)
        whole, flushed = bytearray(self.before), bytearray(self.before)
        loose: list[Event] = []
        seen = set()
        chosen = set(sample(range(len(self.events)), stride)) | {self.returned - 1, self.returned, len(self.events) - 1}
        for number, event in enumerate(self.events):
            if event.data is None:
                flushed, loose = bytearray(whole), []
            else:
                whole[event.offset : event.offset + len(event.data)] = event.data
                loose.append(event)
            if number not in chosen:
                continue
            over = number >= self.returned - 1
            states = [(f"write {number}", bytes(whole))]
            for attempt in range(4 if LONG else 1):
                state = bytearray(flushed)
                for one in luck.sample(loose, len(loose) // 2):
                    assert one.data is not None
                    state[one.offset : one.offset + len(one.data)] = one.data
                states.append((f"write {number}, reordered {attempt}", bytes(state)))
            for where, content in states:
                key = (hashlib.sha256(content).digest(), over)
                if key not in seen:
                    seen.add(key)
                    yield where, content, over

    def tell(self, cargo: Cargo, tally: Tally, stride: int, *, believed: bool = False) -> None:
        """Judge every moment."""
        for where, content, over in self.moments(stride):
            disk = self.disk.copy(self.folder / "moment", content)
            said = self.said if over else ""
            if believed:
                try:
                    with disk.mounted() as stick:
                        word = cargo.end(stick, said, believed=True)
                except Unmountable:
                    word = "lost"
            else:
                word = end(cargo, disk, said)
            tally.count(word, where)


STRIDES = {"ext4": 4, "exfat-fuse": 3, "ntfs-3g": 4}


def test_the_power_fails_at_any_write_to_the_disk(tmp_path: Path, cargo: Cargo, kind: Kind) -> None:
    """STICK-5: the real driver's own order of writes, and any part of those since the last flush."""
    tally = Tally("loop", kind, "power cut at each write to the disk")
    replay = Replay(tmp_path, kind, cargo)
    assert replay.said == "SAFE"
    assert sum(event.data is None for event in replay.events) >= 3, "syncs reach the disk as flushes"
    replay.tell(cargo, tally, STRIDES[kind])
    tally.close(at_least=15)


def test_a_plain_copy_is_caught_by_the_same_campaign(tmp_path: Path, cargo: Cargo) -> None:
    """The campaign bites."""
    media.need(media.no_exfat)
    tally = Tally("loop", "exfat-fuse", "power cut at each write to the disk", "cp")
    command = ["cp", *(str(cargo.folder / name) for name in SIZES)]
    Replay(tmp_path, "exfat-fuse", cargo, command=command).tell(cargo, tally, 3, believed=True)
    tally.close()


# Errors, and pulled out


@pytest.fixture(params=["ext4", "exfat-fuse"])
def failing(request: pytest.FixtureRequest, tmp_path: Path, cargo: Cargo) -> Failing:
    """A prepared stick whose disk can be told to fail."""
    media.need(media.no_network_disk, NEEDS[request.param])
    return Failing(request.param, tmp_path, cargo)


class Failing:
    """Visits to a stick whose disk fails before a chosen operation."""

    def __init__(self, kind: Kind, folder: Path, cargo: Cargo) -> None:
        self.kind, self.folder, self.cargo = kind, folder, cargo
        with Disk.made(folder, kind) as disk:
            with disk.mounted() as stick:
                cargo.prepare(stick)
            self.pristine = disk.image
            with disk.copy(folder / "clean", self.pristine.read_bytes()).mounted() as stick:
                counting = Hooked(lambda number, name: None)
                assert cargo.visit(stick, counting) == "SAFE"
                self.operations = counting.count

    def visit(self, network: NetworkDisk, at: int, fail: Callable[[NetworkDisk], None]) -> str:
        """Begin anew, and let the disk fail before operation `at`; return what was said."""
        network.store.write_bytes(self.pristine.read_bytes())
        disk = Disk(self.kind, network.image, self.folder / "mounted")

        def hook(number: int, _name: str) -> None:
            if number == at:
                fail(network)

        with disk.mounted() as stick:
            return self.cargo.visit(stick, Hooked(hook))

    def end(self, network: NetworkDisk, said: str) -> str:
        """Judge what is on the medium itself, in another machine."""
        return end(self.cargo, Disk(self.kind, network.store, self.folder / "mounted"), said)


@pytest.mark.parametrize("what", ["write", "read"])
def test_the_disk_refuses_requests_from_any_operation_on(failing: Failing, what: Literal["read", "write"]) -> None:
    """STICK-5: an error that the driver hears of late, at a sync, is an error of the visit."""
    tally = Tally("loop", failing.kind, f"each {what} of the disk fails from some operation on")
    with network_disk(failing.folder / "network") as network:
        for at in sample(range(1, failing.operations + 1), 9, first=4):
            said = failing.visit(network, at, lambda disk: disk.fail(what))
            network.fail()
            tally.count(failing.end(network, said), f"operation {at}: {said}")
    if what == "write":
        assert tally.ends["refused"]
    tally.close(at_least=4)


def test_pulled_before_any_operation(failing: Failing) -> None:
    """STICK-12."""
    tally = Tally("loop", failing.kind, "pulled at each operation")
    for at in sample(range(1, failing.operations + 1), 16, first=7):
        with network_disk(failing.folder / "network") as network:
            said = failing.visit(network, at, NetworkDisk.pull)
            word = failing.end(network, said)
        tally.count(word, f"operation {at}: {said}")
    tally.close(at_least=2)


# Full, write-protected, unmounted


def test_a_full_stick_is_refused_and_keeps_nothing_of_ours(tmp_path: Path, cargo: Cargo, kind: Kind) -> None:
    tally = Tally("loop", kind, "full")
    with Disk.made(tmp_path, kind) as disk, disk.mounted() as stick:
        cargo.prepare(stick)
        room = os.statvfs(stick)
        with (stick / "films").open("wb") as film:
            film.write(bytes(room.f_bavail * room.f_frsize - 1_000_000))
        said = cargo.visit(stick)
        assert said.startswith("REFUSED B33")
        assert leftovers(stick) == []
        assert (stick / "films").stat().st_size > 1_000_000
        word = cargo.end(stick, said)
        (stick / "films").unlink()
        tally.count(word if cargo.completes(stick) else "next-visit-blocked", said)
    tally.close()


def test_write_protected_in_the_middle_of_a_visit(tmp_path: Path, cargo: Cargo, kind: Kind) -> None:
    tally = Tally("loop", kind, "write-protected at each operation")
    with Disk.made(tmp_path, kind) as disk:
        with disk.mounted() as stick:
            cargo.prepare(stick)
        pristine = disk.image.read_bytes()
        protected = 0
        for at in sample(range(1, 60), 7, first=3):
            done: list[bool] = []

            def hook(number: int, _name: str, at: int = at, done: list[bool] = done) -> None:
                # A system refuses this while a file is open for writing: then it happens at the next operation.
                if number >= at and not done and not fails("mount", "-o", "remount,ro", disk.path):
                    done.append(True)

            disk.image.write_bytes(pristine)
            with disk.mounted() as stick:
                said = cargo.visit(stick, Hooked(hook))
            protected += bool(done)
            tally.count(end(cargo, disk, said), f"operation {at}: {said}")
    assert protected
    assert tally.ends["refused"]
    tally.close(at_least=5)


def test_unmounted_in_the_middle_of_a_visit_nothing_lands_in_the_machines_own_folder(
    tmp_path: Path, cargo: Cargo, kind: Kind
) -> None:
    """STICK-6: the handles still lead to the stick, the path does not."""
    tally = Tally("loop", kind, "unmounted at each operation")
    with Disk.made(tmp_path, kind) as disk:
        with disk.mounted() as stick:
            cargo.prepare(stick)
        pristine = disk.image.read_bytes()
        for at in sample(range(2, 60), 9, first=2):

            def hook(number: int, _name: str, at: int = at) -> None:
                if number == at:
                    run("umount", "-l", disk.path)

            disk.image.write_bytes(pristine)
            with disk.mounted() as stick:
                said = cargo.visit(stick, Hooked(hook))
                if os.path.ismount(stick):  # the visit had fewer operations
                    unmount(stick)
            assert list(disk.path.iterdir()) == [], at
            tally.count(end(cargo, disk, said), f"operation {at}: {said}")
    tally.close(at_least=5)


def test_one_byte_that_changed_on_the_medium_after_it_was_written_is_noticed(tmp_path: Path, cargo: Cargo) -> None:
    """STICK-5: what is read back comes from the medium. (The cache of a FUSE driver's disk cannot be passed so.)"""
    media.need(media.no_loop)
    tally = Tally("loop", "ext4", "one byte changes on the medium before it is read back")
    data = next(iter(cargo.files.values()))
    with Disk.made(tmp_path, "ext4") as disk, disk.mounted() as stick:
        cargo.prepare(stick)
        changed: list[int] = []

        def hook(_number: int, name: str) -> None:
            if name == "open_read" and not changed and (at := disk.image.read_bytes().find(data[4096:8192])) >= 0:
                with disk.image.open("r+b") as image:
                    image.seek(at)
                    image.write(bytes([data[4096] ^ 1]))
                changed.append(at)

        said = cargo.visit(stick, Hooked(hook))
        assert changed
        assert said.startswith("REFUSED B35")
        tally.count(end_here(cargo, stick, said), said)
    tally.close()


def end_here(cargo: Cargo, stick: Path, said: str) -> str:
    """Judge a stick that is still mounted."""
    word = cargo.end(stick, said)
    return word if cargo.completes(stick) else "next-visit-blocked"
