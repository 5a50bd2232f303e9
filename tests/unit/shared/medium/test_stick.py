"""A visit to a stick, on this machine's own file system."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from shared.clock import CHINA
from shared.errors import (
    ForeignObject,
    MediumAbsent,
    MediumDamaged,
    MediumFull,
    MediumReadOnly,
    MediumUnprepared,
    NameTaken,
)
from shared.medium import Direction, Folder, LocalFiles, Outgoing, Stick, StickFile, container

NOW = datetime(2026, 8, 3, 9, 30, tzinfo=CHINA)
REPORT = "310100000000000_0_202608010000.dat"
RESULT = "310100000000000_0_202608010000.txt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "U 盘"
    made.mkdir()
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "sealed"
    path.write_bytes(bytes(range(256)) * 5000)
    return path


def prepared(folder: Path, station: str = "offline-1") -> Stick:
    Stick.prepare(folder, "财务部", station=station, now=NOW).close()
    return Stick.open(folder, station=station)


def place(stick: Stick, source: Path, name: str = REPORT, **more: object) -> bool:
    return stick.place(source, name, Direction.TO_ONLINE, now=NOW, **more).already  # type: ignore[arg-type]


def names_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def part_of(source: Path, station: str, name: str = REPORT) -> str:
    """Return the name under which a station writes these bytes."""
    return f".{name}.{sha256(source.read_bytes())[:8]}.{station}.part"


def test_preparing_adds_the_marker_and_touches_nothing_else(folder: Path) -> None:
    (folder / "照片.jpg").write_bytes(b"x")
    prepared(folder).close()
    assert names_below(folder) == {
        "照片.jpg",
        "TAXFERRY",
        "TAXFERRY/stick.json",
        "TAXFERRY/to-online",
        "TAXFERRY/to-offline",
    }


def test_preparing_again_keeps_the_identity(folder: Path) -> None:  # STICK-2
    first = Stick.prepare(folder, "财务部", station="a", now=NOW)
    again = Stick.prepare(folder, "另一个", station="b", now=NOW)
    with first, again:
        assert first.identity == again.identity
        assert again.identity is not None
        assert again.identity.label == "财务部"


def test_preparing_repairs_a_marker_whose_identity_is_lost(folder: Path) -> None:
    prepared(folder).close()
    (folder / "TAXFERRY" / "stick.json").write_bytes(b"{")
    with pytest.raises(MediumUnprepared):
        Stick.open(folder, station="a")
    with prepared(folder) as stick:
        assert stick.identity is not None


def test_a_folder_without_marker_is_never_written_to(folder: Path, source: Path) -> None:
    with pytest.raises(MediumUnprepared):
        Stick.open(folder, station="a")
    with Stick.open(folder, station="a", unprepared=True) as stick, pytest.raises(MediumUnprepared):
        place(stick, source)
    assert names_below(folder) == set()


def test_no_folder_is_no_stick(tmp_path: Path) -> None:
    with pytest.raises(MediumAbsent):
        Stick.open(tmp_path / "missing", station="a")
    with pytest.raises(MediumAbsent):
        Stick.prepare(tmp_path / "missing", "x", station="a", now=NOW)


def test_a_marker_that_is_a_link_is_no_marker(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    prepared(elsewhere).close()
    (folder / "TAXFERRY").symlink_to(elsewhere / "TAXFERRY")
    with pytest.raises((MediumUnprepared, MediumDamaged)):
        Stick.open(folder, station="a")


def test_a_placed_file_has_its_bytes_its_name_and_a_line_in_the_log(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        assert not place(stick, source)
        stick.finish()
    assert (folder / "TAXFERRY/to-online" / REPORT).read_bytes() == source.read_bytes()
    log = (folder / "TAXFERRY/transfer-log.csv").read_bytes()
    assert log.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(log.decode("utf-8-sig").splitlines()))
    assert rows[1] == [
        "2026-08-03T09:30:00+08:00",
        "offline-1",
        "to-online",
        REPORT,
        hashlib.sha256(source.read_bytes()).hexdigest(),
        str(source.stat().st_size),
    ]


def test_placing_the_same_bytes_again_changes_nothing(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        assert not place(stick, source)
        before = names_below(folder)
        assert place(stick, source)
        assert names_below(folder) == before


def test_another_file_of_the_name_is_left_alone(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        there = folder / "TAXFERRY/to-online" / REPORT
        there.write_bytes(b"somebody else's")
        with pytest.raises(NameTaken):
            place(stick, source)
        assert there.read_bytes() == b"somebody else's"
        assert os.listdir(there.parent) == [REPORT]


@pytest.mark.parametrize("broken", [b"", bytes(range(200))])
def test_a_copy_that_broke_off_is_replaced(folder: Path, source: Path, broken: bytes) -> None:
    with prepared(folder) as stick:
        there = folder / "TAXFERRY/to-online" / REPORT
        there.write_bytes(broken)
        assert not place(stick, source)
        assert there.read_bytes() == source.read_bytes()


def test_a_superseded_file_is_replaced_only_if_proven_older(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        there = folder / "TAXFERRY/to-online" / REPORT
        there.write_bytes(b"number 1")
        with pytest.raises(NameTaken):
            place(stick, source, superseded={sha256(b"number 0")})
        assert there.read_bytes() == b"number 1"
        assert not place(stick, source, superseded={sha256(b"number 0"), sha256(b"number 1")})
        assert there.read_bytes() == source.read_bytes()


def test_what_is_no_longer_the_file_that_was_proven_older_is_left_alone(folder: Path, source: Path) -> None:
    """STICK-7: between the proof and the placing, somebody put another file there."""
    with prepared(folder) as stick:
        there = folder / "TAXFERRY/to-online" / REPORT
        there.write_bytes(b"number 9")
        with pytest.raises(NameTaken):
            place(stick, source, superseded={sha256(b"number 1")})
        assert there.read_bytes() == b"number 9"
        assert os.listdir(there.parent) == [REPORT]


def test_a_new_identity_is_given_only_when_it_is_asked_for(folder: Path, source: Path) -> None:  # STICK-22
    with prepared(folder) as first:
        place(first, source)
        assert first.identity is not None
        with Stick.prepare(folder, "", station="b", now=NOW, new_identity=True) as copied:
            assert copied.identity is not None
            assert copied.identity.id != first.identity.id
            assert copied.identity.label == "财务部"
            assert copied.identity.station == "b"
        with Stick.open(folder, station="b") as again:
            assert again.identity == copied.identity
        with pytest.raises(MediumDamaged):  # whoever was at work took it for the other one
            first.finish()
    with Stick.prepare(folder, "复制品", station="b", now=NOW, new_identity=True) as named:
        assert named.identity is not None
        assert named.identity.label == "复制品"
    assert (folder / "TAXFERRY/to-online" / REPORT).read_bytes() == source.read_bytes()


class Recorder(LocalFiles):
    """This machine's file system, with a record of what was done to the medium."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def _note(self, what: str, name: str = "") -> None:
        self.done.append(f"{what} {'part' if name.endswith('.part') else name}".strip())

    def create(self, folder: Folder, name: str) -> BinaryIO:
        self._note("create", name)
        return super().create(folder, name)

    def sync_file(self, file: BinaryIO) -> None:
        self._note("sync the file")
        super().sync_file(file)

    def open_read(self, folder: Folder, name: str, *, past_cache: bool = False) -> BinaryIO:
        self._note("read past the cache" if past_cache else "read", name)
        return super().open_read(folder, name, past_cache=past_cache)

    def sync_folder(self, folder: Folder) -> None:
        self._note("sync the folder")
        super().sync_folder(folder)

    def remove(self, folder: Folder, name: str) -> None:
        self._note("remove", name)
        super().remove(folder, name)

    def rename_new(self, folder: Folder, old: str, new: str) -> None:
        self._note(f"rename {'part' if old.endswith('.part') else old} to", new)
        super().rename_new(folder, old, new)

    def sync_name(self, folder: Folder, name: str) -> None:
        self._note("sync the name", name)
        super().sync_name(folder, name)

    def append(self, folder: Folder, name: str, data: bytes) -> BinaryIO:
        self._note("log")
        return super().append(folder, name, data)


