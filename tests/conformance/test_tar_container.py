"""Containers and stock tar: both open what we write, and what they write is ours only if it is exactly the same."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.support.containers import ACK, DAT, FILES, SUB, pack, unpack
from tests.support.tools import run, tool

EXACT = "--format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 -b 1"
NAMES = f"{ACK} {DAT} {SUB} manifest.json"


def gnu_tar() -> str:
    """Return the path of GNU tar, or skip the test for want of it."""
    found = tool("tar")
    if b"GNU tar" not in run(Path(), found, "--version"):
        pytest.skip("GNU tar is not installed")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the members and their manifest."""
    planned, _ = pack(FILES)
    for name, data in {**FILES, "manifest.json": planned.manifest}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_gnu_tar_lists_and_unpacks_a_container(tmp_path: Path) -> None:
    """STICK-15, STICK-16."""
    tar = gnu_tar()
    planned, data = pack(FILES)
    (tmp_path / planned.name).write_bytes(data)
    listed = run(tmp_path, tar, f"tvf {planned.name} --utc").decode().splitlines()
    assert [(line.split()[0], line.split()[2], line.split()[-1]) for line in listed] == [
        ("-rw-r--r--", str(len(content)), name)
        for name, content in {**FILES, "manifest.json": planned.manifest}.items()
    ]
    run(tmp_path, tar, f"xf {planned.name}")
    for name, content in {**FILES, "manifest.json": planned.manifest}.items():
        assert (tmp_path / name).read_bytes() == content


def test_python_unpacks_a_container() -> None:
    """STICK-15, STICK-16."""
    planned, data = pack(FILES)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errorlevel=2) as archive:
        members = archive.getmembers()
        assert all(each.isreg() and (each.mode, each.uid, each.gid, each.mtime) == (0o644, 0, 0, 0) for each in members)
        found = {each.name: file.read() for each in members if (file := archive.extractfile(each)) is not None}
        assert archive.pax_headers == {}
    assert found == {**FILES, "manifest.json": planned.manifest}


def test_gnu_tar_with_the_options_of_the_specification_makes_the_same_file(folder: Path) -> None:
    """STICK-16."""
    _, data = pack(FILES)
    assert run(folder, gnu_tar(), f"{EXACT} -cf - {NAMES}") == data


@pytest.mark.parametrize(
    "options",
    [
        "",
        EXACT.replace("ustar", "gnu"),
        EXACT.replace("ustar", "pax"),
        EXACT.replace("ustar", "v7"),
        EXACT.replace("-b 1", ""),
        EXACT.replace("--mtime=@0", "--mtime=@1"),
        EXACT.replace("0644", "0600"),
        EXACT.replace("--owner=0", "--owner=1000"),
        EXACT.replace("--numeric-owner", ""),
        f"{EXACT} --transform=s,^,./,",
        f"{EXACT} --gzip",
        f"{EXACT} --sparse --format=gnu",
    ],
)
def test_what_tar_makes_otherwise_is_refused(folder: Path, options: str) -> None:
    """STICK-15, STICK-16: the data are right, the spelling is not the one."""
    _, complete, error = unpack(run(folder, gnu_tar(), f"{options} -cf - {NAMES}"))
    assert complete is None
    assert error is not None


def test_a_link_or_a_folder_in_place_of_a_member_is_refused(folder: Path) -> None:
    """STICK-16."""
    (folder / SUB).unlink()
    (folder / SUB).symlink_to(DAT)
    found, complete, error = unpack(run(folder, gnu_tar(), f"{EXACT} -cf - {NAMES}"))
    assert (list(found), complete) == ([ACK, DAT], None)
    assert error is not None
    (folder / SUB).unlink()
    (folder / SUB).mkdir()
    found, complete, error = unpack(run(folder, gnu_tar(), f"{EXACT} -cf - {NAMES}"))
    assert (list(found), complete) == ([ACK, DAT], None)
    assert error is not None


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_makes_is_refused(form: int) -> None:
    """STICK-16: its blocks of 10240 octets and its other fields are another spelling."""
    planned, _ = pack(FILES)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as archive:
        for name, data in {**FILES, "manifest.json": planned.manifest}.items():
            head = tarfile.TarInfo(name)
            head.size = len(data)
            archive.addfile(head, io.BytesIO(data))
    _, complete, error = unpack(out.getvalue())
    assert complete is None
    assert error is not None
