"""What runs inside the guest of `tests.support.uml`: whole campaigns on real vfat, one after the other, in one boot.

`python -m tests.support.uml_guest FOLDER` reads `orders.json` there and writes `answers.json`: one answer to each order,
usually the rows of the reliability table with the particulars of every bad end.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from shared.errors import TaxferryError
from shared.medium import LOCAL, Stick
from tests.journey import demo
from tests.support.carriers import MAKERS, NOW, Carrier, Refused, Taxferry, outcome
from tests.support.powercut import SECTOR, Sectors, cuts_in_order, cuts_with_loss, difference, read_record
from tests.support.reliability import BAD

_LIBC = ctypes.CDLL(None, use_errno=True)
_SCSI = Path("/sys/bus/pseudo/drivers/scsi_debug")
_SCSI_PARAMETERS = Path("/sys/module/scsi_debug/parameters")
_FIBMAP, _SIOCSIFFLAGS, _IFF_UP = 1, 0x8914, 1
_MOST_TOLD = 20
_MEGABYTES = {12: 2, 16: 4, 32: 34}
"""How large a stick is, by its kind of FAT: no larger than it must be."""


def command(*words: object) -> str:
    """Run a command of the guest; it must succeed."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


@contextlib.contextmanager
def mounted(device: Path, at: Path, options: str = "utf8", *, read_only: bool = False) -> Iterator[Path]:
    """Mount a FAT file system, as a desktop would (with `flush`, which is slow, desktops do where they can)."""
    at.mkdir(exist_ok=True)
    if _LIBC.mount(os.fsencode(device), os.fsencode(at), b"vfat", int(read_only), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(device))
    try:
        yield at
    finally:
        assert _LIBC.umount2(os.fsencode(at), 0) == 0, os.strerror(ctypes.get_errno())


class Rewriter:
    """Writes a disk's content again and again, with a few sectors changed.

    Past the cache, which knows only small blocks here, and always from the same memory: in this guest, fresh memory is
    the slowest thing of all.
    """

    def __init__(self, device: Path, image: bytes) -> None:
        self._device, self._size = device, len(image)
        self._memory = mmap.mmap(-1, len(image))  # which lies on a page's boundary, as it must
        self._memory[:] = image

    def write(self, sectors: Sectors) -> None:
        """Give the disk its content, with these sectors in place of its own."""
        own = {number: self._swap(number, data) for number, data in sectors.items()}
        disk = os.open(self._device, os.O_WRONLY | os.O_DIRECT)
        try:
            done = 0
            with memoryview(self._memory) as whole:
                while done < self._size:
                    with whole[done:] as rest:
                        done += os.write(disk, rest)
        finally:
            os.close(disk)
            for number, data in own.items():
                self._swap(number, data)

    def _swap(self, number: int, data: bytes) -> bytes:
        place = slice(number * SECTOR, (number + 1) * SECTOR)
        own = self._memory[place]
        self._memory[place] = data
        return own


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for the kernel, which is quick."""
    event = threading.Event()
    for _ in range(2000):
        if condition():
            return
        event.wait(0.005)
    raise AssertionError("the guest's kernel did not do what it was asked")


class Rooms:
    """The guest's folders.

    Attributes:
        given: What the host gave: the files to carry.
        own: In memory; gone with the guest.
        stick: Where sticks are mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.given, self.own = folder, folder / "tmp"
        self.stick = self.own / "stick"

    def carrier(self, name: str, source: str) -> Carrier:
        return MAKERS[name](self.given / source, self.own)


@dataclass
class Tally:
    """How the runs of one campaign ended."""

    outcomes: Counter[str]
    bad: list[str]

    @classmethod
    def new(cls) -> Tally:
        return cls(Counter(), [])

    def count(self, word: str, particulars: str) -> None:
        self.outcomes[word] += 1
        if word in BAD and len(self.bad) < _MOST_TOLD:
            self.bad.append(f"{word}: {particulars}")

    def answer(self, **more: object) -> dict[str, Any]:
        return {"outcomes": dict(self.outcomes), "bad": self.bad, **more}


# Power cuts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RamDisks:
    """Three disks in the guest's memory: the stick, the record of its writes, and one for the states after a cut."""

    stick: Path = Path("/dev/ram0")
    log: Path = Path("/dev/ram1")
    after: Path = Path("/dev/ram2")

    @staticmethod
    def sectors() -> int:
        return int(Path("/sys/block/ram0/size").read_text())


