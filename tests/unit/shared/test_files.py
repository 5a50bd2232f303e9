"""Files that somebody else left are opened without following, waiting or believing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from shared.files import hash_file, open_ordinary

pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: Windows has no pipes in folders")


def test_an_ordinary_file_opens_by_path_and_within_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with open_ordinary(tmp_path / "a") as file:
        assert file.read() == b"x"
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with open_ordinary("a", within=folder) as file:
            assert file.read() == b"x"
    finally:
        os.close(folder)


def test_a_link_is_followed_only_if_a_person_named_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="link"):
        open_ordinary(tmp_path / "link")
    with open_ordinary(tmp_path / "link", follow=True) as file:
        assert file.read() == b"x"


@pytest.mark.parametrize("what", ["pipe", "folder", "device"])
def test_pipes_folders_and_devices_are_refused_at_once_and_nothing_stays_open(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a"
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            path = Path(os.devnull)
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(OSError, match=r"ordinary|directory"):
        open_ordinary(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_the_digest_and_size_of_a_file(tmp_path: Path) -> None:
    data = os.urandom(3 << 20)
    (tmp_path / "a").write_bytes(data)
    assert hash_file(tmp_path / "a") == (hashlib.sha256(data).hexdigest(), len(data))
