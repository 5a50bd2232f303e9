"""What the fault campaigns carry to a stick, and how a run of theirs has ended.

A `Cargo` is a folder with files that a visit places, and the stick's other inhabitants, which no visit may touch. After
each run `Cargo.end` gives it one of the words of `tests.support.reliability`; the next, undisturbed visit has to
complete whatever lies there.
"""

from __future__ import annotations

import hashlib
import os
import random
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shared.errors import TaxferryError
from shared.medium import LOCAL, Direction, FilePort, Stick, container
from shared.medium.names import MARKER, PartName, parse_part_name, station_tag
from tests.support.reliability import BAD, record
from tests.support.stick_worker import NOW, STATION, visit

DIRECTION = Direction.TO_ONLINE
LONG = os.environ.get("TAXFERRY_PROFILE") == "long"
STRANGERS = {
    "照片.jpg": b"\xff\xd8 a picture of somebody's child" * 40,
    f"{MARKER}/to-online/310100000000019_0_202607010000.dat": b"another taxpayer's report" * 300,
    f"{MARKER}/to-offline/{PartName('310100000000019_0_202607010000.txt', 'c0ffee00', 'online-9')}": b"half of it",
}
"""What lies on the stick besides: a person's file, another machine's report, a part that another station writes."""


T = TypeVar("T")


def sample(points: Iterable[T], stride: int, *, first: int = 0) -> list[T]:
    """Return every `stride`-th point; all of them in the long profile."""
    return list(points)[first % stride :: stride] if not LONG else list(points)


