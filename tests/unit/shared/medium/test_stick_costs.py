"""What a visit costs a slow medium: whole blocks, one write of the log, no listing for each file."""

from __future__ import annotations

import csv
import hashlib
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Self, cast

import pytest

from shared.clock import CHINA
from shared.medium import Direction, Folder, LocalFiles, Outgoing, Stick

NOW = datetime(2026, 8, 5, 9, 30, tzinfo=CHINA)
BLOCK = 1 << 20
NAMES = [f"310100000000000_{number}_202608010000.dat" for number in range(40)]


class Writes:
    """A file that notes how long each write is."""

    def __init__(self, file: BinaryIO, noted: list[int]) -> None:
        self._file, self._noted = file, noted

    def write(self, data: bytes) -> int:
        self._noted.append(len(data))
        return self._file.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class Counting(LocalFiles):
    """The machine's files, and what was asked of them."""

    def __init__(self) -> None:
        self.writes: list[int] = []
        self.appends: list[str] = []
        self.listings = 0

    def create(self, folder: Folder, name: str) -> BinaryIO:
        return cast("BinaryIO", Writes(super().create(folder, name), self.writes))

    def append(self, folder: Folder, name: str, data: bytes) -> BinaryIO:
        self.appends.append(name)
        return super().append(folder, name, data)

    def names(self, folder: Folder, limit: int) -> list[str]:
        self.listings += 1
        return super().names(folder, limit)


@pytest.fixture
def files() -> Counting:
    return Counting()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "stick"
    path.mkdir()
    Stick.prepare(path, "财务部", station="offline-1", now=NOW).close()
    return path


@pytest.fixture
def outgoing(tmp_path: Path) -> list[Outgoing]:
    found = []
    for number, name in enumerate(NAMES):
        path = tmp_path / name
        path.write_bytes(bytes([number]) * 70_001)
        found.append(Outgoing.of(path, name))
    return found


def log_of(folder: Path) -> list[list[str]]:
    return list(csv.reader((folder / "TAXFERRY/transfer-log.csv").read_text(encoding="utf-8-sig").splitlines()))


def test_a_container_is_written_in_whole_blocks_and_logged_at_once(
    folder: Path, files: Counting, outgoing: list[Outgoing]
) -> None:
    with Stick.open(folder, station="offline-1", files=files) as stick:
        (placed,) = stick.place_batch(outgoing, Direction.TO_ONLINE, now=NOW)
        stick.finish()
    assert sum(files.writes) == placed.size > 2 * BLOCK
    assert set(files.writes[:-1]) == {BLOCK}
    assert files.appends == ["transfer-log.csv"]
    names = [row[3] for row in log_of(folder)[1:]]
    assert names == [placed.name, *(f"{placed.name}/{name}" for name in sorted(NAMES))]


def test_the_folder_is_not_listed_for_each_file(folder: Path, files: Counting, outgoing: list[Outgoing]) -> None:
    with Stick.open(folder, station="offline-1", files=files) as stick:
        stick.place(outgoing[0].path, outgoing[0].name, Direction.TO_ONLINE, now=NOW)
        before = files.listings
        for each in outgoing[1:]:
            stick.place(each.path, each.name, Direction.TO_ONLINE, now=NOW)
        assert files.listings == before


@pytest.mark.parametrize("tag", ["offline-1", "online-9"])
def test_a_complete_part_of_an_earlier_visit_is_finished_and_not_written_again(
    folder: Path, files: Counting, outgoing: list[Outgoing], tag: str
) -> None:  # STICK-4
    ours = outgoing[3]
    part = folder / "TAXFERRY/to-online" / f".{ours.name}.{ours.sha256[:8]}.{tag}.part"
    part.write_bytes(ours.path.read_bytes())
    with Stick.open(folder, station="offline-1", files=files) as stick:
        assert not stick.place(ours.path, ours.name, Direction.TO_ONLINE, now=NOW).already
        stick.finish()
    assert files.writes == []
    there = folder / "TAXFERRY/to-online" / ours.name
    assert hashlib.sha256(there.read_bytes()).hexdigest() == ours.sha256
    assert not part.exists()


def test_a_broken_part_of_this_visit_does_not_stop_the_next_attempt(
    folder: Path, files: Counting, outgoing: list[Outgoing]
) -> None:  # STICK-4
    ours = outgoing[3]
    with Stick.open(folder, station="offline-1", files=files) as stick:
        stick.place(outgoing[0].path, outgoing[0].name, Direction.TO_ONLINE, now=NOW)
        part = folder / "TAXFERRY/to-online" / f".{ours.name}.{ours.sha256[:8]}.offline-1.part"
        part.write_bytes(b"half")
        stick.place(ours.path, ours.name, Direction.TO_ONLINE, now=NOW)
        stick.finish()
    assert not part.exists()
    assert (folder / "TAXFERRY/to-online" / ours.name).read_bytes() == ours.path.read_bytes()
