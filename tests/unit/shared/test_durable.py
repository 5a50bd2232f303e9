"""Durable writes: whatever step fails, the old file or the new one is there, and no litter stays."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared import durable
from shared.durable import (
    TEMPORARY_SUFFIX,
    copy_durably,
    move_durably,
    publish,
    sweep,
    temporary_beside,
    write_durably,
)

OLD, NEW = b"old content", b"new content" * 1000


class Disk:
    """The real disk, with a switch that makes the nth system call of a kind fail; it remembers the order of calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand between the module and the system."""
        self.calls: list[str] = []
        self.broken: dict[str, OSError] = {}
        for name in ("open", "fsync", "replace"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            step = f"{name} {self._kind(name, arguments[0])}".strip()
            self.calls.append(step)
            if step in self.broken:
                raise self.broken[step]
            return real(*arguments, **named)

        return call

    def _kind(self, name: str, what: Any) -> str:
        if name == "replace":
            return ""
        mode = os.fstat(what).st_mode if isinstance(what, int) else 0
        if name == "open":
            return "directory" if Path(what).is_dir() else "file"
        return "directory" if stat.S_ISDIR(mode) else "file"


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Return a disk that can break."""
    with monkeypatch.context() as patch:
        yield Disk(patch)


def litter(folder: Path) -> list[str]:
    """Return the names of temporaries that were left."""
    return [path.name for path in folder.iterdir() if path.name.endswith(TEMPORARY_SUFFIX)]


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "状态 1.json"
    write_durably(path, OLD)
    write_durably(path, NEW)
    assert path.read_bytes() == NEW
    assert litter(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="platform: permission bits are those of POSIX")
def test_permissions_are_set_before_the_first_byte(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_durably(tmp_path / "key", NEW)
        write_durably(tmp_path / "page", NEW, mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "page").stat().st_mode) == 0o644


@pytest.mark.skipif(os.name == "nt", reason="platform: directories cannot be synced")
def test_content_is_synced_before_the_name_and_the_directory_after_it(tmp_path: Path, disk: Disk) -> None:
    write_durably(tmp_path / "a", NEW)
    assert disk.calls == ["open file", "fsync file", "replace", "open directory", "fsync directory"]


