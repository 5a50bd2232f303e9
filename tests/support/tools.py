"""Stock programs that tests use as second opinions."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

LONGEST = 60
"""Seconds that a tool may take: none needs one."""


def tool(name: str) -> str:
    """Return the path of a program, or skip the test for want of it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def openssl() -> str:
    """Return the path of OpenSSL 3, or skip the test for want of it."""
    found = tool("openssl")
    version = subprocess.run([found, "version"], capture_output=True, text=True, timeout=LONGEST, check=False).stdout
    if not version.startswith("OpenSSL ") or int(version.split()[1].split(".")[0]) < 3:
        pytest.skip(f"OpenSSL 3 is needed, not {version.strip() or 'none'}")
    return found


def run(folder: Path, program: str, command: str, *more: str, good: bool = True) -> bytes:
    """Run a program in `folder` and return its standard output; it must succeed, or fail if not `good`.

    Args:
        folder: Where it runs.
        program: Its path.
        command: Its arguments as one types them; none holds a blank.
        more: Further arguments.
        good: Whether it must succeed.
    """
    words = [program, *command.split(), *more]
    done = subprocess.run(words, cwd=folder, capture_output=True, timeout=LONGEST, check=False)
    assert (done.returncode == 0) is good, done.stderr.decode(errors="replace")
    return done.stdout