@contextlib.contextmanager
def mapped(name: str, *lines: str) -> Iterator[Path]:
    """Make a disk of the kernel's device mapper."""
    before = set(Path("/sys/block").glob("dm-*"))
    done = subprocess.run(
        ["dmsetup", "--noudevsync", "create", name], input="\n".join(lines), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, (lines, done.stderr)
    try:
        (block,) = set(Path("/sys/block").glob("dm-*")) - before
        yield Path("/dev") / block.name
    finally:
        command("dmsetup", "--noudevsync", "remove", name)


def record(disks: RamDisks, rooms: Rooms, options: str, visit: Callable[[Path], None]) -> tuple[bytes, bytes]:
    """Record the writes of one visit, and of the unmounting after it.

    Returns:
        The record, with a mark at the moment when the visit had said that all was well; the disk at that moment.
    """
    table = f"0 {disks.sectors()} log-writes {disks.stick} {disks.log}"
    with mapped("recorded", table) as device, mounted(device, rooms.stick, options) as root:
        visit(root)
        command("dmsetup", "message", "recorded", "0", "mark", "safe")
        at_mark = disks.stick.read_bytes()
    return disks.log.read_bytes(), at_mark


def power_cut(
    rooms: Rooms, *, carrier: str, source: str, fat: int, options: str, seeds: list[int], again: bool = True
) -> dict[str, Any]:
    """Record one visit, and look at the stick as it is after a power cut at each of its writes.

    Args:
        rooms: The guest's folders.
        carrier: Who is tried.
        source: The file to carry.
        fat: 12, 16 or 32.
        options: How the stick is mounted for the visit.
        seeds: For losses after the last flush.
        again: Whether our next visit is tried on each state.
    """
    disks = RamDisks()
    who = rooms.carrier(carrier, source)
    format_disk(disks.stick, fat)
    with mounted(disks.stick, rooms.stick) as root:
        who.prepare(root)
    before = disks.stick.read_bytes()
    log, at_mark = record(disks, rooms, options, who.visit)
    entries, at_mark_differs = read_record(log), difference(before, at_mark)
    after = Rewriter(disks.after, before)
    tallies = []
    for states in (cuts_in_order(before, entries, at_mark_differs), cuts_with_loss(before, entries, seeds)):
        tally = Tally.new()
        for cut in states:
            after.write(cut.sectors)
            word, particulars = _judge_cut(who, disks.after, rooms.stick, said_safe=cut.marked, again=again)
            tally.count(word, f"{cut.how}{particulars}")
        tallies.append(tally.answer())
    writes, flushes = sum(1 for e in entries if e.data), sum(1 for e in entries if e.flush)
    return {"in order": tallies[0], "with loss": tallies[1], "writes": writes, "flushes": flushes}


def _judge_cut(who: Carrier, device: Path, at: Path, *, said_safe: bool, again: bool) -> tuple[str, str]:
    """Return the word for a stick after a cut, and particulars."""
    try:
        with mounted(device, at) as root:
            word = outcome(who, who.found(root), said_safe=said_safe)
            if not isinstance(who, Taxferry):
                return word, ""
            word = _bystander(who, root) or word
            trouble = _next_visit(who, root) if again else ""
        still = ""
        if trouble:
            # The kernel may have found the file system damaged and let nobody write: then it is plugged in again.
            with mounted(device, at) as root:
                still = _next_visit(who, root)
            # `MediumDamaged` tells people to take another stick; whatever else goes on and on leads nowhere.
            word = "refused" if not still else "spoiled" if still.startswith("MediumDamaged") else "next-visit-blocked"
        if again and not still:
            # What the kernel remembers is one thing; what lies on the disk is the other.
            with mounted(device, at, read_only=True) as root:
                if _bystander(who, root) or who.found(root) != "new":
                    word, trouble = "lost", f"{trouble} after the next visit: {_contents(who, root)}"
        return word, f": {trouble}; plugged in again: {still or 'well'}" if trouble else ""
    except OSError as error:
        return "next-visit-blocked", f": {error}"


def _contents(who: Taxferry, root: Path) -> str:
    """Return what lies in the folder, for messages."""
    folder = who.path(root).parent
    return ", ".join(f"{path.name} {path.stat().st_size}" for path in sorted(folder.iterdir()))


def _bystander(who: Taxferry, root: Path) -> str:
    """Return the word for a stick that lost what had long been on it."""
    if not who.bystander:
        return ""
    path = who.path(root).with_name(who.bystander)
    try:
        return "" if path.read_bytes() == who.other.read_bytes() else "lost"
    except OSError:
        return "lost"


def _next_visit(who: Taxferry, root: Path) -> str:
    """Visit once more; return what was wrong, or nothing."""
    try:
        who.go_on(root)
    except Refused as error:
        return f"{error}: {error.__cause__}"
    names = sorted(os.listdir(who.path(root).parent))
    if who.found(root) != "new" or any(name.endswith(".part") for name in names):
        return f"{who.found(root)} {names}"
    return ""


# A removable disk ----------------------------------------------------------------------------------------------------


class Removable:
    """The kernel's pretended SCSI disk, removable as a stick is, in the guest's memory."""

    def __init__(self) -> None:
        if not _SCSI.exists():
            modules = Path(os.environ["HOME"]).parent / "modules"
            command("modprobe", "-d", modules, "scsi_debug", "dev_size_mb=34", "removable=1", "delay=0")
        wait_until(lambda: self._found() is not None)

    @staticmethod
    def _found() -> Path | None:
        for block in Path("/sys/block").glob("sd*"):
            if (Path("/dev") / block.name).exists():
                return block
        return None

    @property
    def block(self) -> Path:
        found = self._found()
        assert found is not None
        return found

    @property
    def device(self) -> Path:
        return Path("/dev") / self.block.name

    def pull(self) -> None:
        """Take it away at once, whatever is being written."""
        (self.block / "device/delete").write_text("1")

    def plug(self) -> None:
        """Put it in again, with what had reached it."""
        if self._found() is None:
            for host in Path("/sys/class/scsi_host").glob("host*"):
                (host / "scan").write_text("- - -")
            wait_until(lambda: self._found() is not None)

    def protect(self, on: bool) -> None:
        """Move the little switch, and let the kernel see it."""
        (_SCSI_PARAMETERS / "wp").write_text("1" if on else "0")
        (self.block / "device/rescan").write_text("1")
        wait_until(lambda: (self.block / "ro").read_text().strip() == ("1" if on else "0"))

    @contextlib.contextmanager
    def unreadable(self, first: int, count: int) -> Iterator[Path]:
        """Let sectors fail when they are read; they accept writes without complaint."""
        (_SCSI_PARAMETERS / "medium_error_start").write_text(str(first))
        (_SCSI_PARAMETERS / "medium_error_count").write_text(str(count))
        (_SCSI / "opts").write_text("2")
        try:
            yield self.device
        finally:
            (_SCSI / "opts").write_text("0")

    @contextlib.contextmanager
    def forged(self, capacity: int) -> Iterator[Path]:
        """Give a disk that stores nothing beyond a sector, without complaint: one that is sold as larger than it is."""
        rest = int((self.block / "size").read_text()) - capacity
        with mapped("forged", f"0 {capacity} linear {self.device} 0", f"{capacity} {rest} zero") as device:
            yield device


class Interrupted:
    """The file operations of this machine; something happens before each of them.

    Attributes:
        operations: How many there were.
    """

    def __init__(self, before: Callable[[int, str], None]) -> None:
        self._before, self.operations = before, 0

    def __getattr__(self, name: str) -> Any:
        operation = getattr(LOCAL, name)

        def interrupted(*arguments: Any, **more: Any) -> Any:
            if name != "close":
                self._before(self.operations, name)
                self.operations += 1
            return operation(*arguments, **more)

        return interrupted


def format_disk(device: Path, fat: int) -> None:
    """Make an empty FAT file system, as on a stick that was bought."""
    size = _MEGABYTES[fat] << 10
    command("mkfs.vfat", "-F", fat, "-s", 4 if fat == 12 else 1, "-n", "STICK", "-i", "7AFE0001", device, size)


def _ready(disk: Removable, rooms: Rooms, who: Carrier) -> None:
    disk.plug()
    format_disk(disk.device, 32)
    with mounted(disk.device, rooms.stick) as root:
        who.prepare(root)


def pulled(rooms: Rooms, *, source: str, step: int) -> dict[str, Any]:
    """Pull the disk before every `step`th file operation of a visit, and once after it said that all was well."""
    disk, tally = Removable(), Tally.new()
    who = Taxferry(rooms.given / source, source)
    at, total, looked_empty = 0, 1, 0
    while at <= total:
        _ready(disk, rooms, who)
        files = Interrupted(lambda number, _, at=at: disk.pull() if number == at else None)
        who.files = files
        with mounted(disk.device, rooms.stick) as root:
            try:
                who.visit(root)
                said_safe = True
                total = files.operations
                disk.pull()
            except Refused:
                said_safe = False
            who.files = LOCAL
            looked_empty += _looks_empty(root)
            believed = _taken_for_healthy(root)
        disk.plug()
        with mounted(disk.device, rooms.stick) as root:
            word = outcome(who, who.found(root), said_safe=said_safe)
            word = _bystander(who, root) or word
            trouble = _next_visit(who, root)
        word = "false-safe" if believed else "next-visit-blocked" if trouble else word
        tally.count(word, f"pulled before operation {at}: {trouble}")
        if not said_safe:
            total = at + step
        at += step
    return tally.answer(looked_empty=looked_empty, operations=total)


def _looks_empty(root: Path) -> bool:
    """Return whether a pulled disk is shown as an empty folder, without any error."""
    try:
        return not os.listdir(root)
    except OSError:
        return False


def _taken_for_healthy(root: Path) -> bool:
    """Return whether a visit to a pulled disk ends as if nothing lay on it and all were well."""
    try:
        with Stick.open(root, station="online-1", unprepared=True) as stick:
            stick.list()
            stick.finish()
    except TaxferryError:
        return False
    return True


def pulled_command(rooms: Rooms, *, carrier: str, source: str, sectors: list[int]) -> dict[str, Any]:
    """Pull the disk under somebody else's visit: after so many sectors were written, and as soon as it is over."""
    disk, tally = Removable(), Tally.new()
    who = rooms.carrier(carrier, source)
    for most in [*sectors, 1 << 40]:
        _ready(disk, rooms, who)
        stat = disk.block / "stat"
        with mounted(disk.device, rooms.stick) as root:
            over = threading.Event()
            already = _written(stat)
            watcher = threading.Thread(target=_pull_after, args=(disk, stat, already + most, over))
            watcher.start()
            try:
                who.visit(root)
                said_safe = True
            except Refused:
                said_safe = False
            over.set()
            watcher.join()
            if Removable._found() is not None:
                disk.pull()
        disk.plug()
        with mounted(disk.device, rooms.stick) as root:
            word = outcome(who, who.found(root), said_safe=said_safe)
        tally.count(word, f"pulled after {most} sectors" if most < 1 << 40 else "pulled as soon as it was over")
    return tally.answer()


def _written(stat: Path) -> int:
    return int(stat.read_text().split()[6])


def _pull_after(disk: Removable, stat: Path, most: int, over: threading.Event) -> None:
    while not over.is_set():
        if _written(stat) >= most:
            disk.pull()
            return
        over.wait(0.0005)


def protected(rooms: Rooms, *, source: str) -> dict[str, Any]:
    """Visit a write-protected stick: say what the writer heard, and what a reader could take."""
    disk = Removable()
    who = Taxferry(rooms.given / source, source)
    _ready(disk, rooms, who)
    disk.protect(on=True)
    try:
        with mounted(disk.device, rooms.stick, read_only=True) as root:
            refused = _refusal(who, root)
            with Stick.open(root, station="online-1") as stick:
                listed = [entry.name for entry in stick.list(".txt").files]
                whole = b"".join(stick.blocks(stick.list(".txt").files[0])) == who.other.read_bytes()
                stick.finish()
    finally:
        disk.protect(on=False)
    with mounted(disk.device, rooms.stick) as root:
        who.visit(root)
        return {"refused": refused, "listed": listed, "whole": whole, "after": who.found(root)}


def _refusal(who: Carrier, root: Path) -> str:
    try:
        who.visit(root)
    except Refused as error:
        return str(error)
    return ""


def bad_blocks(rooms: Rooms, *, carrier: str, source: str, fault: str) -> dict[str, Any]:
    """Visit a disk that fails only after it has accepted what is written.

    Args:
        rooms: The guest's folders.
        carrier: Who is tried.
        source: The file to carry.
        fault: `unreadable`: what was written cannot be read; `forged`: it was never stored.
    """
    disk, tally = Removable(), Tally.new()
    who = rooms.carrier(carrier, source)
    _ready(disk, rooms, who)
    with mounted(disk.device, rooms.stick) as root:
        first = _next_sector(root)
    ailing = disk.unreadable(first, 20_000) if fault == "unreadable" else disk.forged(first)
    with ailing as device:
        with mounted(device, rooms.stick) as root:
            refused = _refusal(who, root)
        with mounted(device, rooms.stick) as root:
            found = who.found(root)
    with mounted(disk.device, rooms.stick) as root:
        trouble = _next_visit(who, root) if isinstance(who, Taxferry) else ""
    word = "next-visit-blocked" if trouble else "refused" if refused else outcome(who, found, said_safe=True)
    tally.count(word, trouble or found)
    return tally.answer(refused=refused, found=found)


def _next_sector(root: Path) -> int:
    """Return the disk's sector that will be written next, near enough."""
    probe = root / "probe"
    with probe.open("wb") as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())
        number = bytearray(4)
        fcntl.ioctl(file.fileno(), _FIBMAP, number)
    probe.unlink()
    return int.from_bytes(number, sys.byteorder)


