"""Real file systems on this machine, mounted from image files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.tools import LONGEST, tool


def may_mount() -> None:
    """Skip the test where this user cannot mount."""
    if sys.platform != "linux":
        pytest.skip("platform: mounts an image as Linux does")
    if os.geteuid() != 0:
        pytest.skip("platform: only root can mount an image")


def quiet(*words: str | Path, good: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=LONGEST, check=False)
    assert done.returncode == 0 or not good, done.stderr
    return done


def ext4_image(path: Path) -> Path:
    """Make a small file system in a file."""
    with path.open("wb") as file:
        file.truncate(4 << 20)
    # Without a journal no thread of the kernel holds the device after the unmount.
    quiet(tool("mkfs.ext4"), "-q", "-F", "-O", "^has_journal", path)
    return path


@contextmanager
def mounted(image: Path, folder: Path, options: str = "loop") -> Iterator[Path]:
    """Mount an image for a while; a test may unmount it earlier."""
    may_mount()
    folder.mkdir(parents=True, exist_ok=True)
    done = quiet(tool("mount"), "-o", options, image, folder, good=False)
    if done.returncode != 0:
        pytest.skip(f"platform: this machine mounts no image ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        for _ in range(5):  # over a test that mounted something else on top
            if not os.path.ismount(folder):
                break
            quiet(tool("umount"), folder, good=False)