@pytest.mark.parametrize("step", ["open file", "fsync file", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failure_before_the_name_changes_leaves_the_old_file(
    tmp_path: Path, disk: Disk, step: str, code: int
) -> None:
    path = tmp_path / "a"
    path.write_bytes(OLD)
    disk.broken[step] = OSError(code, os.strerror(code))
    with pytest.raises(OSError):
        write_durably(path, NEW)
    assert path.read_bytes() == OLD
    assert litter(tmp_path) == []


def test_a_failure_without_an_old_file_leaves_nothing(tmp_path: Path, disk: Disk) -> None:
    disk.broken["fsync file"] = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken"):
        write_durably(tmp_path / "a", NEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="platform: directories cannot be synced")
def test_a_directory_that_cannot_be_synced_is_told_and_the_new_file_is_in_place(tmp_path: Path, disk: Disk) -> None:
    disk.broken["fsync directory"] = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken"):
        write_durably(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == NEW


def test_a_file_system_whose_directories_know_no_sync_is_no_failure(tmp_path: Path, disk: Disk) -> None:
    disk.broken["fsync directory"] = OSError(errno.EINVAL, "not for directories")
    write_durably(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == NEW


def test_an_interruption_leaves_the_old_file(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "a"
    path.write_bytes(OLD)
    disk.broken["replace"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        write_durably(path, NEW)
    assert path.read_bytes() == OLD
    assert litter(tmp_path) == []


def test_a_copy_is_equal_and_leaves_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "源 文件.dat", tmp_path / "目标.dat"
    source.write_bytes(NEW * 200)
    target.write_bytes(OLD)
    copy_durably(source, target)
    assert target.read_bytes() == source.read_bytes() == NEW * 200
    assert litter(tmp_path) == []


@pytest.mark.parametrize("step", ["open file", "fsync file", "replace"])
def test_a_copy_that_fails_leaves_the_old_target(tmp_path: Path, disk: Disk, step: str) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(NEW)
    target.write_bytes(OLD)
    disk.broken[step] = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        copy_durably(source, target)
    assert target.read_bytes() == OLD
    assert source.read_bytes() == NEW
    assert litter(tmp_path) == []


def test_a_missing_source_leaves_the_target(tmp_path: Path) -> None:
    target = tmp_path / "b"
    target.write_bytes(OLD)
    with pytest.raises(FileNotFoundError):
        copy_durably(tmp_path / "a", target)
    assert target.read_bytes() == OLD
    assert litter(tmp_path) == []


def test_a_complete_temporary_is_published_over_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dat"
    path.write_bytes(OLD)
    temporary = temporary_beside(path)
    temporary.write_bytes(NEW)
    publish(temporary, path)
    assert path.read_bytes() == NEW
    assert litter(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="platform: directories cannot be synced")
@pytest.mark.parametrize("way", ["publish", "copy"])
def test_every_way_syncs_the_content_before_the_name_and_the_directory_after_it(
    tmp_path: Path, disk: Disk, way: str
) -> None:
    source = temporary_beside(tmp_path / "a")
    source.write_bytes(NEW)
    if way == "publish":
        publish(source, tmp_path / "a")
    else:
        copy_durably(source, tmp_path / "a")
    assert [call for call in disk.calls if call != "open file"] == [
        "fsync file",
        "replace",
        "open directory",
        "fsync directory",
    ]


@pytest.mark.parametrize("step", ["fsync file", "replace"])
def test_a_publication_that_fails_gives_nothing_a_final_name(tmp_path: Path, disk: Disk, step: str) -> None:
    path = tmp_path / "a.dat"
    temporary = temporary_beside(path)
    temporary.write_bytes(NEW)
    disk.broken[step] = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken"):
        publish(temporary, path)
    assert not path.exists()
    assert temporary.read_bytes() == NEW


def test_sweeping_removes_only_our_temporaries(tmp_path: Path) -> None:
    kept = [tmp_path / name for name in ("a.dat", ".a.dat", f"a{TEMPORARY_SUFFIX}", ".x.part")]
    for path in kept:
        path.write_bytes(OLD)
    for _ in range(3):
        temporary_beside(tmp_path / "a.dat").write_bytes(b"half")
    assert sweep(tmp_path) == 3
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert sweep(tmp_path) == 0
    assert sweep(tmp_path / "nowhere") == 0


def test_two_writers_never_share_a_temporary(tmp_path: Path) -> None:
    names = {temporary_beside(tmp_path / "a") for _ in range(100)}
    assert len(names) == 100
    assert {name.parent for name in names} == {tmp_path}
    assert durable.TEMPORARY_SUFFIX == TEMPORARY_SUFFIX


def test_a_moved_file_takes_the_place_of_the_old_one_in_the_order_that_survives_a_cut(
    tmp_path: Path, disk: Disk
) -> None:
    source, path = tmp_path / "copy", tmp_path / "结果.txt"
    source.write_bytes(NEW)
    path.write_bytes(OLD)
    move_durably(source, path)
    assert path.read_bytes() == NEW
    assert not source.exists()
    assert [call for call in disk.calls if call != "open file"] == [
        "fsync file",
        "replace",
        "open directory",
        "fsync directory",
    ]
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("step", ["fsync file", "replace"])
def test_a_move_that_fails_leaves_both_files_as_they_were(tmp_path: Path, disk: Disk, step: str) -> None:
    source, path = tmp_path / "copy", tmp_path / "result.txt"
    source.write_bytes(NEW)
    path.write_bytes(OLD)
    disk.broken[step] = OSError(errno.EIO, "the disk failed")
    with pytest.raises(OSError, match="the disk failed"):
        move_durably(source, path)
    assert (source.read_bytes(), path.read_bytes()) == (NEW, OLD)
    assert litter(tmp_path) == []


def test_a_move_to_another_file_system_is_a_copy_that_is_whole_before_the_source_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "spool", tmp_path / "inbox"
    here.mkdir()
    there.mkdir()
    source, path = here / "copy", there / "result.txt"
    source.write_bytes(NEW)
    real = os.replace

    def replace(old: Path, new: Path) -> None:
        if Path(old).parent != Path(new).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        assert source.exists(), "the source stays until the copy has its name"
        real(old, new)

    monkeypatch.setattr(os, "replace", replace)
    move_durably(source, path, mode=0o644)
    assert path.read_bytes() == NEW
    assert not source.exists()
    assert (litter(here), litter(there)) == ([], [])
    if os.name != "nt":
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_copy_across_file_systems_that_fails_leaves_the_source(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = tmp_path / "copy", tmp_path / "result.txt"
    source.write_bytes(NEW)
    path.write_bytes(OLD)
    disk.broken["replace"] = OSError(errno.EXDEV, "another file system")
    with pytest.raises(OSError, match="another file system"):
        move_durably(source, path)
    assert (source.read_bytes(), path.read_bytes()) == (NEW, OLD)
    assert litter(tmp_path) == []