def names(rooms: Rooms, *, source: str) -> dict[str, Any]:
    """Show how FAT treats names, and what our visits make of it."""
    disk = Removable()
    who = Taxferry(rooms.given / source, source)
    _ready(disk, rooms, who)
    data = who.source.read_bytes()
    with mounted(disk.device, rooms.stick) as root:
        folder = who.path(root).parent
        twin = "310100000000000_3_202608010000.txt"
        (folder / twin.upper()).write_bytes(b"another content")
        long = "税控" * 80 + ".txt"
        (root / long).write_bytes(b"a person's file")
        copied = source.replace(".txt", " - 副本.txt")
        (root / copied).write_bytes(data)
        (root / (source + ".")).write_bytes(data)  # FAT drops the dot
        with Stick.open(root, station="offline-1") as stick:
            try:
                stick.place(who.source, twin, who.direction, now=NOW)
                taken_name = ""
            except TaxferryError as error:
                taken_name = type(error).__name__
            listing = stick.list()
            stick.finish()
        return {
            "case twin": taken_name,
            "twin": (folder / twin).read_bytes().decode(),
            "listed": sorted((f.place, f.name) for f in listing.files),
            "foreign": listing.foreign,
            "long": (root / long).read_bytes().decode(),
        }


def full(rooms: Rooms, *, source: str) -> dict[str, Any]:
    """Fill the stick before a visit and during one, then make room and visit again."""
    disk, answer = Removable(), {}
    who = Taxferry(rooms.given / source, source)

    for when in ("before", "during"):
        _ready(disk, rooms, who)
        with mounted(disk.device, rooms.stick) as root:
            if when == "before":
                _fill_up(root / "filler")
            else:  # somebody else does it while our part is being made
                who.files = Interrupted(lambda _, name: name == "create" and _fill_up(rooms.stick / "filler"))
            refused = _refusal(who, root)
            who.files = LOCAL
            left = sorted(os.listdir(who.path(root).parent))
            (root / "filler").unlink()
            who.visit(root)
            answer[when] = {"refused": refused, "left": left, "after": who.found(root)}
    return answer


