"""Which media are in, in what state, and which one is meant."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from shared.clock import CHINA
from shared.errors import ExitCode, MediumAbsent, MediumAmbiguous, MediumDamaged, MediumUnprepared, NoSuchStick
from shared.medium import Folder, LocalFiles, Stick, StickFile, StickIdentity
from shared.medium.find import (
    RESERVE,
    STATES,
    FoundStick,
    MediumState,
    choose,
    clone_warning,
    examine,
    fingerprint,
    foreign_files,
    locate,
    survey,
    twins,
    twins_warning,
)
from shared.medium.port import FilePort
from shared.medium.volumes import Volume
from shared.text import Text
from tests.support.loop_mount import ext4_image, mounted, quiet
from tests.support.medium import MemoryMedium
from tests.support.tools import tool

NOW = datetime(2026, 8, 3, 9, 30, tzinfo=CHINA)
REPORT = "310100000000000_0_202608010000.dat"
RESULT = "310100000000000_0_202608010000.txt"


def prepare(path: Path, label: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    Stick.prepare(path, label, station="offline-1", now=NOW).close()
    return path


def volume(path: Path, *, removable: bool = True, read_only: bool = False, serial: str = "", size: int = 0) -> Volume:
    """A volume for a folder of this machine."""
    return Volume(path, "", "exfat", read_only, size, serial, removable)


def reports(file: StickFile) -> bool:
    return file.suffix == ".dat"


def look(
    *volumes: Volume,
    remembered: tuple[Path, ...] = (),
    to_place: bool = False,
    files: FilePort | None = None,
    wanted: Callable[[StickFile], bool] = reports,
) -> list[FoundStick]:
    return survey(
        remembered,
        station="online-1",
        wanted=wanted,
        to_place=to_place,
        volumes=lambda: list(volumes),
        files=LocalFiles() if files is None else files,
    )


def states(found: list[FoundStick]) -> list[tuple[str, MediumState]]:
    return [(one.path.name, one.state) for one in found]


class Bad(LocalFiles):
    """The real file system, with one folder below which an operation fails as on a bad medium."""

    def __init__(self, folder: Path, operation: str, number: int = errno.EIO, *, leaves: bool = False) -> None:
        self.folder, self.operation, self.number, self.leaves = folder, operation, number, leaves

    def _fail(self, operation: str, path: Path) -> None:
        if operation == self.operation and path.is_relative_to(self.folder):
            if self.leaves:
                self.folder.rename(self.folder.with_name("gone"))
            raise OSError(self.number, os.strerror(self.number), str(path))

    def open_folder(self, path: Path) -> Folder:
        self._fail("open", path)
        return super().open_folder(path)

    def names(self, folder: Folder, limit: int) -> list[str]:
        self._fail("list", folder.path)
        return super().names(folder, limit)

    def sync_folder(self, folder: Folder) -> None:
        self._fail("sync", folder.path)
        super().sync_folder(folder)

    def free_bytes(self, folder: Folder) -> int:
        self._fail("free", folder.path)
        return super().free_bytes(folder)


# The vocabulary ---------------------------------------------------------------------------------------------------


def test_every_state_has_words_and_the_exit_code_of_the_interface() -> None:
    assert {state.value: int(words.exit) for state, words in STATES.items()} == {
        "none": 30,
        "several": 31,
        "not-ours": 32,
        "empty": 0,
        "work": 0,
        "full": 33,
        "read-only": 34,
        "damaged": 35,
        "pulled": 35,
    }
    assert set(STATES) == set(MediumState)
    for words in STATES.values():
        assert words.advice.zh.endswith("。")
        assert words.advice.en.endswith(".")
        assert words.name.zh
        assert words.name.en


def test_that_nothing_can_be_written_matters_only_to_one_that_has_to_write(tmp_path: Path) -> None:
    found = FoundStick(tmp_path, MediumState.READ_ONLY)
    assert found.exit_code(to_place=True) is ExitCode.MEDIUM_READ_ONLY
    assert found.exit_code(to_place=False) is ExitCode.OK
    assert FoundStick(tmp_path, MediumState.PULLED).exit_code(to_place=False) is ExitCode.MEDIUM_DAMAGED


# Looking ----------------------------------------------------------------------------------------------------------


def test_a_stick_is_found_by_its_marker_wherever_it_is(tmp_path: Path) -> None:  # STICK-21
    ours = prepare(tmp_path / "KINGSTON", "财务部")
    (tmp_path / "财务部").mkdir()
    found = look(volume(ours, removable=False), volume(tmp_path / "财务部", removable=False))
    assert [(one.path, one.label, one.state) for one in found] == [(ours, "财务部", MediumState.EMPTY)]
    assert found[0].identity is not None
    assert found[0].free_bytes > 0


def test_files_that_the_caller_came_for_are_counted(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    (ours / REPORT).write_bytes(b"x")
    (ours / "TAXFERRY" / "to-online" / REPORT.replace("_0_", "_1_")).write_bytes(b"x")
    (ours / "TAXFERRY" / "to-offline" / RESULT).write_bytes(b"x")
    assert [(one.state, one.waiting) for one in look(volume(ours))] == [(MediumState.WORK, 2)]
    assert [(one.state, one.waiting) for one in look(volume(ours), wanted=lambda f: f.size > 1)] == [
        (MediumState.EMPTY, 0)
    ]


def test_who_has_something_to_place_has_work(tmp_path: Path) -> None:
    assert [one.state for one in look(volume(prepare(tmp_path / "a", "甲")), to_place=True)] == [MediumState.WORK]


def test_a_removable_medium_of_others_is_reported_and_a_data_disk_is_not(tmp_path: Path) -> None:
    for name in ("stick", "disk"):
        (tmp_path / name).mkdir()
    found = look(volume(tmp_path / "stick"), volume(tmp_path / "disk", removable=False))
    assert states(found) == [("stick", MediumState.NOT_OURS)]
    assert found[0].identity is None


def test_a_marker_that_does_not_parse_is_not_ours(tmp_path: Path) -> None:
    broken = prepare(tmp_path / "a", "甲")
    (broken / "TAXFERRY" / "stick.json").write_bytes(b"{")
    assert states(look(volume(broken))) == [("a", MediumState.NOT_OURS)]


def test_a_remembered_folder_is_found_and_a_stale_one_is_not(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "folder", "甲")
    (tmp_path / "unmounted").mkdir()
    found = look(remembered=(ours, tmp_path / "unmounted", tmp_path / "gone"))
    assert states(found) == [("folder", MediumState.EMPTY)]
    assert found[0].volume is None


def test_one_folder_under_several_names_is_found_once(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    (tmp_path / "link").symlink_to(ours)
    found = look(volume(ours), volume(tmp_path / "link"), remembered=(ours, tmp_path / "link", ours / ".." / "a"))
    assert len(found) == 1
    assert found[0].volume is not None


def test_a_stick_without_room_is_full_only_for_one_who_has_to_place() -> None:
    medium = MemoryMedium()
    Stick.prepare(Path("/stick"), "甲", station="a", now=NOW, files=medium).close()
    medium.room = RESERVE - 1
    place = Volume(Path("/stick"), "", "vfat")
    assert [one.state for one in look(place, files=medium, to_place=True)] == [MediumState.FULL]
    assert [one.state for one in look(place, files=medium)] == [MediumState.EMPTY]
    medium.room = RESERVE
    assert [one.state for one in look(place, files=medium, to_place=True)] == [MediumState.WORK]


def test_a_protected_volume_is_read_only_and_can_still_be_read(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    (ours / REPORT).write_bytes(b"x")
    (found,) = look(volume(ours, read_only=True), to_place=True)
    assert (found.state, found.waiting) == (MediumState.READ_ONLY, 1)


def test_a_read_only_mount_is_told_by_the_system_itself(tmp_path: Path) -> None:
    image = ext4_image(tmp_path / "image")
    with mounted(image, tmp_path / "stick") as folder:
        prepare(folder, "甲")
        assert examine(folder).state is MediumState.EMPTY
        quiet(tool("mount"), "-o", "remount,ro", folder)
        (found,) = look(remembered=(folder,), to_place=True)
        assert found.state is MediumState.READ_ONLY


# Bad media --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["open", "list", "free"])
def test_one_bad_stick_is_one_bad_entry(tmp_path: Path, operation: str) -> None:  # STICK-21
    bad, good = prepare(tmp_path / "bad", "坏"), prepare(tmp_path / "good", "好")
    found = look(volume(bad), volume(good), files=Bad(bad, operation))
    assert states(found) == [("bad", MediumState.DAMAGED), ("good", MediumState.EMPTY)]
    assert isinstance(found[0].error, MediumDamaged)
    assert (found[0].identity is None) == (operation == "open")


def test_a_bad_disk_that_is_not_ours_is_nobodys_business(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert look(volume(disk, removable=False), files=Bad(disk, "open", errno.EACCES)) == []


def test_a_disk_that_nobody_asked_about_is_not_made_to_sync(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    bad = Bad(disk, "sync")
    assert look(volume(disk, removable=False), files=bad) == []
    assert [one.state for one in look(volume(disk), files=bad)] == [MediumState.DAMAGED]


def test_a_stick_that_vanishes_while_it_is_read_was_pulled(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    assert [one.state for one in look(remembered=(ours,), files=Bad(ours, "list", leaves=True))] == [MediumState.PULLED]


def test_a_stick_that_is_no_longer_mounted_was_pulled(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    answers = [[volume(ours)], []]
    found = survey(
        [], station="a", wanted=reports, to_place=False, volumes=lambda: answers.pop(0), files=Bad(ours, "list")
    )
    assert states(found) == [("a", MediumState.PULLED)]


@pytest.mark.skipif(
    not Path("/sys/class/block").is_dir(), reason="platform: the kernel lists its devices as Linux does"
)
def test_a_stick_whose_device_is_gone_was_pulled_though_its_cache_can_be_read(tmp_path: Path) -> None:
    ours = prepare(tmp_path / "a", "甲")
    gone = Volume(ours, "/dev/no-such-disk", "vfat", removable=True)
    assert [one.state for one in look(gone)] == [MediumState.PULLED]


def test_a_pulled_stick_that_looks_empty_is_not_taken_for_an_unprepared_one() -> None:
    medium = MemoryMedium()
    Stick.prepare(Path("/stick"), "甲", station="a", now=NOW, files=medium).close()
    medium.looks_empty = True
    place = Volume(Path("/stick"), "", "vfat", removable=True)
    assert [one.state for one in look(place, files=medium)] == [MediumState.DAMAGED]


def test_whatever_operation_fails_the_survey_goes_on() -> None:
    medium = MemoryMedium()
    Stick.prepare(Path("/stick"), "甲", station="a", now=NOW, files=medium).close()
    place = Volume(Path("/stick"), "", "vfat", removable=True)
    start = medium.operations
    assert [one.state for one in look(place, files=medium)] == [MediumState.EMPTY]
    steps = medium.operations - start
    assert steps > 5
    for step in range(steps):
        medium.fail_at = medium.operations + step
        (found,) = look(place, files=medium)
        assert found.state is MediumState.DAMAGED, medium.log[medium.fail_at]


# Choosing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> list[FoundStick]:
    """Two sticks of ours and one of somebody else's."""
    (tmp_path / "other").mkdir()
    ours = [volume(prepare(tmp_path / name, label)) for name, label in (("a", "财务部"), ("b", "Kasse"))]
    return look(*ours, volume(tmp_path / "other"))