@pytest.mark.parametrize("superseding", [False, True])
def test_the_steps_of_placing_are_taken_in_their_order(
    folder: Path, source: Path, superseding: bool
) -> None:  # STICK-5, STICK-7
    prepared(folder).close()
    if superseding:
        (folder / "TAXFERRY/to-online" / REPORT).write_bytes(b"number 1")
    files = Recorder()
    with Stick.open(folder, station="offline-1", files=files) as stick:
        files.done.clear()
        place(stick, source, superseded={sha256(b"number 1")})
        looked = files.done.index("create part")
        assert files.done[looked:] == [
            "create part",
            "sync the folder",
            "sync the file",
            "log",
            "sync the folder",
            "sync the file",
            "read past the cache part",
            "sync the folder",
            *([f"remove {REPORT}", "sync the folder"] if superseding else []),
            f"rename part to {REPORT}",
            "sync the folder",
            f"sync the name {REPORT}",
            "sync the folder",
        ]


def test_own_stale_parts_are_swept_and_those_of_others_are_not(folder: Path, source: Path) -> None:  # STICK-4
    with prepared(folder) as stick:
        own = folder / f"TAXFERRY/to-offline/.{RESULT}.0a1b2c3d.offline-1.part"
        other = folder / f"TAXFERRY/to-online/.{REPORT}.0a1b2c3d.offline-2.part"
        own.write_bytes(b"half")
        other.write_bytes(b"half")
        place(stick, source)
        stick.finish()
        assert not own.exists()
        assert other.exists()
        assert own.name not in {file.name for file in stick.list().files}


