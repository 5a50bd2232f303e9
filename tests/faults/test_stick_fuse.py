"""A stick of memory that is cut off, pulled, full, lying or flipping bits at every operation of a visit."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.errors import MediumDamaged
from shared.medium import Stick
from tests.support import media
from tests.support.cargo import DIRECTION, LONG, STRANGERS, Cargo, Tally, leftovers, sample
from tests.support.fuse_daemon import Daemon
from tests.support.stick_worker import MODES, STATION
from tests.support.stickfs import CLUSTER, LARGEST, stick_of_memory

SIZES = {"310100000000000_0_202608010000.dat": 300_001, "310100000000000_0_202607010000.ack": 900}
SEEDS: list[int | None] = [None, *range(24 if LONG else 7)]
"""Luck after a power cut: first none at all."""
MEDIUM = "vfat (modelled)"


@dataclass
class Bench:
    """A mounted stick of memory and what is carried to it."""

    cargo: Cargo
    stick: Daemon

    @property
    def path(self) -> Path:
        return self.stick.path

    def begin(self, *, begun: bool = False) -> None:
        """Have a healthy stick with its strangers; all of it durable."""
        self.stick.ask("reset")
        self.cargo.prepare(self.path, begun=begun)
        self.stick.ask("save")

    def visit(self, **fault: object) -> str:
        """Visit the stick as it was begun, with a fault."""
        self.stick.ask("restore")
        if fault:
            self.stick.ask("arm", **fault)
        return self.cargo.visit(self.path)

    def operations(self, among: str) -> int:
        """Return how many operations an undisturbed visit has."""
        assert self.visit() == "SAFE"
        return int(self.stick.ask("operations")[among])

    def end(self, said: str, *, begun: bool = False) -> str:
        """Judge what lies there, make the next visit, and return the word."""
        end = self.cargo.end(self.path, said, begun=begun)
        if end in ("crashed", "false-safe", "lost"):
            return end
        return end if self.cargo.completes(self.path) else "next-visit-blocked"


@pytest.fixture(scope="module", params=MODES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    media.need(media.no_fuse)
    folder = tmp_path_factory.mktemp("fuse")
    with stick_of_memory(folder) as stick:
        yield Bench(Cargo.make(folder / "cargo", SIZES, request.param), stick)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.medium.stick._CHUNK", 100_000)


# What the stick does ------------------------------------------------------------------------------------------------


def test_the_stick_keeps_the_rules_of_fat(bench: Bench) -> None:
    bench.stick.ask("reset")
    path = bench.path
    (path / "Abc.TXT").write_bytes(b"1")
    assert (path / "aBC.txt").read_bytes() == b"1"
    assert os.listdir(path) == ["Abc.TXT"]
    os.utime(path / "abc.txt", (1_000_000_001, 1_000_000_001))
    assert (path / "abc.txt").stat().st_mtime == 1_000_000_000
    (path / "dot. ").write_bytes(b"2")
    assert sorted(os.listdir(path)) == ["Abc.TXT", "dot"]
    for forbidden in ("a:b", "a?b", "a\x01b", 'a"b'):
        with pytest.raises(OSError, match="Invalid argument"):
            (path / forbidden).write_bytes(b"")
    for make in (os.link, os.symlink):
        with pytest.raises(PermissionError):
            make(path / "abc.txt", path / "link")
    with (path / "large").open("wb") as file, pytest.raises(OSError, match="too large"):
        os.pwrite(file.fileno(), b"xx", LARGEST - 1)
    assert stat.S_ISREG((path / "large").stat().st_mode)


@pytest.mark.parametrize("sync_again", [False, True], ids=["textbook", "synced under its final name"])
def test_a_renamed_file_is_empty_after_a_power_cut_unless_it_was_synced_again(bench: Bench, sync_again: bool) -> None:
    bench.stick.ask("reset")
    handle = os.open(bench.path, os.O_RDONLY | os.O_DIRECTORY)
    with (bench.path / "part").open("wb") as file:
        file.write(b"content")
        file.flush()
        os.fsync(file.fileno())
    os.fsync(handle)
    os.rename(bench.path / "part", bench.path / "final")
    if sync_again:
        with (bench.path / "final").open("rb") as file:
            os.fsync(file.fileno())
    os.fsync(handle)
    os.close(handle)
    bench.stick.ask("pull")
    bench.stick.ask("replug", seed=None)
    assert os.listdir(bench.path) == ["final"]
    assert (bench.path / "final").read_bytes() == (b"content" if sync_again else b"")


# Campaigns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True], ids=["empty", "broken-off copy"])
def test_the_power_fails_at_any_operation(bench: Bench, begun: bool) -> None:
    """STICK-5: and what was called safe is there, whatever luck the rest had."""
    tally = Tally("fuse", MEDIUM, "power cut at each operation")
    bench.begin(begun=begun)
    total = bench.operations("changes")
    for at in range(1, total + 2):
        said = bench.visit(at=at, do="cut", among="changes")
        assert (said == "SAFE") == (at > total), (at, said)
        bench.stick.ask("pull")
        for seed in SEEDS:
            bench.stick.ask("replug", seed=seed)
            # Whatever the program said when the power had gone, nobody has heard it.
            tally.count(bench.end(said if at > total else "", begun=begun), f"operation {at}, luck {seed}")
    tally.close(at_least=100)


@pytest.mark.parametrize("do", ["yank", "vanish"], ids=["fails", "looks empty"])
def test_pulled_at_any_operation(bench: Bench, do: str) -> None:
    """STICK-12: a stick that is gone is never called safe, also where it looks like an empty one."""
    tally = Tally("fuse", MEDIUM, "pulled at each operation" + (", looks empty" if do == "vanish" else ""))
    bench.begin()
    for at in sample(range(1, bench.operations("all") + 1), 3):
        said = bench.visit(at=at, do=do)
        bench.stick.ask("pull")
        for seed in SEEDS[:2]:
            bench.stick.ask("replug", seed=seed)
            tally.count(bench.end(said), f"operation {at}, luck {seed}: {said}")
    tally.close(at_least=50)


@pytest.mark.parametrize("forever", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=["EIO", "ENOSPC", "EROFS"])
def test_an_error_at_any_operation(bench: Bench, number: int, forever: bool) -> None:
    name = errno.errorcode[number]
    among = "all" if number == errno.EIO else "changes"
    tally = Tally("fuse", MEDIUM, f"{name} at each operation" + (", and ever after" if forever else ""))
    bench.begin()
    for at in sample(range(1, bench.operations(among) + 1), 3 if among == "all" else 1):
        said = bench.visit(at=at, do=name, among=among, forever=forever)
        bench.stick.ask("heal")
        if number == errno.ENOSPC and said.startswith("REFUSED"):
            assert leftovers(bench.path) == [] or forever, f"a full stick keeps nothing of ours: {at}"
        tally.count(bench.end(said), f"operation {at}: {said}")
    tally.close(at_least=20)


@pytest.mark.parametrize("among", ["write", "read"])
def test_one_flipped_bit_is_noticed(bench: Bench, among: str) -> None:
    """STICK-5: what is read back is compared; one bit less or more is no success."""
    tally = Tally("fuse", MEDIUM, f"one bit flipped in each {among}")
    bench.begin()
    ours = r"\d{15}_|batch-"
    for at in range(1, 12):
        said = bench.visit(at=at, do="flip", among=among, on=ours)
        bench.stick.ask("heal")
        tally.count(bench.end(said), f"{among} {at}: {said}")
    # The other reads were ends of files, of which no bit can flip, or did not take place.
    assert tally.ends["refused"] >= (4 if bench.cargo.mode == "single" else 3)
    tally.close()


@pytest.mark.parametrize("do", ["short", "forget"], ids=["half", "nothing"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "always"])
def test_writes_that_write_less_than_they_were_given(bench: Bench, do: str, forever: bool) -> None:
    """Half, and said so: the rest follows. Nothing, and success is said: it is noticed."""
    tally = Tally("fuse", MEDIUM, f"each write stores {'half' if do == 'short' else 'nothing and says it did'}")
    bench.begin()
    for at in range(1, 5 if forever else 7):
        said = bench.visit(at=at, do=do, among="write", on=r"\d{15}_|batch-", forever=forever)
        if do == "short":
            assert said == "SAFE", f"{at}: {said}"
        bench.stick.ask("heal")
        tally.count(bench.end(said), f"write {at}: {said}")
    tally.close()


@pytest.mark.parametrize("lie", [False, True], ids=["and says so", "and says it has room"])
def test_a_stick_with_too_little_room_is_refused_and_keeps_nothing_of_ours(bench: Bench, lie: bool) -> None:
    tally = Tally("fuse", MEDIUM, "full")
    bench.begin()
    clusters = sum(-(-size // CLUSTER) for size in SIZES.values()) + 1  # and the log
    for left in sample(range(0, 400_000, 16_384), 4):
        bench.stick.ask("restore")
        bench.stick.ask("shrink", left=left, lie=lie)
        said = bench.cargo.visit(bench.path)
        if lie and left >= clusters * CLUSTER:
            assert said == "SAFE", left
        else:
            assert said.startswith("REFUSED B33"), (left, said)
        assert leftovers(bench.path) == []
        bench.stick.ask("heal")
        tally.count(bench.end(said), f"{left} bytes left: {said}")
    tally.close()


def test_a_write_protected_stick_is_refused_and_stays_as_it_was(bench: Bench) -> None:
    bench.begin()
    bench.stick.ask("protect")
    assert bench.cargo.visit(bench.path).startswith("REFUSED B34")
    bench.stick.ask("heal")
    assert {p for p in bench.path.rglob("*") if p.is_file()} == {
        bench.path / "TAXFERRY" / "stick.json",
        *(bench.path / name for name in STRANGERS),
    }
    assert bench.end("REFUSED") == "refused"


def test_a_write_protected_stick_that_holds_the_files_is_safe_to_remove(bench: Bench) -> None:
    """STICK-13."""
    bench.begin()
    assert bench.visit() == "SAFE"
    bench.stick.ask("protect")
    assert bench.cargo.visit(bench.path) == "SAFE"
    assert bench.cargo.end(bench.path, "SAFE") == "new"


def test_a_listing_on_a_stick_that_vanished_proves_nothing(bench: Bench) -> None:
    bench.begin()
    assert bench.visit() == "SAFE"
    with Stick.open(bench.path, station=STATION) as stick:
        assert len(stick.list().files) == (len(SIZES) if bench.cargo.mode == "single" else 1) + 1
        bench.stick.ask("arm", at=1, do="vanish")
        assert stick.list().files == ()
        with pytest.raises(MediumDamaged):
            stick.finish()


def test_a_plain_copy_is_caught_by_the_same_campaign(bench: Bench) -> None:
    """The campaign bites: `cp` leaves torn files, and its success is gone with the power."""
    tally = Tally("fuse", MEDIUM, "power cut at each operation", "cp")
    bench.begin()
    target = bench.path / "TAXFERRY" / DIRECTION
    command = ["cp", *(str(bench.cargo.folder / name) for name in SIZES), str(target)]
    at, status = 0, 1
    while status:
        at += 1
        bench.stick.ask("restore")
        bench.stick.ask("arm", at=at, do="cut", among="changes")
        status = subprocess.run(command, capture_output=True, check=False).returncode
        bench.stick.ask("pull")
        for seed in SEEDS:
            bench.stick.ask("replug", seed=seed)
            said = "" if status else "SAFE"
            tally.count(bench.cargo.end(bench.path, said, believed=True), f"operation {at}, luck {seed}")
    assert {"false-safe", "torn-believed"} <= set(tally.ends)
    tally.close()
