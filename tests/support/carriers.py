"""Who carries a file on a stick: taxferry, and others that people use for it. The fault campaigns try them all alike."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from shared.clock import CHINA
from shared.errors import TaxferryError
from shared.medium import LOCAL, Direction, FilePort, Stick, container
from shared.medium.stick import Outgoing
from shared.verify import verify_file

NOW = datetime(2026, 8, 3, 9, 30, tzinfo=CHINA)
PATIENCE = 60


class Refused(Exception):
    """The carrier said that it did not work: the stick must not be pulled, or must be tried again."""


class Carrier(Protocol):
    """One way to bring one file onto a stick.

    Attributes:
        name: As it stands in the table.
        believes: Whether whoever reads the stick takes what lies under the final name for the file.
    """

    name: str
    believes: bool

    def prepare(self, root: Path) -> None:
        """Make a new stick ready, before anything is recorded."""
        ...

    def visit(self, root: Path) -> None:
        """Bring the file onto the stick. Who comes back has said that the stick may be pulled; else raises `Refused`."""
        ...

    def found(self, root: Path) -> str:
        """Return what lies under the final name: `new`, `absent`, `torn`, or `believed`: torn, and its reader took it."""
        ...

    def keeps(self) -> bool:
        """Return whether the sender still has the file, and will bring it again."""
        ...


def outcome(carrier: Carrier, found: str, *, said_safe: bool) -> str:
    """Return the table's word for a stick as it was found."""
    if found == "new":
        return "new"
    if said_safe:
        return "false-safe" if carrier.keeps() else "lost"
    if found == "believed":
        return "torn-believed"
    if found == "torn":
        return "torn-believed" if carrier.believes else "torn-not-believed"
    return found


def _compare(path: Path, expected: bytes) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return "absent"
    except OSError:
        return "torn"
    return "new" if data == expected else "torn"


class Taxferry:
    """Our own: one visit that places a signed file beside one that has lain there for long."""

    name = "taxferry"
    believes = False
    bystander = "310100000000000_9_202607010000.txt"

    def __init__(self, source: Path, name: str, files: FilePort = LOCAL) -> None:
        self.source, self.file, self.files = source, name, files
        self.direction = Direction.TO_OFFLINE if name.endswith(".txt") else Direction.TO_ONLINE
        # What lies beside it is small: so is the stick.
        self.other = source.with_name("other")
        if not self.other.exists():
            self.other.write_bytes(source.read_bytes()[:4000])

    def prepare(self, root: Path) -> None:
        with Stick.prepare(root, "财务部", station="offline-1", now=NOW) as stick:
            stick.place(self.other, self.bystander, self.direction, now=NOW)
            stick.place(self.other, "310100000000000_8_202607010000.txt", self.direction, now=NOW)
            stick.finish()

    def visit(self, root: Path) -> None:
        try:
            with Stick.open(root, station="offline-1", files=self.files) as stick:
                self.place(stick)
                stick.finish()
        except TaxferryError as error:
            raise Refused(type(error).__name__) from error

    def place(self, stick: Stick) -> None:
        """Do what the visit is for. Another way of placing is a class below this one, and a name in `MAKERS`."""
        stick.place(self.source, self.file, self.direction, now=NOW)

    def go_on(self, root: Path) -> None:
        """Visit once more with the same file and two others: all is as it should be, also what is added to."""
        self.visit(root)
        for machine in (6, 7):
            Taxferry(self.other, f"310100000000000_{machine}_202607010000.txt").visit(root)

    def path(self, root: Path) -> Path:
        return root / "TAXFERRY" / self.direction / self.file

    def expected(self) -> bytes:
        """Return what is to lie there."""
        return self.source.read_bytes()

    def found(self, root: Path) -> str:
        state = _compare(self.path(root), self.expected())
        if state == "torn":
            # Not even what is whole but for one octet may be believed.
            with contextlib.suppress(TaxferryError, OSError):
                self.prove(self.path(root))
                return "believed"
        return state

    def prove(self, path: Path) -> None:
        """Read the file as whoever takes it from the stick does; raises if it is not to be believed."""
        verify_file(path, None, NOW)

    def keeps(self) -> bool:
        return True


class Batch(Taxferry):
    """The same with several files at once, which go as one container."""

    def _items(self) -> list[Outgoing]:
        names = [self.file, *(f"310100000000000_{machine}_202607010000.txt" for machine in (3, 4, 5))]
        return [Outgoing.of(self.source, name) for name in names]

    def _plan(self) -> container.Plan:
        members = [container.Member(item.name, item.size, item.sha256) for item in self._items()]
        return container.plan(members, self.direction)

    def place(self, stick: Stick) -> None:
        stick.place_batch(self._items(), self.direction, now=NOW)

    def path(self, root: Path) -> Path:
        return super().path(root).with_name(self._plan().name)

    def expected(self) -> bytes:
        made = io.BytesIO()
        container.write(self._plan(), lambda _: self.source.open("rb"), made.write)
        return made.getvalue()

    def prove(self, path: Path) -> None:
        with path.open("rb") as file:
            for entry in container.read(file, path.stat().st_size):
                while entry.read(1 << 16):
                    pass