@pytest.mark.parametrize("station", ["offline-1", "offline-2"])
def test_a_complete_part_is_adopted_whoever_left_it(folder: Path, source: Path, station: str) -> None:  # STICK-4
    prepared(folder).close()
    part = folder / "TAXFERRY/to-online" / part_of(source, station)
    part.write_bytes(source.read_bytes())
    files = Recorder()
    told: list[int] = []
    with Stick.open(folder, station="offline-1", files=files) as stick:
        files.done.clear()
        assert not place(stick, source, advanced=told.append)
        assert "create part" not in files.done, "nothing is written that lies there"
        adopted = files.done[files.done.index("sync the name part") :]
        assert adopted == [
            "sync the name part",
            "read past the cache part",
            "log",
            "sync the folder",
            "sync the file",
            "read past the cache part",
            "read part",
            "sync the folder",
            f"rename part to {REPORT}",
            "sync the folder",
            f"sync the name {REPORT}",
            "sync the folder",
        ]
    assert os.listdir(folder / "TAXFERRY/to-online") == [REPORT]
    assert (folder / "TAXFERRY/to-online" / REPORT).read_bytes() == source.read_bytes()
    assert sum(told) == 2 * source.stat().st_size


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[:-1] + b"x", lambda data: data + b"x"])
def test_a_part_that_is_not_exactly_the_file_is_not_adopted(
    folder: Path, source: Path, spoil: Callable[[bytes], bytes]
) -> None:  # STICK-4
    with prepared(folder) as stick:
        parts = {station: folder / "TAXFERRY/to-online" / part_of(source, station) for station in ("offline-1", "b")}
        for part in parts.values():
            part.write_bytes(spoil(source.read_bytes()))
        assert not place(stick, source)
        assert (folder / "TAXFERRY/to-online" / REPORT).read_bytes() == source.read_bytes()
        assert not parts["offline-1"].exists()
        assert parts["b"].read_bytes() == spoil(source.read_bytes()), "another's part is not ours to remove"


