"""Killed, refused or lied to at every single system call of a visit, by strace."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import media
from tests.support.cargo import DIRECTION, Cargo, Tally, sample
from tests.support.stick_worker import MODES
from tests.support.tracing import Call, Traced, Tracer, trace, tracer

SIZES = {"310100000000000_0_202608010000.dat": 1_100_000, "310100000000000_0_202607010000.ack": 900}
LOOKS = {"newfstatat", "fstat", "stat", "lstat", "statx", "statfs", "fstatfs", "lseek", "ioctl", "fcntl", "fadvise64"}
"""Calls that change nothing and are not lied about: they answer in memory that a lie leaves as it was."""
CHANGES = {"write", "fsync", "renameat2", "unlinkat", "mkdirat"}
"""Calls that are tried in every run; of the others, a sample."""
KILL = "signal=SIGKILL"
KILLED, PRETENDED = "kill -9 at each system call", "each system call pretends to succeed"
UNSYNCED = {"error=EIO", "error=ENOSPC"}
"""What a sync answers when it could not. (EROFS is what write-protected media answer, on which nothing is to be synced.)
"""


class Bench:
    """A stick on the machine's own disk, and visits to it under strace."""

    def __init__(self, folder: Path, tracer: Tracer, mode: str) -> None:
        self.folder, self.tracer = folder, tracer
        self.cargo = Cargo.make(folder / "cargo", SIZES, mode)
        self.stick = folder / "stick"
        self.pristine: dict[bool, Path] = {}
        for begun in (False, True):
            self.pristine[begun] = folder / f"pristine-{begun}"
            self.pristine[begun].mkdir()
            self.cargo.prepare(self.pristine[begun], begun=begun)

    def reset(self, *, begun: bool) -> None:
        shutil.rmtree(self.stick, ignore_errors=True)
        shutil.copytree(self.pristine[begun], self.stick)

    def visit(self, inject: str = "", *, begun: bool) -> Traced:
        self.reset(begun=begun)
        arguments = [self.stick, self.cargo.folder, DIRECTION, "--mode", self.cargo.mode]
        return self.tracer.run(arguments, self.cargo.paths(self.stick), inject)

    def calls(self, *, begun: bool) -> list[Call]:
        clean = self.visit(begun=begun)
        assert (clean.status, clean.said) == (0, "SAFE\n"), clean
        assert {"openat", "write", "read", "fsync", "close", "renameat2"} <= {c.name for c in clean.calls}
        return clean.calls

    def campaign(self, fault: str, points: Sequence[tuple[Call, str]], *, begun: bool) -> None:
        tally = Tally("strace", _file_system(self.stick), fault)
        changes = [p for p in points if p[0].name in CHANGES]
        for call, what in changes + sample([p for p in points if p[0].name not in CHANGES], 8):
            where = call.inject(what)
            done = self.visit(where, begun=begun)
            assert done.hit, where
            end = self.cargo.end(self.stick, _said(done), begun=begun)
            if end == "torn-not-believed":
                end = "torn-believed"  # the machine went on: its cache lost nothing, so nothing may be torn here
            if call.name == "fsync" and "transfer-log" not in call.shown and "SAFE" in done.said and what in UNSYNCED:
                end = "false-safe"  # it may not have reached the medium, and was called safe
            if done.status == -14:
                end = "hung"
            if end not in ("lost", "hung", "crashed", "false-safe", "torn-believed"):
                end = end if self.cargo.completes(self.stick) else "next-visit-blocked"
            tally.count(end, f"{where}: {done.said}")
        tally.close(at_least=20)


def _file_system(path: Path) -> str:
    found = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=True).stdout.strip()
    return {"ext2/ext3": "ext4", "overlayfs": "overlay"}.get(found, found)


def _said(done: Traced) -> str:
    if done.status in (0, 1) or done.status == -9:
        lines = done.said.split("\n")
        return "SAFE" if "SAFE" in lines else lines[0]
    return f"CRASHED {done.status} {done.said}"


@pytest.fixture(scope="module", params=MODES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    media.need(media.no_strace)
    folder = tmp_path_factory.mktemp("strace").resolve()
    with tracer(folder) as made:
        yield Bench(folder, made, request.param)


@pytest.mark.parametrize("begun", [False, True], ids=["empty", "broken-off copy"])
def test_killed_at_any_system_call_the_next_visit_completes(bench: Bench, begun: bool) -> None:
    calls = bench.calls(begun=begun)
    bench.campaign(KILLED, [(call, KILL) for call in calls], begun=begun)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=["EIO", "ENOSPC", "EROFS"])
def test_an_error_of_any_system_call_never_ends_in_safe_without_the_files(bench: Bench, number: int) -> None:
    name = errno.errorcode[number]
    calls = [c for c in bench.calls(begun=False) if name == "EIO" or c.name not in LOOKS]
    bench.campaign(f"{name} from each system call", [(call, f"error={name}") for call in calls], begun=False)


def test_a_system_call_that_only_pretends_is_noticed(bench: Bench) -> None:
    """A write that stores nothing, a rename that renames nothing, a sync that was no sync, all reported as success."""
    calls = [c for c in bench.calls(begun=False) if c.name not in LOOKS | {"openat"}]
    points = [(c, f"retval={0 if c.name in ('read', 'getdents64') else max(c.result, 0)}") for c in calls]
    bench.campaign(PRETENDED, points, begun=False)


@pytest.mark.parametrize("fault", [KILL, "retval"], ids=["killed", "lied to"])
def test_a_plain_copy_is_caught_by_the_same_campaign(bench: Bench, fault: str) -> None:
    """The campaign bites: of `cp` it sees torn files under final names, and success that is none."""
    bench.reset(begun=False)
    sources = [bench.cargo.folder / name for name in SIZES]
    targets = [bench.cargo.final(bench.stick, name) for name in SIZES]
    log = bench.folder / "cp.log"
    # So it reads and writes. (A pretended copy within the kernel is made good when it looks whether there is more.)
    command = ["cp", "--sparse=always", *sources, targets[0].parent]
    clean = trace(command, targets, log)
    assert clean.status == 0, clean.said
    tally = Tally("strace", _file_system(bench.stick), KILLED if fault == KILL else PRETENDED, "cp")
    for call in clean.calls:
        if fault != KILL and call.name in LOOKS | {"openat"}:
            continue
        where = call.inject(fault if fault == KILL else f"retval={max(call.result, 0)}")
        bench.reset(begun=False)
        done = trace(command, targets, log, where)
        end = bench.cargo.end(bench.stick, "SAFE" if done.status == 0 else "", believed=True)
        tally.count(end, where)
    tally.close()
