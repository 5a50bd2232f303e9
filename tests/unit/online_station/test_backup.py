"""A station is backed up while it works, and goes on from a backup without sending anything twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from online_station import cli
from online_station.cli import base
from online_station.core.decide import OperatorHold, OperatorRelease
from online_station.shell import backup as backup_module
from online_station.shell import locked_stream
from online_station.shell.home import Home
from online_station.shell.schema import SCHEMA_VERSION
from online_station.shell.setup import at_work, opened
from shared.errors import PassphraseWrong, StationBackupInvalid
from shared.keys.secret import Secret

NAME = "310100000000000_0_202608010000"


@pytest.fixture(autouse=True)
def quick_passphrases(monkeypatch):
    monkeypatch.setattr(locked_stream, "LOG_N", 14)


@pytest.fixture
def run(station_desk, capsys, monkeypatch):
    monkeypatch.setattr(base, "CLOCK", station_desk.clock)

    def call(*words, home=None, json_wanted=True):
        where = station_desk.home.root if home is None else home
        more = ["--json"] if json_wanted else []
        status = cli.program.run(["--home", str(where), *map(str, words), *more])
        said = capsys.readouterr()
        if not json_wanted:
            return status, said.out, said.err
        answer = json.loads(said.out)
        return status, {**answer["data"], "errors": answer["errors"]}

    return call


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "备份口令.txt"
    path.write_text("correct horse battery\n", encoding="utf-8")
    return path


def in_every_state(desk):
    """Have reports held by the standing, held by hand, accepted, failed, staged and cleared; return them by name."""
    made = {}
    for name, machine in (("cleared", 0), ("staged", 1), ("failed", 2), ("accepted", 3)):
        made[name] = desk.report(machine)
    desk.once()
    desk.bureau.succeed(made["cleared"])
    desk.bureau.succeed(made["staged"])
    desk.bureau.fail(made["failed"], "271D")
    desk.ask_now()
    desk.ack(made["cleared"])
    desk.once()
    desk.bureau.declared.clear()
    for name, machine in (("undeclared", 4), ("by hand", 5)):
        made[name] = desk.report(machine)
    desk.once()
    desk.decide(made["by hand"], OperatorHold())
    return made


def test_moving_to_another_pc_goes_on_where_it_was(station_desk, run, tmp_path, passphrase):
    desk, puts = station_desk, station_desk.bureau.puts
    made = in_every_state(desk)
    waiting = desk.report(6, name="刚到.dat")  # in the inbox, not taken yet
    stick = tmp_path / "move"
    stick.mkdir()
    status, done = run("backup", stick, "--passphrase-file", passphrase, "--retire")
    assert (status, done["retired"], done["locked"], done["keys"]) == (0, True, True, 1)
    file = Path(done["file"])
    for verb in (["once"], ["results"], ["hold", NAME], ["archive", "run"], ["stick", "sync", str(stick)]):
        status, refused = run(*verb)
        assert (status, refused["errors"][0]["code"]) == (50, "B5033"), verb
    assert run("list")[0] == 0, "what was there can be looked at"
    assert run("restore", file, "--check", "--passphrase-file", passphrase)[1]["reports"]["staged"] == 1

    (tmp_path / "key.p12").rename(tmp_path / "gone.p12")  # the other PC has none of these
    old = desk.home.root.rename(tmp_path / "A 已停用")
    moved_to = tmp_path / "另一台 B" / "station"
    status, put = run("restore", file, "--passphrase-file", passphrase, home=moved_to)
    assert (status, put["asked"], put["inbox"]) == (0, 5, str(moved_to / "inbox"))
    assert (moved_to / "keys/station.p12").read_bytes() == (tmp_path / "gone.p12").read_bytes()
    states = {i["report_digest"]: i["state"] for i in run("list", home=moved_to)[1]["items"]}
    assert {name: states[digest] for name, digest in made.items()} == {
        "cleared": "acknowledged",
        "staged": "staged",
        "failed": "failed",
        "accepted": "processing",
        "undeclared": "unknown",
        "by hand": "unknown",
    }
    sent = list(puts)
    assert run("once", home=moved_to)[0] == 0
    states = {i["report_digest"]: i["state"] for i in run("list", home=moved_to)[1]["items"]}
    assert states[made["undeclared"]] == "held"
    assert states[made["by hand"]] == "held"
    assert states[waiting] == "held"
    assert states[made["staged"]] == "staged"
    assert list(puts) == sent, "nothing was sent: the bureau was asked"
    staged = next(moved_to.joinpath("outbox").glob("*_1_*.txt"))
    assert staged.read_bytes() == desk.bureau.reports[made["staged"]].answer
    shown = run("show", made["by hand"], home=moved_to)[1]
    assert shown["hold"] == "operator"
    assert [e["event"] for e in shown["events"]][-2:] == ["restored", "never-seen"]
    desk.bureau.declared.add("2026-07")
    run("release", made["by hand"], home=moved_to)
    desk.clock.advance(hours=1)
    run("once", home=moved_to)
    desk.bureau.succeed(made["accepted"])
    run("results", home=moved_to)
    states = {i["report_digest"]: i["state"] for i in run("list", home=moved_to)[1]["items"]}
    assert (states[made["by hand"]], states[made["undeclared"]], states[waiting]) == ("processing",) * 3
    assert states[made["accepted"]] == "staged"
    assert not (old / "spool" / f"{waiting}.dat").exists()


def test_a_backup_older_than_the_truth_uploads_nothing_twice(station_desk, run, tmp_path):
    desk = station_desk
    desk.bureau.declared.clear()
    held, by_hand = desk.report(0), desk.report(1)
    desk.once()
    desk.decide(by_hand, OperatorHold())
    assert run("backup", tmp_path / "old.backup")[0] == 0
    desk.bureau.declared.add("2026-07")
    desk.decide(by_hand, OperatorRelease())
    desk.decide(held, OperatorRelease())
    desk.once()
    assert (desk.state(held), desk.state(by_hand)) == ("accepted", "accepted")
    sent = len(desk.bureau.puts)
    later = desk.report(2)
    desk.once()
    desk.home.archive.mkdir()
    (desk.home.archive / "taxferry-archive_2020-01.zip").touch()
    status, put = run("restore", tmp_path / "old.backup", "--replace")
    assert (status, put["asked"]) == (1, 2), "one report came later, which is said"
    assert "replaced-" in put["warnings"][0]
    run("once")
    assert (desk.state(held), desk.state(by_hand)) == ("accepted", "accepted")
    assert desk.row(by_hand).snapshot.hold is None
    assert len(desk.bureau.puts) == sent + 1, "only the third one was sent since"
    aside = next(desk.home.root.glob("replaced-*"))
    assert (aside / "station.db").is_file()
    assert (desk.home.archive / "taxferry-archive_2020-01.zip").is_file(), "the backup brings no archives: they stay"
    shutil.copy(aside / "spool" / f"{later}.dat", desk.inbox)
    run("once")
    assert desk.state(later) == "accepted"


def test_keys_go_into_a_locked_backup_only(station_desk, run, tmp_path, passphrase):
    desk = station_desk
    desk.report()
    desk.once()
    open_file, locked = tmp_path / "open.backup", tmp_path / "locked.backup"
    status, plain = run("backup", open_file)
    assert (status, plain["keys"], plain["locked"]) == (0, 0, False)
    secret = (tmp_path / "口令.txt").read_bytes().strip()
    with zipfile.ZipFile(open_file) as archive:
        assert not any(name.startswith("keys/") for name in archive.namelist())
        assert archive.testzip() is None
    assert run("backup", locked, "--passphrase-file", passphrase)[1]["keys"] == 1
    data = locked.read_bytes()
    assert data.startswith(b"taxferry-locked/1\n")
    assert secret not in data
    assert b"PK\x03\x04" not in data
    assert locked.stat().st_mode & 0o077 == 0
    assert run("restore", locked, "--check")[1]["errors"][0]["code"] == "B5035"
    passphrase.write_text("another passphrase\n", encoding="utf-8")
    assert run("restore", locked, "--check", "--passphrase-file", passphrase)[1]["errors"][0]["code"] == "B5035"
    passphrase.write_text("short\n", encoding="utf-8")
    assert run("backup", tmp_path / "x", "--passphrase-file", passphrase)[0] == 2
    assert run("backup", locked)[0] == 50, "never over another file"
    assert locked.read_bytes() == data
    assert [p.name for p in desk.home.root.iterdir() if p.name.endswith("-tmp")] == []


def test_every_altered_octet_of_a_locked_file_is_found(tmp_path):
    path = tmp_path / "x"
    content = bytes(range(256)) * 600  # three chunks
    with path.open("wb") as file:
        stream = locked_stream.Locking(file, Secret("passphrase"))
        for start in range(0, len(content), 1000):
            stream.write(content[start : start + 1000])
        stream.close()
    data = path.read_bytes()

    def opened(octets):
        (tmp_path / "y").write_bytes(octets)
        with (tmp_path / "y").open("rb") as file:
            return b"".join(locked_stream.unlock(file, Secret("passphrase")))

    assert opened(data) == content
    header = data.index(b"}\n") + 2
    chunk = 65536 + 16
    altered = [
        data[:-1],
        data[: header + chunk],  # the last chunk left out
        data[: header + 2 * chunk],
        data[:header] + data[header + chunk :],  # the first left out
        data[:header]
        + data[header + chunk : header + 2 * chunk]
        + data[header : header + chunk]
        + data[header + 2 * chunk :],
        data + b"\0",
        data.replace(b'"log_n": 14', b'"log_n": 15', 1),
        data.replace(b'"log_n": 14', b'"log_n": 31', 1),
        data[:header],
        b"taxferry-locked/1\n",
    ]
    for position in (20, header, header + 40, header + chunk + 5, len(data) - 1):
        flipped = bytearray(data)
        flipped[position] ^= 1
        altered.append(bytes(flipped))
    for octets in altered:
        with pytest.raises((PassphraseWrong, StationBackupInvalid)):
            opened(octets)


def test_an_empty_file_can_be_locked(tmp_path):
    path = tmp_path / "x"
    with path.open("wb") as file:
        locked_stream.Locking(file, Secret("passphrase")).close()
    locked_stream.unlock_file(path, tmp_path / "y", Secret("passphrase"))
    assert (tmp_path / "y").read_bytes() == b""


def test_a_damaged_or_foreign_backup_changes_nothing(station_desk, run, tmp_path):
    desk = station_desk
    desk.report()
    desk.once()
    good = tmp_path / "good.backup"
    run("backup", good)
    empty = tmp_path / "empty"
    assert run("restore", good)[1]["errors"][0]["code"] == "B5034", "there is a station"
    data = good.read_bytes()
    bad = tmp_path / "bad.backup"
    for octets in (b"", b"no zip", data[:-30], data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]):
        bad.write_bytes(octets)
        status, refused = run("restore", bad, home=empty)
        assert (status, refused["errors"][0]["code"]) == (50, "B5037")
        assert not (empty / "station.db").exists()
        assert not (empty / ".restoring").exists()
    assert run("restore", tmp_path / "nothing", home=empty)[1]["errors"][0]["code"] == "B5011"
    evil = tmp_path / "evil.backup"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(evil, "w") as target:
        manifest = json.loads(source.read("manifest.json"))
        for name in source.namelist():
            if name != "manifest.json":
                target.writestr(name, source.read(name))
        target.writestr("spool/../../evil", b"x")
        manifest["members"]["spool/../../evil"] = {
            "bytes": 1,
            "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        }
        target.writestr("manifest.json", json.dumps(manifest))
    assert run("restore", evil, home=empty)[1]["errors"][0]["code"] == "B5037"
    assert not list(tmp_path.rglob("evil"))
    assert run("restore", good, home=empty)[0] == 0
    assert run("list", home=empty)[1]["items"][0]["state"] == "accepted"


def test_a_backup_of_a_newer_release_is_refused(station_desk, run, tmp_path):
    run("backup", tmp_path / "x.backup")
    newer = tmp_path / "newer.backup"
    with zipfile.ZipFile(tmp_path / "x.backup") as source, zipfile.ZipFile(newer, "w") as target:
        manifest = json.loads(source.read("manifest.json"))
        source.extract("station.db", tmp_path)
        with closing(sqlite3.connect(tmp_path / "station.db")) as db:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        for name in source.namelist():
            data = (tmp_path / name).read_bytes() if name == "station.db" else source.read(name)
            if name != "manifest.json":
                manifest["members"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                target.writestr(name, data)
        target.writestr("manifest.json", json.dumps(manifest))
    status, refused = run("restore", newer, home=tmp_path / "empty")
    assert (status, refused["errors"][0]["code"]) == (50, "B5008")
    assert not (tmp_path / "empty/station.db").exists()


def test_a_backup_is_made_beside_the_service_and_a_move_is_not(station_desk, run, tmp_path):
    desk = station_desk
    with desk.station() as station:
        digest = desk.report()
        station.once(patient=False)
        assert run("backup", tmp_path / "x.backup")[0] == 0
        status, refused = run("backup", tmp_path / "y.backup", "--retire")
        assert (status, refused["errors"][0]["code"]) == (50, "B5005")
        assert not (tmp_path / "y.backup").exists()
        assert run("restore", tmp_path / "x.backup", "--replace")[1]["errors"][0]["code"] == "B5005"
    assert run("restore", tmp_path / "x.backup", home=tmp_path / "b")[0] == 0
    assert run("show", digest, home=tmp_path / "b")[1]["state"] == "accepted"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after", range(8))
def test_a_restore_that_was_killed_is_run_again(station_desk, run, tmp_path, monkeypatch, passphrase, after):
    desk = station_desk
    digest = desk.report()
    desk.once()
    run("backup", tmp_path / "x.backup", "--passphrase-file", passphrase)
    home = Home(tmp_path / "b")
    real, moves = backup_module._move, iter(range(after, -100, -1))

    def dying(source, target):
        if next(moves) == 0:
            raise Killed
        real(source, target)

    monkeypatch.setattr(backup_module, "_move", dying)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)  # nobody tidies up after a kill
    unlocked = Secret("correct horse battery")
    try:
        backup_module.restore(home, tmp_path / "x.backup", desk.clock.now(), passphrase=unlocked)
    except Killed:
        assert run("list", home=home.root)[0] == 50, "there is no station yet"
    monkeypatch.undo()
    monkeypatch.setattr(base, "CLOCK", desk.clock)
    backup_module.restore(
        home, tmp_path / "x.backup", desk.clock.now(), passphrase=unlocked, replacing=home.database.exists()
    )
    with opened(home) as store:
        assert store.find(digest).state.value == "accepted"
    with at_work(home, desk.clock, settle=0.0) as station:
        station.once(patient=False)
    assert not (home.root / ".restoring").exists()