def test_the_only_stick_of_ours_is_meant_without_a_word(three: list[FoundStick]) -> None:
    a, _, other = three
    assert choose([a, other], None) is a
    assert choose([a, other], "") is a


def test_several_are_never_guessed_among(three: list[FoundStick]) -> None:  # STICK-21
    with pytest.raises(MediumAmbiguous) as caught:
        choose(three, None)
    assert caught.value.exit_code == 31
    for one in three[:2]:
        assert f"{one.label} ({one.path})" in str(caught.value)
    assert "other" not in str(caught.value)
    assert "名称" in str(caught.value.advice)


def test_nothing_in_and_only_others_in_are_told_apart(three: list[FoundStick]) -> None:
    with pytest.raises(MediumAbsent):
        choose([], None)
    with pytest.raises(MediumUnprepared, match="other"):
        choose(three[2:], None)


@pytest.mark.parametrize("typed", ["Kasse", "kasse", " Kasse ", "Ｋａｓｓｅ"])
def test_a_stick_is_chosen_by_its_name(three: list[FoundStick], typed: str) -> None:
    assert choose(three, typed) is three[1]


def test_a_stick_is_chosen_by_its_id(three: list[FoundStick]) -> None:
    assert three[1].identity is not None
    assert choose(three, three[1].identity.id) is three[1]