def _fill_up(path: Path) -> None:
    block = bytes(1 << 16)
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                if file.write(block) < len(block):
                    return
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    return
                raise


def round_trip(rooms: Rooms) -> dict[str, Any]:
    """Play the demonstration, every command a process of its own, with a real stick between the stations.

    Returns:
        Which machines' cards were cleared; what lies on the stick at the end, when it is plugged in again.
    """
    _loopback_up()
    stage = demo.Stage(rooms.own / "演示", "zh", quiet=True)
    demo.prepare(stage.root)
    disk = Removable()
    format_disk(disk.device, 32)
    with mounted(disk.device, stage.stick):
        demo.play(stage, date.today())  # noqa: DTZ011  the machine's own day is what the stations use
    disk.pull()
    disk.plug()
    with mounted(disk.device, rooms.stick) as root:
        left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {"cleared": sorted(stage.cleared), "left": left}


def _loopback_up() -> None:
    """Let the guest speak to itself: its bureau is at 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = struct.pack("16sH14s", b"lo", _IFF_UP, b"")
        fcntl.ioctl(some.fileno(), _SIOCSIFFLAGS, request)


ORDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "power cut": power_cut,
    "pulled": pulled,
    "pulled command": pulled_command,
    "protected": protected,
    "bad blocks": bad_blocks,
    "names": names,
    "full": full,
    "round trip": round_trip,
}


def main(folder: Path) -> int:
    """Carry out the orders."""
    rooms = Rooms(folder)
    orders = json.loads((folder / "orders.json").read_text(encoding="utf-8"))
    if any(order["do"] == "power cut" for order in orders):
        kilobytes = max(_MEGABYTES[o["fat"]] for o in orders if o["do"] == "power cut") << 10
        command("modprobe", "-d", folder / "modules", "brd", "rd_nr=3", f"rd_size={kilobytes}")
    answers = []
    for order in orders:
        print(json.dumps(order, ensure_ascii=False), Path("/proc/uptime").read_text(), flush=True)
        answers.append(ORDERS[order.pop("do")](rooms, **order))
        print(json.dumps(answers[-1], ensure_ascii=False), Path("/proc/uptime").read_text(), flush=True)
    (folder / "answers.json").write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