class Crowded(LocalFiles):
    """A medium whose room is what its parts leave of it."""

    def __init__(self, room: int) -> None:
        self.room = room

    def free_bytes(self, folder: Folder) -> int:
        parts = folder.path.parent.rglob("*.part")
        return self.room - sum(path.stat().st_size for path in parts)


def test_when_room_is_wanted_own_parts_go_first_and_orphans_next(folder: Path, source: Path) -> None:  # STICK-4
    prepared(folder).close()
    own = folder / f"TAXFERRY/to-offline/.{RESULT}.0a1b2c3d.offline-1.part"
    other = folder / f"TAXFERRY/to-online/.{RESULT}.0a1b2c3d.offline-2.part"
    for part in (own, other):
        part.write_bytes(bytes(1 << 20))
    need = source.stat().st_size + (1 << 20)
    with Stick.open(folder, station="offline-1", files=Crowded(need + (1 << 20))) as stick:
        assert not place(stick, source)
        assert (own.exists(), other.exists()) == (False, True), "its going was enough"
    own.write_bytes(bytes(1 << 20))
    (folder / "TAXFERRY/to-online" / REPORT).unlink()
    with Stick.open(folder, station="offline-1", files=Crowded(need)) as stick:
        assert not place(stick, source)
        assert (own.exists(), other.exists()) == (False, False)


def test_a_part_that_grows_is_not_taken_from_its_writer(folder: Path, source: Path) -> None:  # STICK-4
    prepared(folder).close()
    other = folder / f"TAXFERRY/to-online/.{RESULT}.0a1b2c3d.offline-2.part"
    other.write_bytes(bytes(1 << 20))
    late = folder / f"TAXFERRY/to-online/.{RESULT}.1a1b2c3d.offline-3.part"
    with Stick.open(folder, station="offline-1", files=Crowded(source.stat().st_size + (1 << 20))) as stick:
        assert stick.list().files == ()  # the visit has begun
        other.write_bytes(bytes((1 << 20) + 1))
        late.write_bytes(b"begun meanwhile")
        with pytest.raises(MediumFull):
            place(stick, source)
        stick.finish()
    assert (other.exists(), late.exists()) == (True, True)
    assert not (folder / "TAXFERRY/to-online" / REPORT).exists()


def outgoing(folder: Path, count: int) -> list[Outgoing]:
    made = []
    for number in range(count):
        path = folder / f"kept {number}"
        path.write_bytes(f"clear receipt {number}\n".encode() * 50)
        made.append(Outgoing.of(path, f"310100000000000_{number}_202608010000.ack", f"{number:064x}"))
    return made


def test_many_files_are_placed_as_one_container(folder: Path, tmp_path: Path) -> None:  # STICK-14
    items = outgoing(tmp_path, 7)
    told: list[int] = []
    with prepared(folder) as stick:
        (placed,) = stick.place_batch(items, Direction.TO_ONLINE, now=NOW, advanced=told.append)
        stick.finish()
        assert os.listdir(folder / "TAXFERRY/to-online") == [placed.name]
        (entry,) = stick.list().files
        assert (entry.suffix, entry.size, placed.already) == (".tar", placed.size, False)
        with stick.reading(entry) as file:
            members = {member.name: member.read(member.size) for member in container.read(file, entry.size)}
        assert members == {item.name: item.path.read_bytes() for item in items}
        assert sum(told) == 2 * placed.size
        (again,) = stick.place_batch(list(reversed(items)), Direction.TO_ONLINE, now=NOW)
        assert (again.name, again.already) == (placed.name, True), "the same files make the same container"
    rows = list(csv.reader((folder / "TAXFERRY/transfer-log.csv").read_text("utf-8-sig").splitlines()))
    assert [row[3] for row in rows[1:]] == [placed.name, *(f"{placed.name}/{item.name}" for item in items)]
    assert [row[4] for row in rows[2:]] == [item.digest for item in items]