class FirstVisit(Taxferry):
    """The same on a stick that was just bought: the visit begins with preparing it."""

    bystander = ""

    def prepare(self, root: Path) -> None:
        return

    def visit(self, root: Path) -> None:
        try:
            Stick.prepare(root, "财务部", station="offline-1", now=NOW).close()
        except TaxferryError as error:
            raise Refused(type(error).__name__) from error
        super().visit(root)


class Command:
    """One or more ordinary commands, as people type them, to bring a file onto a stick."""

    believes = True

    def __init__(self, name: str, source: Path, *commands: Sequence[str]) -> None:
        self.name, self.source, self.commands = name, source, commands

    def prepare(self, root: Path) -> None:
        return

    def command(self, root: Path, number: int = 0) -> list[str]:
        """Return one of the commands as it is called."""
        return [word.format(source=self.source, root=root) for word in self.commands[number]]

    def visit(self, root: Path) -> None:
        for number in range(len(self.commands)):
            run_or_refuse(self.command(root, number))

    def found(self, root: Path) -> str:
        return _compare(root / self.source.name, self.source.read_bytes())

    def keeps(self) -> bool:
        return True


class Textbook(Command):
    """Write under another name, sync, rename, sync the folder: durable nearly everywhere, and not on Linux vfat."""

    def __init__(self, source: Path) -> None:
        super().__init__("fsync, rename, fsync", source)

    def visit(self, root: Path) -> None:
        part = root / "part"
        try:
            with part.open("wb") as file:
                file.write(self.source.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            part.rename(root / self.source.name)
            folder = os.open(root, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise Refused(str(error)) from error


class Nncp:
    """NNCP's sneakernet, the closest relative: `nncp-xfer -tx` moves an encrypted packet from the spool to the stick.

    Its reader checks a packet's authentication when it opens it, so that nothing torn is believed; but its sender
    removes the packet from the spool as soon as it lies on the stick.
    """

    name = "nncp-xfer"
    believes = False

    def __init__(self, source: Path, home: Path) -> None:
        self.source, self.home = source, home
        if not (home / "a.json").exists():
            self._found()
        node = json.loads((home / "a.json").read_text())
        self._receiver, self._sender = node["neigh"]["b"]["id"], node["self"]["id"]

    def _found(self) -> None:
        """Make two nodes that know each other, and a packet from one to the other."""
        (self.home / "spool-a").mkdir(parents=True, exist_ok=True)
        made = {}
        for node in "ab":
            text = run_or_refuse(["nncp-cfgnew", "-nocomments"])
            made[node] = dict(re.findall(r"(\w+): ([A-Z2-7]{40,})", text.split("neigh:")[0]))
        public = {
            node: {k: v for k, v in keys.items() if k in ("id", "exchpub", "signpub", "noisepub")}
            for node, keys in made.items()
        }
        for node in "ab":
            spool = self.home / f"spool-{node}"
            neighbours = {"self": public[node], **{other: public[other] for other in "ab" if other != node}}
            config = {"spool": str(spool), "log": str(self.home / "log"), "self": made[node], "neigh": neighbours}
            (self.home / f"{node}.json").write_text(json.dumps(config))
        run_or_refuse(
            ["nncp-file", "-quiet", "-cfg", str(self.home / "a.json"), str(self.source), f"b:{self.source.name}"]
        )
        shutil.copytree(self.home / "spool-a", self.home / "spool-full")

    def command(self, root: Path) -> list[str]:
        """Return the command as it is called."""
        return ["nncp-xfer", "-quiet", "-cfg", str(self.home / "a.json"), "-mkdir", "-tx", str(root)]

    def prepare(self, root: Path) -> None:
        self.refill()

    def refill(self) -> None:
        """Put the packet back into the sender's spool."""
        shutil.rmtree(self.home / "spool-a", ignore_errors=True)
        shutil.copytree(self.home / "spool-full", self.home / "spool-a")

    def visit(self, root: Path) -> None:
        run_or_refuse(self.command(root))

    def _packet(self) -> Path:
        return next(p for p in (self.home / "spool-full" / self._receiver / "tx").iterdir() if len(p.name) == 52)

    def found(self, root: Path) -> str:
        packet = self._packet()
        return _compare(root / self._receiver / self._sender / packet.name, packet.read_bytes())

    def keeps(self) -> bool:
        return (self.home / "spool-a" / self._receiver / "tx" / self._packet().name).exists()


def run_or_refuse(words: Sequence[str]) -> str:
    """Run a command and return what it wrote; raise `Refused` if it failed."""
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False)
    if done.returncode != 0:
        raise Refused(f"{words[0]}: {done.returncode}: {done.stderr[-300:]}")
    return done.stdout


MAKERS: dict[str, Callable[[Path, Path], Carrier]] = {
    "taxferry": lambda source, home: Taxferry(source, source.name),
    "taxferry, batch": lambda source, home: Batch(source, source.name),
    "taxferry, first visit": lambda source, home: FirstVisit(source, source.name),
    "cp": lambda source, home: Command("cp", source, ["cp", "{source}", "{root}/"]),
    "cp && sync": lambda source, home: Command("cp && sync", source, ["cp", "{source}", "{root}/"], ["sync"]),
    "fsync, rename, fsync": lambda source, home: Textbook(source),
    "nncp-xfer": lambda source, home: Nncp(source, home / "nncp"),
}
"""By their names: from the file to be carried and a folder of their own."""
