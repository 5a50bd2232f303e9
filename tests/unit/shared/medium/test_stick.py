"""A visit to a stick, on this machine's own file system."""

from __future__ import annotations

import csv
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
    MediumUnprepared,
    NameTaken,
    SignatureRefused,
)
from shared.medium import Direction, Folder, LocalFiles, Stick, StickFile
from shared.text import both

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


def digest_of(file: BinaryIO) -> str:
    return hashlib.sha256(file.read()).hexdigest()


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
            place(stick, source, supersedes=lambda file: file.read() == b"number 0")
        assert there.read_bytes() == b"number 1"
        assert not place(stick, source, supersedes=lambda file: file.read() == b"number 1")
        assert there.read_bytes() == source.read_bytes()


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

    def append(self, folder: Folder, name: str, data: bytes) -> None:
        self._note("log")
        super().append(folder, name, data)


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
        place(stick, source, supersedes=lambda _: True)
        looked = files.done.index("create part")
        assert files.done[looked : files.done.index("log")] == [
            "create part",
            "sync the file",
            "read past the cache part",
            "sync the folder",
            *([f"remove {REPORT}", "sync the folder"] if superseding else []),
            f"rename part to {REPORT}",
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
        assert not own.exists()
        assert other.exists()


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
    def grow(_done: int, _total: int) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with prepared(folder) as stick:
        with pytest.raises(OSError, match="changed"):
            place(stick, source, progress=grow)
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
def test_a_file_that_became_a_pipe_after_the_listing_does_not_hang_the_visit(folder: Path, tmp_path: Path) -> None:
    with prepared(folder) as stick:
        path = folder / REPORT
        path.write_bytes(b"report")
        (entry,) = stick.list().files
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(MediumDamaged):
            stick.take(entry, tmp_path, prove=digest_of, name=lambda _: "taken.dat")
        assert not (tmp_path / "taken.dat").exists()


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


def test_an_unprepared_medium_can_be_read(folder: Path, tmp_path: Path) -> None:
    (folder / RESULT).write_bytes(b"result")
    with Stick.open(folder, station="a", unprepared=True) as stick:
        (entry,) = stick.list(".txt").files
        taken = stick.take(entry, tmp_path, prove=digest_of, name=lambda _: RESULT)
        stick.finish()
    assert taken.path.read_bytes() == b"result"


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


def test_a_taken_file_gets_its_true_name_only_after_the_proof(
    folder: Path, source: Path, tmp_path: Path
) -> None:  # STICK-8
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    with prepared(folder) as stick:
        place(stick, source)

        def prove(file: BinaryIO) -> str:
            assert all(name.startswith(".") for name in os.listdir(inbox))
            return digest_of(file)

        taken = stick.take(first(stick), inbox, prove=prove, name=lambda digest: f"{digest[:8]}.dat")
        assert taken.proof == taken.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        assert os.listdir(inbox) == [f"{taken.sha256[:8]}.dat"]
        assert stick.take(first(stick), inbox, prove=digest_of, name=lambda d: f"{d[:8]}.dat").already


def test_a_file_that_fails_its_proof_leaves_nothing(folder: Path, source: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()

    def refuse(file: BinaryIO) -> str:
        raise SignatureRefused(reason=both("test"))

    with prepared(folder) as stick:
        place(stick, source)
        with pytest.raises(SignatureRefused):
            stick.take(first(stick), inbox, prove=refuse, name=str)
        assert os.listdir(inbox) == []
        assert (folder / "TAXFERRY/to-online" / REPORT).exists()


def test_taking_never_replaces_another_local_file_unasked(folder: Path, source: Path, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "here.dat").write_bytes(b"mine")
    with prepared(folder) as stick:
        place(stick, source)
        with pytest.raises(NameTaken):
            stick.take(first(stick), inbox, prove=digest_of, name=lambda _: "here.dat")
        assert (inbox / "here.dat").read_bytes() == b"mine"
        stick.take(first(stick), inbox, prove=digest_of, name=lambda _: "here.dat", replace=True)
        assert (inbox / "here.dat").read_bytes() == source.read_bytes()
        assert os.listdir(inbox) == ["here.dat"]


def test_a_file_that_grew_after_the_listing_is_not_taken(folder: Path, tmp_path: Path) -> None:
    with prepared(folder) as stick:
        path = folder / REPORT
        path.write_bytes(b"short")
        entry = first(stick)
        path.write_bytes(b"much longer than it was")
        with pytest.raises(MediumDamaged):
            stick.take(entry, tmp_path, prove=digest_of, name=lambda _: "x.dat")
        assert not (tmp_path / "x.dat").exists()


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
    folder: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "_HANDLES":
        monkeypatch.setattr("shared.medium.port._HANDLES", False)
    else:
        monkeypatch.setattr("shared.medium.port._renameat2", lambda *_: False)
    with prepared(folder) as stick:
        assert not place(stick, source)
        assert place(stick, source)
        taken = stick.take(first(stick), tmp_path, prove=digest_of, name=lambda d: f"{d[:8]}.dat")
        assert taken.path.read_bytes() == source.read_bytes()
        assert stick.remove(first(stick), taken.sha256)
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