def test_a_container_of_one_is_the_file_itself(folder: Path, tmp_path: Path) -> None:
    items = outgoing(tmp_path, 1)
    with prepared(folder) as stick:
        (placed,) = stick.place_batch(items, Direction.TO_ONLINE, now=NOW)
    assert placed.name == items[0].name
    assert (folder / "TAXFERRY/to-online" / items[0].name).read_bytes() == items[0].path.read_bytes()


def test_a_container_whose_source_changed_meanwhile_is_not_placed(folder: Path, tmp_path: Path) -> None:
    items = outgoing(tmp_path, 7)
    items[3].path.write_bytes(b"x" * items[3].size)
    with prepared(folder) as stick:
        with pytest.raises(OSError):
            stick.place_batch(items, Direction.TO_ONLINE, now=NOW)
        assert os.listdir(folder / "TAXFERRY/to-online") == []


def test_what_was_found_whole_is_synced_under_its_name(folder: Path, source: Path) -> None:
    """STICK-7: a visit that broke off may have left it without its last two syncs."""
    with prepared(folder) as stick:
        place(stick, source)
    files = Recorder()
    with Stick.open(folder, station="a", files=files) as stick:
        files.done.clear()
        stick.confirm(Direction.TO_ONLINE, REPORT)
        assert files.done == [f"sync the name {REPORT}", "sync the folder"]
        with pytest.raises(MediumDamaged):
            stick.confirm(Direction.TO_ONLINE, RESULT)


def test_a_medium_that_says_it_cannot_be_written_is_known_before_anything_is_tried(folder: Path, source: Path) -> None:
    class Disc(LocalFiles):
        def read_only(self, folder: Folder) -> bool:
            return True

        def create(self, folder: Folder, name: str) -> BinaryIO:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)

    class Gone(LocalFiles):
        def read_only(self, folder: Folder) -> bool:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    with prepared(folder) as stick:
        assert not stick.read_only
    with Stick.open(folder, station="a", files=Disc()) as stick:
        assert stick.read_only
        with pytest.raises(MediumReadOnly):
            place(stick, source)
    with Stick.open(folder, station="a", files=Gone()) as stick:
        assert not stick.read_only, "a medium that fails is no disc: its failure is told by what is tried next"


def test_a_full_medium_is_said_with_its_numbers_and_left_clean(folder: Path, source: Path) -> None:
    class Small(LocalFiles):
        def free_bytes(self, folder: Folder) -> int:
            return 1000

    prepared(folder).close()
    with Stick.open(folder, station="a", files=Small()) as stick, pytest.raises(MediumFull) as caught:
        place(stick, source)
    assert caught.value.context["free"] == 1000
    assert os.listdir(folder / "TAXFERRY/to-online") == []


