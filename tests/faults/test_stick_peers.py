"""Others that people use to carry files, killed at each of their system calls: for the manual's page on reliability.

How they end is recorded, not asserted: this is no test of theirs. It shows that the campaigns that our own programs
pass are not passed by everything.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.carriers import MAKERS, Command, Nncp, outcome
from tests.support.reliability import record
from tests.support.tools import tool

CALLS = ("openat", "mkdirat", "write", "copy_file_range", "fsync", "close", "rename", "renameat", "unlink", "unlinkat")
MOST = 60
"""Of each call. Where a program makes more, it is reading its own libraries."""


def medium_of(path: Path) -> str:
    """Return the type of the file system that a path lies on."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(m[1]), m[2]) for m in mounts if path.is_relative_to(m[1].replace("\\040", " "))]
    return max(above)[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["cp", "nncp-xfer"])
def test_others_killed_at_each_system_call_for_the_table(tmp_path: Path, name: str) -> None:
    strace = tool("strace")
    tool(name)
    source = tmp_path / "source.dat"
    source.write_bytes(bytes(range(256)) * 1200)
    who = MAKERS[name](source, tmp_path)
    assert isinstance(who, Command | Nncp)
    root = tmp_path / "stick"
    ends: Counter[str] = Counter()
    for call in CALLS:
        for number in range(1, MOST):
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            who.prepare(root)
            words = who.command(root)
            inject = f"inject={call}:signal=SIGKILL:when={number}"
            done = subprocess.run(
                [strace, "-f", "-qq", "-o", "/dev/null", "-e", inject, *words],
                capture_output=True,
                timeout=60,
                check=False,
            )
            assert done.returncode in (0, 1, -9, 137), done.stderr
            found = who.found(root)
            if done.returncode == 0:
                assert found == "new"  # it does not make that many of these calls
                break
            ends["lost" if found != "new" and not who.keeps() else outcome(who, found, said_safe=False)] += 1
    assert ends, "nothing was killed"
    record(tier="strace", medium=medium_of(tmp_path), fault="kill -9 at each system call", subject=name, outcomes=ends)
