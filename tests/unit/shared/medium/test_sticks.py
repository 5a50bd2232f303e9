"""What a station knows and remembers of its sticks."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.errors import MediumAbsent, MediumAmbiguous, MediumInUse, MediumUnprepared
from shared.medium import Direction, Stick, find, sticks
from shared.medium.find import FoundStick, MediumState
from shared.medium.sticks import Sticks
from shared.medium.volumes import Volume
from tests.support.pki import NOW
from tests.support.sticks import STATION, name_of, ours, prepared


@dataclass
class Memory:
    """Settings in memory."""

    kept: dict[str, str] = field(default_factory=dict)
    writes: int = 0

    def recall(self, key: str) -> str:
        return self.kept.get(key, "")

    def keep(self, key: str, value: str) -> None:
        self.writes += 1
        self.kept[key] = value


@dataclass
class Machine:
    """A machine with volumes as a test wants them."""

    volumes: list[Volume] = field(default_factory=list)

    def plug(self, path: Path, serial: str) -> None:
        self.volumes.append(Volume(path, f"//share/{path.name}", "vfat", removable=True, serial=serial))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    known = find.survey

    def survey(remembered: Sequence[Path], **options: object) -> list[FoundStick]:
        return known(remembered, volumes=lambda: made.volumes, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sticks, "survey", survey)
    monkeypatch.setattr(sticks, "examine", lambda path, **o: find.examine(path, volumes=lambda: made.volumes, **o))
    return made


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def station(machine: Machine, memory: Memory) -> Sticks:
    return Sticks(STATION, memory, lambda entry: entry.suffix == ".dat", lambda: False)


def test_the_only_stick_that_is_in_is_meant(station: Sticks, machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(MediumAbsent):
        station.find(None)
    red = prepared(tmp_path / "red", "红")
    machine.plug(red, "1")
    assert station.find(None) == red
    blue = prepared(tmp_path / "blue", "蓝")
    machine.plug(blue, "2")
    with pytest.raises(MediumAmbiguous):
        station.find(None)
    assert station.find(blue) == blue
    with pytest.raises(MediumAbsent):
        station.find(tmp_path / "gone")


def test_a_name_that_is_typed_finds_the_stick(station: Sticks, machine: Machine, tmp_path: Path) -> None:
    for name in ("红", "蓝"):
        machine.plug(prepared(tmp_path / name, name), name)
    assert station.find(Path("蓝")) == tmp_path / "蓝"


def test_the_folder_used_last_is_found_until_it_is_gone(station: Sticks, memory: Memory, tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    identity = station.prepare(folder, "共享", new_identity=False, now=NOW)
    assert station.find(None) == folder
    writes = memory.writes
    station.remember(folder)
    assert memory.writes == writes, "nothing is written for what is known"
    (one,) = station.found()
    assert (one.identity, one.state) == (identity, MediumState.EMPTY)
    shutil.rmtree(folder)
    with pytest.raises(MediumAbsent):
        station.find(None)


def test_preparing_keeps_the_identity_unless_a_new_one_is_asked_for(station: Sticks, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    folder.mkdir()
    first = station.prepare(folder, "红", new_identity=False, now=NOW)
    assert station.prepare(folder, "", new_identity=False, now=NOW) == first
    second = station.prepare(folder, "", new_identity=True, now=NOW)
    assert second.id != first.id
    assert second.label == first.label


def test_a_disc_is_made_of_an_empty_folder_only_and_is_not_remembered(
    station: Sticks, memory: Memory, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "disc"
    station.prepare_disc(folder, "", now=NOW)
    with Stick.open(folder, station=STATION) as stick:
        assert stick.identity is not None
        assert stick.identity.label.startswith("光盘 2026-08-05")
    assert memory.kept == {}
    with pytest.raises(MediumInUse):
        station.prepare_disc(folder, "", now=NOW)


def test_a_stick_and_its_copy_that_are_in_together_are_told_apart(
    station: Sticks, machine: Machine, tmp_path: Path
) -> None:
    red = prepared(tmp_path / "red", "红")
    copy = Path(shutil.copytree(red, tmp_path / "copy"))
    machine.plug(red, "1")
    with Stick.open(red, station=STATION) as stick:
        assert list(station.doubts(stick)) == []
    machine.plug(copy, "2")
    with Stick.open(red, station=STATION) as stick:
        (warning,) = station.doubts(stick)
    assert "--new-identity" in warning.zh
    station.prepare(copy, "", new_identity=True, now=NOW)
    with Stick.open(red, station=STATION) as stick:
        assert list(station.doubts(stick)) == []


def test_a_copy_that_comes_instead_of_its_stick_is_noticed_by_the_volume(
    station: Sticks, machine: Machine, memory: Memory, tmp_path: Path
) -> None:
    red = prepared(tmp_path / "red", "红")
    machine.plug(red, "1")
    with Stick.open(red, station=STATION) as stick:
        assert list(station.doubts(stick)) == []
    known = dict(memory.kept)
    machine.volumes.clear()
    copy = Path(shutil.copytree(red, tmp_path / "copy"))
    machine.plug(copy, "2")
    with Stick.open(copy, station=STATION) as stick:
        assert len(list(station.doubts(stick))) == 1
        assert len(list(station.doubts(stick))) == 1, "as long as it has the same marker"
    assert memory.kept == known, "the first one stays the true one"


def test_a_medium_without_the_marker_raises_no_doubts(station: Sticks, tmp_path: Path) -> None:
    with Stick.open(tmp_path, station=STATION, unprepared=True) as stick:
        assert list(station.doubts(stick)) == []


def test_what_is_meant_is_shown_and_several_are_not_guessed(station: Sticks, machine: Machine, tmp_path: Path) -> None:
    assert station.meant(None, station.found()) is None
    red = prepared(tmp_path / "red", "红")
    (ours(red, Direction.TO_ONLINE) / name_of(0, ".dat")).write_bytes(b"x")
    machine.plug(red, "1")
    found = station.meant(None, station.found())
    assert found is not None
    assert (found.path, found.waiting, found.state) == (red, 1, MediumState.WORK)
    machine.plug(prepared(tmp_path / "blue", "蓝"), "2")
    assert station.meant(None, station.found()) is None
    with pytest.raises(MediumAbsent):
        station.meant(Path("绿"), station.found())
    bare = tmp_path / "bare"
    bare.mkdir()
    shown = station.meant(bare, station.found())
    assert shown is not None
    assert shown.state is MediumState.NOT_OURS


def test_only_a_bare_stick_is_not_taken_for_ours(station: Sticks, machine: Machine, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    machine.plug(bare, "9")
    with pytest.raises(MediumUnprepared):
        station.find(None)


def test_settling_tells_whose_stick_it_was(station: Sticks, tmp_path: Path) -> None:
    identity = station.settle(prepared(tmp_path / "red", "红"))
    assert identity is not None
    assert identity.label == "红"
    assert station.settle(tmp_path) is None
    with pytest.raises(MediumAbsent):
        station.settle(tmp_path / "gone")