def test_a_source_that_grows_while_it_is_copied_is_not_placed(folder: Path, source: Path) -> None:
    def grow(_size: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with prepared(folder) as stick:
        with pytest.raises(OSError, match="changed"):
            place(stick, source, advanced=grow)
        assert os.listdir(folder / "TAXFERRY/to-online") == []


def test_what_does_not_read_back_is_not_placed(folder: Path, source: Path) -> None:
    class BadBlock(LocalFiles):
        def open_read(self, folder: Folder, name: str, *, past_cache: bool = False) -> BinaryIO:
            if name.endswith(".part"):
                with (folder.path / name).open("r+b") as file:
                    file.seek(700)
                    file.write(b"\0\0")
            return super().open_read(folder, name, past_cache=past_cache)

    prepared(folder).close()
    with Stick.open(folder, station="a", files=BadBlock()) as stick, pytest.raises(MediumDamaged):
        place(stick, source)
    assert os.listdir(folder / "TAXFERRY/to-online") == []


def hostile_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def hostile_folder(path: Path) -> None:
    path.mkdir()


def hostile_pipe(path: Path) -> None:
    os.mkfifo(path)


def empty_file(path: Path) -> None:
    path.touch()


def sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((1 << 30) + 1)


@pytest.mark.skipif(os.name == "nt", reason="platform: no links and pipes")
@pytest.mark.parametrize("make", [hostile_link, hostile_folder, hostile_pipe, empty_file, sparse_file])
def test_hostile_things_under_our_names_are_named_and_never_opened(
    folder: Path, source: Path, make: Callable[[Path], None]
) -> None:  # STICK-9
    with prepared(folder) as stick:
        make(folder / "TAXFERRY/to-online" / REPORT)
        listing = stick.list()
        assert listing.files == ()
        assert [(u.name, u.place) for u in listing.unusable] == [(REPORT, "to-online")]
        assert isinstance(listing.unusable[0].error, ForeignObject)
        assert REPORT in str(listing.unusable[0].error)


@pytest.mark.parametrize(
    ("name", "limit"), [("trust.txt", 2 << 20), (RESULT, 65536), (RESULT.replace(".txt", ".ack"), 65536)]
)
def test_each_kind_has_its_largest_size(folder: Path, name: str, limit: int) -> None:  # STICK-9, TRUST-1, RES-1, ACK-1
    with prepared(folder) as stick:
        path = folder / "TAXFERRY/to-offline" / name
        path.write_bytes(b"x" * limit)
        assert [file.name for file in stick.list().files] == [name]
        path.write_bytes(b"x" * (limit + 1))
        listing = stick.list()
        assert (listing.files, [file.name for file in listing.unusable]) == ((), [name])


@pytest.mark.skipif(os.name == "nt", reason="platform: no pipes")
def test_a_file_that_became_a_pipe_after_the_listing_does_not_hang_the_visit(folder: Path) -> None:
    with prepared(folder) as stick:
        path = folder / REPORT
        path.write_bytes(b"report")
        (entry,) = stick.list().files
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(MediumDamaged):
            next(stick.blocks(entry))
        with pytest.raises(MediumDamaged), stick.reading(entry):
            pytest.fail("a pipe was opened")


def test_files_copied_by_hand_are_found_in_all_three_places(folder: Path) -> None:  # STICK-3
    with prepared(folder) as stick:
        (folder / "310100000000000_0_202608010000 (1).DAT").write_bytes(b"a")
        (folder / "TAXFERRY/to-offline/310100000000000_1_202608010000 - 副本.txt").write_bytes(b"b")
        (folder / "TAXFERRY/to-online/310100000000000_2_202608010000.ack").write_bytes(b"c")
        (folder / "TAXFERRY/to-offline/trust.txt").write_bytes(b"d")
        (folder / "autorun.inf").write_bytes(b"e")
        (folder / "发票.xls").write_bytes(b"f")
        listing = stick.list()
        assert {(f.suffix, f.place) for f in listing.files} == {
            (".dat", "root"),
            (".txt", "to-offline"),
            (".ack", "to-online"),
            ("trust.txt", "to-offline"),
        }
        assert listing.foreign == 2
        assert {f.suffix for f in stick.list(".dat", ".ack").files} == {".dat", ".ack"}


def test_an_unprepared_medium_can_be_read(folder: Path) -> None:
    (folder / RESULT).write_bytes(b"result")
    with Stick.open(folder, station="a", unprepared=True) as stick:
        (entry,) = stick.list(".txt").files
        assert content(stick, entry) == b"result"
        stick.finish()


def test_a_crowded_stick_is_cut_off_and_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.medium.stick._MAX_ENTRIES", 20)
    with prepared(folder) as stick:
        for number in range(25):
            (folder / f"{number}.bin").touch()
        listing = stick.list()
        assert listing.truncated
        assert listing.foreign in (19, 20)  # the marker is among the first twenty, or not


def first(stick: Stick) -> StickFile:
    return stick.list().files[0]


def content(stick: Stick, entry: StickFile) -> bytes:
    return b"".join(stick.blocks(entry))


@pytest.mark.parametrize("now_there", [b"much longer than it was", b"less", b""])
def test_a_file_that_changed_its_length_after_the_listing_is_worth_nothing(folder: Path, now_there: bytes) -> None:
    with prepared(folder) as stick:
        path = folder / REPORT
        path.write_bytes(b"short")
        entry = first(stick)
        path.write_bytes(now_there)
        read = bytearray()
        blocks = stick.blocks(entry)
        with pytest.raises(MediumDamaged, match=REPORT):
            list(map(read.extend, blocks))
        assert len(read) <= entry.size


def test_only_the_proven_bytes_are_removed(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        place(stick, source)
        entry = first(stick)
        wrong = hashlib.sha256(b"other").hexdigest()
        assert not stick.remove(entry, wrong)
        assert (folder / "TAXFERRY/to-online" / REPORT).exists()
        assert stick.remove(entry, hashlib.sha256(source.read_bytes()).hexdigest())
        assert not stick.remove(entry, hashlib.sha256(source.read_bytes()).hexdigest())
        assert stick.list().files == ()


def test_a_lost_or_hostile_log_does_not_stop_a_hand_over(folder: Path, source: Path) -> None:  # STICK-11
    with prepared(folder) as stick:
        (folder / "TAXFERRY/transfer-log.csv").mkdir()
        assert not place(stick, source)
        stick.finish()


def test_a_stick_that_lost_its_marker_meanwhile_is_not_safe_to_remove(folder: Path, source: Path) -> None:
    with prepared(folder) as stick:
        place(stick, source)
        (folder / "TAXFERRY/stick.json").unlink()
        with pytest.raises(MediumDamaged):
            stick.finish()


@pytest.mark.skipif(os.name == "nt", reason="platform: no directory handles")
def test_a_visit_stays_with_the_folder_that_it_opened(folder: Path, source: Path) -> None:
    """STICK-6: after an unmount, the path leads into the host's own folder; the visit must not write there."""
    with prepared(folder) as stick:
        moved = folder.with_name("moved")
        folder.rename(moved)
        folder.mkdir()
        place(stick, source)
        assert names_below(folder) == set()
        assert (moved / "TAXFERRY/to-online" / REPORT).exists()


@pytest.mark.parametrize("missing", ["_HANDLES", "_renameat2"])
def test_a_system_without_handles_or_exclusive_renames_does_the_same(
    folder: Path, source: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "_HANDLES":
        monkeypatch.setattr("shared.medium.port._HANDLES", False)
    else:
        monkeypatch.setattr("shared.medium.port._renameat2", lambda *_: False)
    with prepared(folder) as stick:
        assert not place(stick, source)
        assert place(stick, source)
        assert content(stick, first(stick)) == source.read_bytes()
        assert stick.remove(first(stick), sha256(source.read_bytes()))
        stick.finish()
    assert os.listdir(folder / "TAXFERRY/to-online") == []


def test_a_rename_never_replaces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = LocalFiles()
    (folder / "old").write_bytes(b"old")
    (folder / "new").write_bytes(b"new")
    root = files.open_folder(folder)
    try:
        for _ in range(2):
            with pytest.raises(FileExistsError):
                files.rename_new(root, "old", "new")
            monkeypatch.setattr("shared.medium.port._renameat2", lambda *_: False)
    finally:
        files.close(root)
    assert (folder / "new").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["../escape.dat", "a/b.dat", "", ".", "..", "nul\0.dat"])
def test_a_name_never_leads_out_of_its_folder(folder: Path, source: Path, name: str) -> None:
    with prepared(folder) as stick, pytest.raises((MediumDamaged, ValueError)):
        place(stick, source, name)
    assert not any(path.is_file() and path.name != "stick.json" for path in folder.parent.rglob("*") if path != source)
