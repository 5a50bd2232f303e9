"""Real file systems on this machine, mounted from image files."""

from __future__ import annotations

import os
import re
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
            if not is_mounted(folder):
                break
            quiet(tool("umount"), folder, good=False)
        else:
            quiet(tool("umount"), "-l", folder, good=False)


def is_mounted(folder: Path) -> bool:
    """Return whether something is mounted there; `os.path.ismount` does not see a folder bound to another place."""
    here = os.fsencode(folder.resolve())
    with open("/proc/self/mountinfo", "rb") as table:
        places = [line.split()[4] for line in table]
    return here in [re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), place) for place in places]
