"""Journeys of sticks on the real command lines: two of them, lost ones, locked ones, discs, copies, and an agency's.

One bureau runs as a process; the programs run inside the test, but for those that attend to sticks by themselves.
"""

from __future__ import annotations

import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from offline_station import cli as offline_cli
from online_station.cli import base as online_cli_base
from shared.clock import FixedClock, SystemClock
from tests.journey.test_wrong_turns import Firm, firm, office
from tests.support.loop_mount import ext4_image, may_mount, mounted, quiet
from tests.support.reading import read_apart, read_in_process
from tests.support.tools import tool

__all__ = ["firm", "office", "read_apart", "read_in_process"]

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60
"""For what takes a few seconds on a machine that has nothing else to do."""


@pytest.fixture(autouse=True)
def _only_our_own_mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test meet a stick that somebody has really plugged in."""
    known = psutil.disk_partitions
    monkeypatch.setattr(
        psutil,
        "disk_partitions",
        lambda all=False: [one for one in known(all) if one.mountpoint.startswith(str(tmp_path))],  # noqa: A006
    )


def new_stick(us: Firm, name: str, *, machine: int = 0) -> Path:
    folder = us.root / f"U盘 {name}"
    folder.mkdir()
    us.offline("stick", "prepare", folder, "--label", name, machine=machine)
    return folder


def on(stick: Path, direction: str) -> list[str]:
    return sorted(path.name for path in (stick / "TAXFERRY" / direction).iterdir())


@contextmanager
def days_later(days: float) -> Iterator[None]:
    """Let both stations live that many days later."""
    clock = FixedClock(SystemClock().now() + timedelta(days=days))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline_cli, "clock", clock)
        patch.setattr(online_cli_base, "CLOCK", clock)
        yield


@pytest.mark.usefixtures("read_apart")
def test_the_same_report_on_two_sticks_is_filed_once_and_cleared_once(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.declare()
    made = us.report()
    red, blue = new_stick(us, "红"), new_stick(us, "蓝")
    for stick in (red, blue):
        done = us.offline("stick", "sync", stick).data
        assert (done["placed"], done["safe"]) == ([f"{made['stem']}.dat"], True)
    assert us.online("stick", "sync", red).data["taken"] == [f"{made['stem']}.dat"]
    us.online("once")
    again = us.online("stick", "sync", blue).data
    assert (again["taken"], again["known"]) == ([], 1)
    us.wait_for(made["report_digest"], "staged")
    shown = us.online("show", made["report_digest"]).data
    assert shown["uploads"] == 1
    assert [leg["label"] for leg in shown["legs"] if leg["leg"] == "came"] == ["红", "蓝"], "by which it came, in order"
    for stick in (red, blue):
        assert f"{made['stem']}.txt" in us.online("stick", "sync", stick).data["placed"]
    assert us.offline("stick", "sync", red).data["taken"] == [f"{made['stem']}.txt"]
    assert us.offline("result").data["outcome"] == "success"
    assert us.offline("clear").data["already"] is False
    back = us.offline("stick", "sync", blue).data
    assert (back["taken"], back["placed"], back["refused"]) == ([], [f"{made['stem']}.ack"], [])
    us.offline("stick", "sync", red)
    assert us.online("stick", "sync", blue).data["taken"] == [f"{made['stem']}.ack"]
    us.online("once")
    assert us.state(made["report_digest"]) == "acknowledged"
    late = us.online("stick", "sync", red).data
    assert (late["taken"], late["placed"], late["known"]) == ([], [], 2)
    assert us.offline("status").data["state"] == "done"
    # Nothing goes at once, and all that is finished goes after a week, each by the PC that put it there.
    assert on(red, "to-online") == [f"{made['stem']}.ack", f"{made['stem']}.dat"]
    with days_later(8):
        assert us.online("stick", "sync", red).data["removed"] == [f"{made['stem']}.txt"]
        assert f"{made['stem']}.dat" in us.offline("stick", "sync", red).data["removed"]
    assert on(red, "to-offline") == ["trust.txt"]


def test_a_lost_stick_is_missed_on_both_sides_and_coming_back_it_files_nothing_twice(
    firm: Callable[..., Firm],
) -> None:
    us = firm()
    us.declare()
    made = us.report()
    red = new_stick(us, "红")
    us.offline("stick", "sync", red)
    lost = red.rename(us.root / "掉在出租车上")
    assert "已 3 天" not in json.dumps(us.offline("status").answer, ensure_ascii=False)
    with days_later(3.1):
        said = json.dumps(us.offline("status").answer, ensure_ascii=False)
        assert "“红”带走" in said
        assert "已 3 天" in said
        assert "report --again" in said
    blue = new_stick(us, "蓝")
    assert us.offline("report", "--again", "--stick", blue).data["stick"] == "蓝"
    us.online("stick", "sync", blue)
    us.online("once")
    us.wait_for(made["report_digest"], "staged")
    us.online("stick", "sync", blue)
    result = (blue / "TAXFERRY" / "to-offline" / f"{made['stem']}.txt").read_bytes()
    blue.rename(us.root / "也丢了")
    with days_later(3.1):
        said = json.dumps(us.online("list").answer, ensure_ascii=False)
        assert "结果已由U盘“蓝”带走 3 天" in said
    # The first one is found. Whatever lies on it was dealt with, and it serves as well as any other.
    done = us.online("stick", "sync", lost).data
    assert (done["taken"], done["known"]) == ([], 1)
    assert us.online("show", made["report_digest"]).data["uploads"] == 1
    assert (lost / "TAXFERRY" / "to-offline" / f"{made['stem']}.txt").read_bytes() == result
    us.offline("stick", "sync", lost)
    us.offline("result")
    us.offline("clear")
    us.offline("stick", "sync", lost)
    us.online("stick", "sync", lost)
    us.online("once")
    assert us.state(made["report_digest"]) == "acknowledged"
    assert us.online("show", made["report_digest"]).data["uploads"] == 1


def test_a_report_that_never_came_is_missed_when_the_next_one_does(firm: Callable[..., Firm]) -> None:
    us = firm()
    us.sell(3)
    us.declare()
    first = us.report("--adhoc")
    us.fetch(first)
    us.report("--again")
    third = us.report("--again")
    us.online("upload", third["file"])
    (gap,) = us.online("board").data["gaps"]
    assert (gap["machine_no"], gap["missing"], gap["before"]) == (0, [2], 3)
    assert us.online("list").data["gaps"] == [gap]


# Media that cannot be written


@contextmanager
def locked(folder: Path, place: Path) -> Iterator[Path]:
    """Mount a folder at another place so that nothing can be written there, not even by root."""
    with mounted(folder, place, "bind") as here:
        done = quiet(tool("mount"), "-o", "remount,ro,bind", here, good=False)
        if done.returncode != 0:
            pytest.skip(f"platform: this machine mounts nothing read-only ({done.stderr.strip()})")
        yield here


def test_a_locked_stick_is_read_on_both_sides_and_says_what_it_cannot_take(firm: Callable[..., Firm]) -> None:
    may_mount()
    us = firm()
    us.declare()
    made = us.report()
    red = new_stick(us, "红")
    with locked(red, us.root / "锁") as stick:
        refused = us.offline("stick", "sync", stick, expect=34)
        assert refused.answer["errors"][0]["code"] == "B3401"
    us.offline("stick", "sync", red)
    before = [(path, path.stat().st_mtime_ns) for path in sorted(red.rglob("*"))]
    with locked(red, us.root / "锁") as stick:
        assert us.online("stick", "sync", stick).data["taken"] == [f"{made['stem']}.dat"]
        us.online("once")
        us.wait_for(made["report_digest"], "staged")
        full = us.online("stick", "sync", stick, expect=34)
        assert full.data["unplaced"] == [f"{made['stem']}.txt"]
    assert [(path, path.stat().st_mtime_ns) for path in sorted(red.rglob("*"))] == before
    us.online("stick", "sync", red)
    with locked(red, us.root / "锁") as stick:
        done = us.offline("stick", "sync", stick).data
        assert (done["taken"], done["unplaced"]) == ([f"{made['stem']}.txt"], [])
        us.offline("result")
        us.offline("clear")
        assert us.offline("stick", "sync", stick, expect=34).data["unplaced"] == [f"{made['stem']}.ack"]


def burn_iso(folder: Path, image: Path) -> Path:
    quiet(tool("genisoimage"), "-quiet", "-J", "-R", "-o", image, folder)
    return image


def burn_squashfs(folder: Path, image: Path) -> Path:
    quiet(tool("mksquashfs"), folder, image, "-quiet", "-no-progress")
    return image


@pytest.mark.parametrize("burn", [burn_iso, burn_squashfs])
def test_a_disc_goes_both_ways_where_sticks_that_can_be_written_are_forbidden(
    firm: Callable[..., Firm], burn: Callable[[Path, Path], Path]
) -> None:
    may_mount()
    us = firm()
    us.declare()
    made = us.report()
    out = us.root / "待刻"
    assert us.offline("stick", "disc", out).data["placed"] == [f"{made['stem']}.dat"]
    assert (out / "交接单.html").is_file()
    with mounted(burn(out, us.root / "一.img"), us.root / "光盘", "loop,ro") as disc:
        done = us.online("stick", "sync", disc).data
        assert (done["taken"], done["safe"], done["unplaced"]) == ([f"{made['stem']}.dat"], True, [])
        us.online("once")
        us.wait_for(made["report_digest"], "staged")
    back = us.root / "带回"
    assert f"{made['stem']}.txt" in us.online("stick", "disc", back).data["placed"]
    us.online("stick", "disc", back, expect=32)
    with mounted(burn(back, us.root / "二.img"), us.root / "光盘", "loop,ro") as disc:
        assert us.offline("stick", "sync", disc).data["taken"] == [f"{made['stem']}.txt"]
    us.offline("result")
    us.offline("clear")


# Attended


class Attending:
    """A program that attends to sticks, and what it says."""

    def __init__(self, program: str, home: Path, verb: str) -> None:
        command = [sys.executable, "-m", "tests.support.no_mounts", program, "--home", str(home), "--json", verb]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def until(self, event: str, wanted: Callable[[dict[str, Any]], object] = lambda _: True) -> dict[str, Any]:
        """Return the next event of a kind that is as wanted."""
        last = time.monotonic() + PATIENCE_SECONDS
        while True:
            line = self.lines.get(timeout=max(0.0, last - time.monotonic()))
            assert line is not None, (self.said, self.process.communicate())
            found = json.loads(line)
            found = found.get("data", found)
            self.said.append(found)
            assert found.get("event") != "failed" or event == "failed", found
            if found.get("event") == event and wanted(found):
                return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def stop(self) -> dict[str, Any]:
        """Ask it to end, and return its last word."""
        self.process.send_signal(signal.SIGTERM)
        last = self.until("stopped")
        assert self.process.wait(timeout=PATIENCE_SECONDS) == 0
        return last


@pytest.mark.skipif(sys.platform == "win32", reason="platform: stopped by a signal")
@pytest.mark.timeout(180)
def test_attended_stations_serve_a_stick_that_comes_and_goes_and_what_is_new_while_it_stays(
    firm: Callable[..., Firm],
) -> None:
    us = firm()
    us.declare()
    red = new_stick(us, "红")
    us.online("stick", "sync", red)
    away = red.rename(us.root / "在路上")
    with Attending("offline_station", us.root / "开票机 0", "watch") as watch:
        watch.until("ready")
        made = us.report()
        away.rename(red)
        watch.until("visiting", lambda said: said["label"] == "红")
        safe = watch.until("safe")
        assert safe["placed"] == [f"{made['stem']}.dat"]
        assert "现在可以拔出" in safe["text"]
        with Attending("online_station", us.root / "上网机", "run") as run:
            run.until("ready")
            taken = run.until("safe", lambda said: said["taken"])
            assert taken["taken"] == [f"{made['stem']}.dat"]
            assert "现在可以拔出" in taken["text"]
            placed = run.until("safe", lambda said: f"{made['stem']}.txt" in said["placed"])
            assert placed["safe"] is True
            # The stick stays where it is: a folder of a local network. The result is there for the other side at once.
            back = watch.until("safe", lambda said: said["taken"])
            assert back["taken"] == [f"{made['stem']}.txt"]
            us.offline("result")
            us.offline("clear")
            watch.until("safe", lambda said: said["placed"] == [f"{made['stem']}.ack"])
            run.until("safe", lambda said: said["taken"] == [f"{made['stem']}.ack"])
            last = time.monotonic() + PATIENCE_SECONDS
            while us.state(made["report_digest"]) != "acknowledged":
                assert time.monotonic() < last
                time.sleep(0.1)
            run.stop()
        assert watch.stop()["visits"] >= 3


def test_what_cannot_be_used_and_a_bare_folder_in_place_of_the_stick_have_their_exit_codes(
    firm: Callable[..., Firm],
) -> None:
    us = firm()
    made = us.report()
    red = new_stick(us, "红")
    (red / "TAXFERRY" / "to-offline" / f"{made['stem']}.txt").mkdir()
    said = us.offline("stick", "sync", red, expect=1).data
    assert [refusal["code"] for refusal in said["refused"]] == ["B3503"]
    assert (said["placed"], said["safe"]) == ([f"{made['stem']}.dat"], True)
    (red / f"{made['stem']}.ack").write_bytes(b"")
    said = us.online("stick", "sync", red, expect=35)
    assert [error["code"] for error in said.answer["errors"]] == ["B3503"]
    assert (said.data["taken"], said.data["safe"]) == ([f"{made['stem']}.dat"], True)
    shutil.rmtree(red)
    red.mkdir()
    us.offline("stick", "sync", red, expect=32)
    said = us.online("stick", "sync", red, expect=32)
    assert said.data["safe"] is False, "nobody is told that a wrong folder is in order"
    assert list(red.iterdir()) == []


# An agency


def test_an_agency_s_twelve_machines_go_and_come_back_in_one_container(firm: Callable[..., Firm]) -> None:
    us = firm(12)
    us.declare()
    made = [us.report(machine=machine) for machine in range(12)]
    shared = us.root / "共享传出"
    shared.mkdir()
    us.offline("init", "--outbox", shared)
    for each in made:
        shutil.copy(each["file"], shared)
    shutil.copy(made[5]["file"], shared / f"{made[5]['stem']} (1).dat")
    red = new_stick(us, "红")
    out = us.offline("stick", "sync", red, "--all").data
    assert sorted(out["placed"]) == sorted(f"{each['stem']}.dat" for each in made)
    assert on(red, "to-online") == [out["container"]]
    assert len(us.online("stick", "sync", red).data["taken"]) == 12
    us.online("once")
    for each in made:
        us.wait_for(each["report_digest"], "staged")
    back = us.online("stick", "sync", red).data
    assert on(red, "to-offline") == sorted([back["container"], "trust.txt"])
    for machine, each in enumerate(made):
        mine = us.offline("stick", "sync", red, machine=machine).data
        assert (mine["taken"], mine["refused"]) == ([f"{each['stem']}.txt"], [])
        us.offline("result", machine=machine)
        ack = Path(us.offline("clear", machine=machine).data["ack_file"])
        if ack.parent != shared:
            shutil.copy(ack, shared)
    acks = us.offline("stick", "sync", red, "--all").data
    assert len([name for name in acks["placed"] if name.endswith(".ack")]) == 12 - len(
        [name for name in acks["already"] if name.endswith(".ack")]
    )
    us.online("stick", "sync", red)
    us.online("once")
    assert {us.state(each["report_digest"]) for each in made} == {"acknowledged"}
    with days_later(8):
        gone = us.offline("stick", "sync", red, machine=3).data["removed"]
        assert back["container"] in on(red, "to-offline"), "one machine does not remove what eleven others may need"
        assert gone == [f"{made[3]['stem']}.ack"] or gone == []
        done = us.online("stick", "sync", red).data["removed"]
        assert len(done) == 36, "the results, and what one machine packed for all: reports and clear receipts"
    assert on(red, "to-offline") == ["trust.txt"]


# A copy


def test_a_copied_stick_is_warned_about_and_works_all_the_same(firm: Callable[..., Firm]) -> None:
    may_mount()
    us = firm()
    us.declare()
    made = us.report()
    image = ext4_image(us.root / "原.img")
    with mounted(image, us.root / "原") as stick:
        us.offline("stick", "prepare", stick, "--label", "原")
    copy = Path(shutil.copy(image, us.root / "复制.img"))
    with mounted(image, us.root / "原") as stick:
        us.offline("stick", "sync", stick)
        with mounted(copy, us.root / "复制") as twin:
            said = us.offline("stick", "sync", twin, expect=1)
            assert said.data["placed"] == [f"{made['stem']}.dat"]
            assert "--new-identity" in json.dumps(said.answer, ensure_ascii=False)
            assert us.offline("stick", "sync", expect=31).status == 31, "which one is meant, a person has to say"
            us.offline("stick", "prepare", twin, "--new-identity")
            us.offline("stick", "sync", twin)
            assert us.online("stick", "sync", stick).data["taken"] == [f"{made['stem']}.dat"]
            us.online("once")
            assert us.online("stick", "sync", twin).data["known"] == 1