@dataclass(frozen=True)
class Cargo:
    """Files to be carried.

    Attributes:
        folder: Where they lie.
        files: Their bytes, by name.
        mode: How a visit places them; one of `stick_worker.MODES`.
    """

    folder: Path
    files: dict[str, bytes]
    mode: str = "single"

    @classmethod
    def make(cls, folder: Path, sizes: dict[str, int], mode: str = "single", *, seed: int = 1) -> Cargo:
        """Write files of seeded noise."""
        luck = random.Random(seed)
        files = {name: luck.randbytes(size) for name, size in sizes.items()}
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return cls(folder, files, mode)

    # The stick ------------------------------------------------------------------------------------------------------

    def prepare(self, stick: Path, *, begun: bool = False) -> None:
        """Prepare a stick with its strangers; if `begun`, the first file lies there as a copy that broke off."""
        with Stick.prepare(stick, "财务部", station=STATION, now=NOW) as made:
            made.finish()
        for name, data in STRANGERS.items():
            (stick / name).write_bytes(data)
        if begun:
            self.final(stick, next(iter(self.files))).write_bytes(self.begun)

    @property
    def begun(self) -> bytes:
        """The broken-off copy of the first file."""
        data = next(iter(self.files.values()))
        return data[: len(data) // 3]

    @staticmethod
    def final(stick: Path, name: str) -> Path:
        """Return where a file belongs."""
        return stick / MARKER / DIRECTION / name

    def paths(self, stick: Path) -> list[Path]:
        """Return every path below the stick that a visit may work on."""
        places = [stick, stick / MARKER, *(stick / MARKER / d for d in Direction)]
        names = [self.final(stick, name) for name in self.files]
        parts = [
            self.final(stick, str(PartName(name, hashlib.sha256(data).hexdigest()[:8], station_tag(STATION))))
            for name, data in self.files.items()
        ]
        if self.mode == "batch":
            members = [container.Member(n, len(d), hashlib.sha256(d).hexdigest()) for n, d in self.files.items()]
            name = container.plan(members, DIRECTION).name
            names.append(self.final(stick, name))
            parts.append(self.final(stick, str(PartName(name, name[6:14], station_tag(STATION)))))
        return [*places, *names, *parts, stick / MARKER / "stick.json", stick / MARKER / "transfer-log.csv"]

    def visit(self, stick: Path, files: FilePort = LOCAL) -> str:
        """Make a visit; return `SAFE`, or what was said instead."""
        try:
            visit(stick, self.folder, DIRECTION, mode=self.mode, files=files)
        except TaxferryError as error:
            return f"REFUSED {error.code}"
        except Exception:  # noqa: BLE001  this is what a campaign looks for
            return f"CRASHED {traceback.format_exc()}"
        return "SAFE"

    def found(self, stick: Path) -> dict[str, bytes | None]:
        """Return what a receiver finds under each name: by itself, or in a container that is whole."""
        found = {name: _read(self.final(stick, name)) for name in self.files}
        for path in sorted((stick / MARKER / DIRECTION).glob("batch-*.tar")):
            inside: dict[str, bytes] = {}
            try:
                with path.open("rb") as file:
                    for entry in container.read(file, path.stat().st_size):
                        inside[entry.name] = b"".join(iter(lambda entry=entry: entry.read(1 << 20), b""))  # type: ignore[misc]
            except (TaxferryError, OSError):
                continue
            found |= {name: data for name, data in inside.items() if found.get(name) != self.files[name]}
        return found

    # How it ended ---------------------------------------------------------------------------------------------------

    def end(self, stick: Path, said: str, *, begun: bool = False, believed: bool = False) -> str:
        """Return how a run has ended.

        Args:
            stick: The stick, alive again.
            said: What the visit said; empty if it was killed.
            begun: Whether it began with a broken-off copy of the first file.
            believed: Whether the subject's receivers believe a file by its name.
        """
        if said.startswith("CRASHED"):
            return "crashed"
        found = self.found(stick)
        complete = found == self.files
        if said == "SAFE" and not complete:
            return "false-safe"
        if any(_read(stick / name) != data for name, data in STRANGERS.items()):
            return "lost"
        if complete:
            return "new"
        first = next(iter(self.files))
        before = {first: self.begun} if begun else {}
        torn = [n for n, data in found.items() if data is not None and data not in (self.files[n], before.get(n))]
        if torn:
            return "torn-believed" if believed else "torn-not-believed"
        if said.startswith("REFUSED"):
            return "refused"
        return "old" if begun and found[first] is not None else "absent"

    def completes(self, stick: Path) -> bool:
        """Make the next visit, undisturbed; return whether all is there, and nothing half done of this station."""
        said = self.visit(stick)
        found = self.found(stick)
        return said == "SAFE" and found == self.files and not leftovers(stick)


def leftovers(stick: Path) -> list[str]:
    """Return the parts of this station that lie on a stick."""
    found = []
    for place in Direction:
        for path in (stick / MARKER / place).iterdir():
            part = parse_part_name(path.name)
            if part is not None and part.station == station_tag(STATION):
                found.append(path.name)
    return found


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


@dataclass
class Tally:
    """Counts the ends of a campaign's runs, and remembers where the bad ones were.

    Attributes:
        tier: As in `reliability.record`; so are `medium`, `fault` and `subject`.
        ends: How often each word was the end.
        bad: Where a run ended badly.
    """

    tier: str
    medium: str
    fault: str
    subject: str = "taxferry"
    ends: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def count(self, end: str, where: str) -> None:
        """Count one run."""
        self.ends[end] += 1
        if end in BAD:
            self.bad.append(f"{end} at {where}")

    def close(self, *, at_least: int = 1) -> None:
        """Write the campaign down; no run of ours may have ended badly, one of a naive subject must have."""
        record(tier=self.tier, medium=self.medium, fault=self.fault, subject=self.subject, outcomes=self.ends)
        print(f"{self.tier} {self.medium}, {self.fault}, {self.subject}: {dict(self.ends)}")
        # Two files by themselves are the least that a campaign is about; as one container they are half the operations.
        assert self.ends.total() >= at_least // 2, f"only {self.ends.total()} runs"
        if self.subject == "taxferry":
            assert not self.bad, "\n".join(self.bad[:20])
        else:
            assert self.bad, f"nothing bad was seen of {self.subject}: would this campaign see anything?"
