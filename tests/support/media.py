"""Which media this machine can make for tests: each question is answered by trying, once.

A missing program is named, so that it can be installed. What an installed program is not allowed to do here (no root,
a container without /dev/fuse) is no fault of the tests' environment: those reasons start with `platform: `.
"""

from __future__ import annotations

import ctypes.util
import functools
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_SECONDS = 20


def need(*questions: functools._lru_cache_wrapper[str]) -> None:
    """Skip the test for the first question whose answer is a reason."""
    for why_not in questions:
        if reason := why_not():
            pytest.skip(reason)


def _programs(*names: str) -> str:
    for name in names:
        if shutil.which(name) is None:
            return f"{name} is not installed"
    return ""


def _fails(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False).returncode != 0
    except (OSError, subprocess.TimeoutExpired):
        return True


@functools.cache
def no_strace() -> str:
    """Return why no program can be traced."""
    if os.name == "nt" or sys.platform == "darwin":
        return "platform: strace is a program of Linux"
    if reason := _programs("strace"):
        return reason
    with tempfile.TemporaryDirectory() as folder:
        return "platform: this machine lets nobody trace" if _fails("strace", "-o", f"{folder}/log", "true") else ""


@functools.cache
def no_fuse() -> str:
    """Return why a program of ours cannot be a file system."""
    if not sys.platform.startswith("linux"):
        return "platform: FUSE as the tests use it is Linux's"
    if reason := _programs("fusermount3"):
        return reason
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed"
    if ctypes.util.find_library("fuse3") is None:
        return "libfuse3 is not installed"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "platform: /dev/fuse is not there or not ours"
    from tests.support.stickfs import stick_of_memory

    try:
        with tempfile.TemporaryDirectory() as folder, stick_of_memory(Path(folder)) as stick:
            (stick.path / "a").write_bytes(b"a")
    except (AssertionError, OSError) as error:
        return f"platform: nothing can be mounted by FUSE ({error})"
    return ""


@functools.cache
def no_loop() -> str:
    """Return why no file can be made a disk and mounted."""
    if not sys.platform.startswith("linux"):
        return "platform: loop devices are Linux's"
    if os.geteuid() != 0:
        return "platform: loop devices need root"
    if reason := _programs("losetup", "mkfs.ext4"):
        return reason
    from tests.support.disks import Disk

    try:
        with tempfile.TemporaryDirectory() as folder, Disk.made(Path(folder), "ext4") as disk, disk.mounted():
            pass
    except (OSError, subprocess.SubprocessError) as error:
        return f"platform: no loop device can be mounted ({error})"
    return ""


@functools.cache
def no_exfat() -> str:
    """Return why there can be no exFAT."""
    return no_loop() or _programs("mkfs.exfat", "mount.exfat-fuse")


@functools.cache
def no_ntfs() -> str:
    """Return why there can be no NTFS."""
    return no_loop() or _programs("mkfs.ntfs", "ntfs-3g")


@functools.cache
def no_network_disk() -> str:
    """Return why there can be no disk that fails on command."""
    return no_loop() or no_fuse() or _programs("nbdkit", "nbdfuse")