def test_a_path_is_chosen_however_it_is_spelled(three: list[FoundStick], tmp_path: Path) -> None:
    assert choose(three, str(tmp_path / "b")) is three[1]
    assert choose(three, tmp_path / "a" / ".." / "b") is three[1]
    assert choose(three, tmp_path / "other") is three[2]


def test_a_folder_that_is_typed_wins_over_a_name(
    three: list[FoundStick], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare(tmp_path / "work" / "Kasse", "另一个")
    monkeypatch.chdir(folder.parent)
    found = choose(three, "Kasse")
    assert (found.path, found.label) == (folder, "另一个")


def test_a_name_that_two_sticks_have_needs_the_path(tmp_path: Path) -> None:
    found = look(*(volume(prepare(tmp_path / name, "财务部")) for name in ("a", "b")))
    with pytest.raises(MediumAmbiguous) as caught:
        choose(found, "财务部")
    assert str(tmp_path / "a") in str(caught.value)
    assert str(tmp_path / "b") in str(caught.value)
    assert "路径" in str(caught.value.advice)
    assert choose(found, tmp_path / "b") is found[1]


def test_a_name_that_no_stick_has_is_answered_with_those_that_are_in(three: list[FoundStick]) -> None:
    with pytest.raises(NoSuchStick) as caught:
        choose(three, "仓库")
    assert caught.value.exit_code == 30
    assert "仓库" in str(caught.value)
    assert "财务部" in str(caught.value)
    with pytest.raises(MediumAbsent) as absent:
        choose([], "仓库")
    assert type(absent.value) is MediumAbsent


@pytest.mark.parametrize("typed", ["no/such/folder", "E:\\", Path("nowhere")])
def test_a_path_that_is_not_there_is_no_name(three: list[FoundStick], typed: str | Path) -> None:
    with pytest.raises(MediumAbsent) as caught:
        choose(three, typed)
    assert type(caught.value) is MediumAbsent


def test_a_bad_stick_does_not_hide_a_good_one_and_alone_it_is_returned(tmp_path: Path) -> None:  # STICK-21
    bad, good = prepare(tmp_path / "bad", "坏"), prepare(tmp_path / "good", "好")
    found = look(volume(bad), volume(good), files=Bad(bad, "open"))
    assert choose(found, None).path == good
    assert choose(found[:1], None).state is MediumState.DAMAGED


def test_a_folder_that_was_never_seen_is_looked_at_when_it_is_typed(tmp_path: Path) -> None:
    ours, other = prepare(tmp_path / "folder", "甲"), tmp_path / "other"
    other.mkdir()
    (ours / REPORT).write_bytes(b"x")

    def found(typed: str | Path | None) -> FoundStick:
        return locate(typed, [], station="a", wanted=reports, to_place=False, volumes=list)

    assert (found(ours).state, found(ours).waiting) == (MediumState.WORK, 1)
    assert found(str(other)).state is MediumState.NOT_OURS
    with pytest.raises(MediumAbsent):
        found(None)


# Copies -----------------------------------------------------------------------------------------------------------

IDENTITY = StickIdentity("0123456789abcdef", "财务部", "2026-08-03T09:30:00+08:00", "offline-1")


def seen(serial: str = "", size: int = 0) -> str:
    return fingerprint(volume(Path("/x"), serial=serial, size=size))


@pytest.mark.parametrize(
    ("before", "now", "warned"),
    [
        (("1A2B-3C4D", 1000), ("1A2B-3C4D", 1000), False),
        (("1A2B-3C4D", 1000), ("9999-0000", 1000), True),
        (("1A2B-3C4D", 1000), ("1A2B-3C4D", 999), False),  # another driver counts otherwise
        (("", 1000), ("", 2000), True),
        (("", 1000), ("1A2B-3C4D", 1000), False),
        (("1A2B-3C4D", 1000), ("", 1000), False),
        (("1A2B-3C4D", 0), ("", 1000), False),
    ],
)
def test_an_identity_on_another_volume_than_before_is_a_copy(  # STICK-22
    before: tuple[str, int], now: tuple[str, int], warned: bool
) -> None:
    warning = clone_warning(
        IDENTITY, volume(Path("/x"), serial=now[0], size=now[1]), {IDENTITY.id: seen(*before), "f" * 16: seen("x", 1)}
    )
    assert (warning is not None) is warned
    if warning is not None:
        assert "财务部" in warning.zh
        assert "财务部" in warning.en
        assert "stick prepare" in warning.zh


def test_a_stick_seen_for_the_first_time_and_a_plain_folder_are_no_copies() -> None:
    assert clone_warning(IDENTITY, volume(Path("/x"), serial="A", size=1), {}) is None
    assert clone_warning(IDENTITY, None, {IDENTITY.id: seen("A", 1)}) is None
    assert fingerprint(None) == seen() == ""


def test_one_identity_on_two_media_at_once_is_noticed(tmp_path: Path) -> None:  # STICK-22
    first, second = prepare(tmp_path / "a", "甲"), prepare(tmp_path / "b", "乙")
    (second / "TAXFERRY" / "stick.json").write_bytes((first / "TAXFERRY" / "stick.json").read_bytes())
    third = prepare(tmp_path / "c", "丙")
    (group,) = twins(look(volume(first), volume(second), volume(third)))
    assert [one.path for one in group] == [first, second]
    warning = twins_warning(group)
    assert isinstance(warning, Text)
    assert str(second) in warning.zh
    assert str(second) in warning.en
    assert twins(look(volume(first), volume(third))) == []


# Others' files ----------------------------------------------------------------------------------------------------


def test_files_of_others_are_counted_before_a_medium_is_touched(tmp_path: Path) -> None:
    folder = prepare(tmp_path / "a", "甲")
    (folder / REPORT).write_bytes(b"x")
    for name in ("System Volume Information", "$RECYCLE.BIN", ".Trash-1000", "lost+found"):
        (folder / name).mkdir()
    (folder / f".{REPORT}.0123abcd.offline-1.part").write_bytes(b"x")
    assert foreign_files(folder) == 0
    (folder / "照片").mkdir()
    (folder / "合同.docx").write_bytes(b"x")
    assert foreign_files(folder) == 2


def test_counting_others_files_has_an_end() -> None:
    medium = MemoryMedium()
    root = medium.open_folder(Path("/stick"))
    for number in range(1_500):
        medium.create(root, f"{number}.jpg").close()
    assert foreign_files(Path("/stick"), medium) == 1_000


def test_files_that_cannot_be_counted_are_the_mediums_error(tmp_path: Path) -> None:
    with pytest.raises(MediumAbsent):
        foreign_files(tmp_path / "none")
    with pytest.raises(MediumDamaged):
        foreign_files(tmp_path, Bad(tmp_path, "list"))
