"""A station of the first release is upgraded while reports are under way: each goes on from where it was."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3

import pytest

from online_station import cli
from online_station.cli import base
from online_station.core.decide import DEFAULT_POLICY
from online_station.shell.schema import SCHEMA_VERSION
from online_station.shell.setup import opened
from online_station.shell.store import Store
from shared.errors import StoreDamaged
from shared.states import OnlineState
from tests.support.first_release import ACKS, REPORTS, leave


def states(desk, left):
    with opened(desk.home) as store:
        return {name: store.find(digest).state.value for name, digest in left.digests.items()}


def receipts(desk, left):
    with opened(desk.home) as store:
        by_sha256 = {ack.sha256: ack.state for ack in store.acks()}
    return {name: by_sha256[sha256] for name, sha256 in left.acks.items()}


def test_the_fixture_has_every_state_in_which_a_report_or_a_receipt_is_kept(station_desk):
    left = leave(station_desk)
    never_kept = {OnlineState.FOUND, OnlineState.QUARANTINED}
    assert {values["state"] for values in REPORTS.values()} == {s.value for s in set(OnlineState) - never_kept}
    assert {values["state"] for values in ACKS.values()} == {"waiting", "sending", "unknown", "delivered", "refused"}
    with contextlib.closing(sqlite3.connect(station_desk.home.database)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM report").fetchone() == (len(left.digests),)
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"setting", "report", "event", "result", "ack", "quarantined", "standing"}


def test_opening_it_changes_nothing_but_the_schema(station_desk):
    left = leave(station_desk)
    assert states(station_desk, left) == {name: values["state"] for name, values in REPORTS.items()}
    assert receipts(station_desk, left) == {name: values["state"] for name, values in ACKS.items()}
    with contextlib.closing(sqlite3.connect(station_desk.home.database)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_the_service_goes_on_with_each(station_desk):
    desk = station_desk
    left = leave(desk)
    desk.once()
    assert states(desk, left) == {
        "proven": "accepted",
        "held": "held",  # asked again when it is due
        "held by hand": "held",
        "released": "accepted",
        "sending, arrived": "accepted",
        "sending, lost": "accepted",
        "unknown, arrived": "accepted",
        "unknown, lost": "accepted",
        "accepted": "accepted",
        "processing": "processing",
        "waiting": "waiting",
        "failed": "failed",
        "failed for good": "failed",
        "refused": "failed",
        "answered": "staged",
        "staged": "staged",
        "staged, receipt waiting": "acknowledged",
        "staged, receipt sending": "acknowledged",
        "staged, receipt unknown": "acknowledged",
        "staged, receipt refused": "staged",
        "acknowledged": "acknowledged",
        "cancelled": "cancelled",
    }
    assert set(receipts(desk, left).values()) == {"delivered", "refused"}
    sent = {name for name, digest in left.digests.items() if desk.bureau.puts[digest]}
    assert sent == {"proven", "released", "sending, lost", "unknown, lost"}
    for name in ("sending, lost", "unknown, lost"):
        calls = [method for method, path, _ in desk.bureau.log if path.endswith(f"/reports/{left.digests[name]}")]
        assert calls[0] == "GET", "asked before it is sent again"
    for name in ("accepted", "processing", "waiting", "failed", "sending, arrived"):
        desk.bureau.succeed(left.digests[name])
    desk.clock.advance(hours=1)
    desk.ask_now()
    after = states(desk, left)
    assert after["held"] == "accepted"
    for name in ("accepted", "processing", "waiting", "failed", "sending, arrived"):
        assert after[name] == "staged", name
    assert after["held by hand"] == "held"
    assert all(count <= 1 for count in desk.bureau.puts.values())


def test_the_verbs_work_on_what_was_upgraded(station_desk, capsys, monkeypatch):
    desk = station_desk
    left = leave(desk)
    monkeypatch.setattr(base, "CLOCK", desk.clock)

    def run(*words):
        status = cli.program.run(["--home", str(desk.home.root), *words, "--json"])
        return status, json.loads(capsys.readouterr().out)["data"]

    assert len(run("list")[1]["items"]) == len(left.digests) + 1
    assert run("board")[0] == 0
    assert run("release", left.digests["held by hand"])[1]["state"] == "proven"
    assert run("retry", left.digests["cancelled"])[1]["state"] == "proven"
    assert run("retry", left.digests["refused"])[1]["state"] == "proven"
    run("once")
    after = states(desk, left)
    assert [after[name] for name in ("held by hand", "cancelled", "refused")] == ["accepted"] * 3
    desk.clock.advance(days=200)
    assert run("archive", "run")[1]["reports"] == 4
    assert run("show", left.digests["acknowledged"])[1]["archive"].endswith(".zip")


def test_a_database_of_a_newer_release_is_refused_untouched(station_desk, tmp_path):
    database = station_desk.home.database
    with contextlib.closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = shutil.copy(database, tmp_path / "before.db")
    with pytest.raises(StoreDamaged), contextlib.closing(Store(database, DEFAULT_POLICY)):
        pytest.fail("it was opened")
    assert database.read_bytes() == copy.read_bytes()
