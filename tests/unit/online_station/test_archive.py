"""What is finished moves into an archive, and nothing else does, wherever the process is killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from online_station import cli
from online_station.cli import base
from online_station.core.decide import OperatorCancel
from online_station.shell import archive as archive_module
from online_station.shell import archive_file
from online_station.shell.archive import Archivist
from online_station.shell.archived import where_archived
from online_station.shell.quiet_hour import QuietHour
from online_station.shell.setup import opened
from shared.errors import ArchiveInvalid
from tests.support.online import make_report
from tests.support.pki import NOW
from tests.support.tools import tool

LONG = timedelta(days=181)


@pytest.fixture
def run(station_desk, capsys, monkeypatch):
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)

    def call(*words):
        status = cli.program.run(["--home", str(station_desk.home.root), *map(str, words), "--json"])
        answer = json.loads(capsys.readouterr().out)
        return status, {**answer["data"], "errors": answer["errors"]}

    return call


def finish(desk, machine=0, **changes):
    """Bring one report through its whole life."""
    digest = desk.report(machine, **changes)
    desk.once()
    desk.bureau.succeed(digest)
    desk.ask_now()
    desk.ack(digest)
    desk.once()
    assert desk.state(digest) == "acknowledged"
    return digest


def archivist(desk, store, **more):
    return Archivist(desk.home, store, station="online-1", folder=desk.home.archive, outbox=desk.outbox, **more)


def files_of(desk) -> dict[str, bytes]:
    folders = (desk.home.spool, desk.home.results, desk.home.quarantine, desk.outbox)
    return {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in folder.iterdir()}


def test_a_finished_report_moves_and_is_known_for_ever(station_desk, run):
    desk = station_desk
    digest = finish(desk)
    data = (desk.home.spool / f"{digest}.dat").read_bytes()
    before = run("show", digest)[1]
    assert run("archive", "run")[1]["reports"] == 0, "it was finished today"
    desk.clock.advance(days=181)
    assert run("archive", "run", "--dry-run")[1]["reports"] == 1
    assert len(files_of(desk)) == 5
    status, moved = run("archive", "run")
    assert (status, moved["reports"]) == (0, 1)
    assert moved["removed_bytes"] > len(data)
    assert files_of(desk) == {}, "report, receipt, result, clear receipt and what was staged"
    shown = run("show", digest)[1]
    assert (shown["state"], shown["archive"]) == ("acknowledged", "taxferry-archive_2026-07.zip")
    assert [e["event"] for e in shown["events"]] == ["archived"]
    assert shown["results"] == before["results"]
    told = run("archive", "show", digest[:10])[1]
    assert told["events"] == before["events"]
    puts = len(desk.bureau.puts)
    (desk.inbox / "再来一次.dat").write_bytes(data)
    pass_ = run("once")[1]
    assert (pass_["taken"], list(desk.inbox.iterdir()), files_of(desk)) == ([digest], [], {})
    assert len(desk.bureau.puts) == puts
    assert run("show", digest)[1]["state"] == "acknowledged"
    assert run("archive", "run")[1]["reports"] == 0
    (row,) = run("archive", "list", "--check")[1]["items"]
    assert (row["reports"], row["sound"], row["present"]) == (1, True, True)


def test_what_comes_back_is_what_went(station_desk, run):
    desk = station_desk
    digest = finish(desk)
    files, before = files_of(desk), run("show", digest)[1]
    row = desk.row(digest)
    desk.clock.advance(days=181)
    run("archive", "run")
    status, back = run("archive", "restore", row.header.name.stem)
    assert (status, back["archive"]) == (0, "taxferry-archive_2026-07.zip")
    staged = f"{desk.outbox.name}/{row.header.name.stem}.txt"
    assert files_of(desk) == {name: data for name, data in files.items() if name != staged}
    after = run("show", digest)[1]
    assert after["events"][:-2] == before["events"]
    assert [e["event"] for e in after["events"][-2:]] == ["archived", "archive-restored"]
    assert (after["archive"], desk.row(digest).recipients) == (None, row.recipients)
    assert run("archive", "restore", digest)[0] == 50, "it lies in no archive now"
    assert run("archive", "run")[1]["reports"] == 0, "whoever brought it back has use for it"
    desk.clock.advance(days=181)
    assert run("archive", "run")[1]["archives"][0].endswith("2026-07-2.zip")
    assert [r["reports"] for r in run("archive", "list")[1]["items"]] == [1, 0]


def test_nothing_unfinished_is_touched(station_desk, run):
    desk = station_desk
    held = desk.report(1)
    desk.bureau.declared.clear()
    desk.once()
    desk.bureau.declared.add("2026-07")
    answered = desk.report(2)
    desk.once()
    desk.bureau.succeed(answered)
    desk.ask_now()
    assert desk.state(answered) == "staged"
    again = finish(desk, 0)
    later = desk.report(0, sequence=9)  # the same name, a new copy that is under way
    desk.once()
    desk.clock.advance(days=400)
    before = files_of(desk)
    assert run("archive", "run")[1]["reports"] == 0
    assert files_of(desk) == before
    with opened(desk.home) as store:
        assert where_archived(store, {held, answered, again, later}) == {}


def test_given_up_reports_set_aside_files_and_old_logs_move_too(station_desk, run):
    desk = station_desk
    digest = desk.report()
    desk.bureau.declared.clear()
    desk.once()
    desk.decide(digest, OperatorCancel())
    (desk.inbox / "310100000000000_0_202608010000.dat").write_bytes(b"half a report")
    desk.once()
    log = desk.home.logs / "station.log.1"
    log.write_text("old\n", encoding="utf-8")
    os.utime(log, (NOW.timestamp(), NOW.timestamp()))
    (desk.home.logs / "station.log").write_text("new\n", encoding="utf-8")
    assert len(list(desk.home.quarantine.iterdir())) == 2
    desk.clock.advance(days=200)
    done = run("archive", "run")[1]
    assert (done["reports"], done["others"], len(done["archives"])) == (1, 2, 2)
    assert files_of(desk) == {}
    assert [path.name for path in desk.home.logs.iterdir()] == ["station.log"]
    assert [i["state"] for i in run("list")[1]["items"]] == ["cancelled"]
    status, refused = run("retry", digest)
    assert (status, refused["errors"][0]["code"]) == (50, "B5031")
    run("archive", "restore", digest)
    assert run("retry", digest)[1]["state"] == "proven"


def test_an_archive_is_checked_with_stock_tools(station_desk, run, tmp_path):
    finish(station_desk)
    station_desk.clock.advance(days=181)
    (path,) = run("archive", "run")[1]["archives"]
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "x")
    done = subprocess.run([tool("sha256sum"), "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "x", check=False)
    assert done.returncode == 0
    assert "归档" in (tmp_path / "x/README.txt").read_text("utf-8-sig")


def test_an_altered_archive_is_found_and_restores_nothing(station_desk, run):
    desk = station_desk
    digest = finish(desk)
    desk.clock.advance(days=181)
    (path,) = map(Path, run("archive", "run")[1]["archives"])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    status, listed = run("archive", "list", "--check")
    assert (status, listed["items"][0]["sound"], listed["errors"][0]["code"]) == (50, False, "B5032")
    assert run("archive", "restore", digest)[0] == 50
    assert files_of(desk) == {}
    path.unlink()
    assert run("archive", "show", digest)[1]["errors"][0]["code"] == "B5032"
    assert run("show", digest)[1]["state"] == "acknowledged"


def test_a_damaged_file_of_the_spool_is_left_where_it_is(station_desk, run):
    desk = station_desk
    digest = finish(desk)
    (desk.home.spool / f"{digest}.dat").write_bytes(b"not what was noted")
    desk.clock.advance(days=181)
    before = files_of(desk)
    status, done = run("archive", "run")
    assert (status, done["reports"], done["archives"]) == (1, 0, [])
    assert files_of(desk) == before
    assert [p.name for p in desk.home.archive.iterdir()] == []


def test_an_archive_that_cannot_be_read_back_costs_nothing(station_desk, monkeypatch):
    desk = station_desk
    finish(desk)
    before = files_of(desk)

    def spoil(path):
        data = bytearray(path.read_bytes())
        data[100] ^= 255
        path.write_bytes(data)

    monkeypatch.setattr(archive_file, "_forget_cache", spoil)
    with opened(desk.home) as store, pytest.raises(ArchiveInvalid):
        archivist(desk, store).run(NOW + LONG, older_than=timedelta(days=180))
    assert files_of(desk) == before
    monkeypatch.undo()
    with opened(desk.home) as store:
        assert archivist(desk, store).run(NOW + LONG, older_than=timedelta(days=180)).reports == 1
    assert [p.name for p in desk.home.archive.iterdir()] == ["taxferry-archive_2026-07.zip"]


class Killed(BaseException):
    """The process ends here."""


def test_killed_at_every_point_it_is_run_again_and_loses_nothing(station_desk, tmp_path, monkeypatch):
    desk = station_desk
    digests = {finish(desk, machine) for machine in (0, 1)}
    monkeypatch.setattr(archive_module, "_BATCH", 1)
    files = {hashlib.sha256(data).hexdigest() for data in files_of(desk).values()}
    pristine = tmp_path / "pristine"
    shutil.copytree(desk.home.root, pristine)

    def run(checkpoint):
        with opened(desk.home) as store:
            archivist(desk, store, checkpoint=checkpoint).run(NOW + LONG, older_than=timedelta(days=180))

    points: list[str] = []
    for stop in range(100):
        shutil.rmtree(desk.home.root)
        shutil.copytree(pristine, desk.home.root)
        countdown = iter(range(stop, -1, -1))

        def checkpoint(point, countdown=countdown):
            if next(countdown) == 0:
                points.append(point)
                raise Killed

        try:
            run(checkpoint)
            break
        except Killed:
            sound = {hashlib.sha256(data).hexdigest() for data in files_of(desk).values()}
            for path in desk.home.archive.glob("*.zip"):
                sound |= {member.sha256 for member in archive_file.prove(path).members.values()}
            assert files <= sound, f"lost at: {points[-1]}"
        run(lambda point: None)
        assert files_of(desk) == {}, points[-1]
        with opened(desk.home) as store:
            assert set(where_archived(store, digests)) == digests, points[-1]
            assert {store.find(digest).state.value for digest in digests} == {"acknowledged"}
            assert all(error is None for _, error in archive_module.check(store, desk.home.archive))
    assert {"archive begun", "archive filled", "archive proven", "archive sealed", "archive noted"} <= set(points)
    assert {"archived file removed", "archive cleaned"} <= set(points)


def test_the_service_archives_at_its_quiet_hour_once_a_day(station_desk, run):
    import threading

    desk = station_desk
    digest = finish(desk)
    assert run("archive", "auto", "--at", "2:30")[0] == 2
    assert run("archive", "auto", "--at", "02:30", "--after", "30")[1] == {
        "at": "02:30",
        "days": 30,
        "folder": str(desk.home.archive),
        "errors": [],
    }
    day = (NOW + timedelta(days=40)).replace(hour=2, minute=29)
    with opened(desk.home) as store:
        quiet = QuietHour(desk.home, store, desk.clock, threading.Event())
        assert not quiet.look(day)
        assert not quiet.look(day.replace(hour=12)), "a PC that was off at night does not begin at noon"
        assert quiet.look(day + timedelta(minutes=1))
        assert not quiet.look(day + timedelta(minutes=5))
        assert set(where_archived(store, {digest})) == {digest}
    run("archive", "auto", "--off")
    with opened(desk.home) as store:
        assert not QuietHour(desk.home, store, desk.clock, threading.Event()).look(day + timedelta(days=1, minutes=1))


def test_a_second_copy_of_an_archived_receipt_goes_again(station_desk, run):
    desk = station_desk
    digest = finish(desk)
    (ack,) = desk.home.spool.glob("*.ack")
    data = ack.read_bytes()
    desk.clock.advance(days=181)
    run("archive", "run")
    delivered = len(desk.bureau.acks)
    (desk.inbox / f"{make_report()[1].header.name.stem}.ack").write_bytes(data)
    run("once")
    assert (len(desk.bureau.acks), desk.state(digest)) == (delivered, "acknowledged")
    run("archive", "run")
    assert files_of(desk) == {}
