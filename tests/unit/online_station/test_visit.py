"""A visit to the stick: both directions, superseding, damage, and what was used."""

from __future__ import annotations

import shutil

import pytest

from online_station.shell.setup import opened, read_settings
from online_station.shell.trust import Trust
from online_station.shell.visit import synchronise
from shared.errors import MediumUnprepared
from shared.ids import Nonce
from shared.medium import Stick
from tests.support.online import make_report
from tests.support.pki import NOW

NAME = "310100000000000_0_202608010000"


@pytest.fixture
def stick(tmp_path):
    folder = tmp_path / "stick"
    folder.mkdir()
    with Stick.prepare(folder, "", station="offline-1", now=NOW):
        pass
    return folder / "TAXFERRY"


def visit(desk, marker):
    with opened(desk.home) as store:
        settings = read_settings(desk.home, store)
        trust = Trust(desk.home.trust, NOW)
        with Stick.open(marker.parent, station=settings.station_id) as stick:
            return synchronise(stick, desk.home, store, trust, settings.inbox, NOW, lambda *_: None)


def test_a_damaged_file_is_named_and_the_others_are_taken(station_desk, stick):
    whole, _ = make_report(0)
    other, _ = make_report(1)
    (stick / "to-online" / f"{NAME}.dat").write_bytes(whole[:-10])
    (stick / "to-online" / "310100000000000_1_202608010000.dat").write_bytes(other)
    (stick / "to-online" / "310100000000000_2_202608010000.dat").write_bytes(b"")
    done = visit(station_desk, stick)
    assert done.taken == ["310100000000000_1_202608010000.dat"]
    assert sorted(p.code[:3] for p in done.problems) == ["B11", "B35"]
    assert (stick / "to-online" / f"{NAME}.dat").exists(), "the stick is left as it is"


def test_what_is_known_is_not_taken_again(station_desk, stick):
    data, _ = make_report()
    (stick / "to-online" / f"{NAME}.dat").write_bytes(data)
    assert visit(station_desk, stick).taken == [f"{NAME}.dat"]
    station_desk.once()
    done = visit(station_desk, stick)
    assert (done.taken, done.known) == ([], 1)
    assert list(station_desk.inbox.iterdir()) == []


def test_a_second_copy_of_the_same_name_does_not_replace_the_first_in_the_inbox(station_desk, stick):
    first, one = make_report(0)
    second, two = make_report(0, sequence=8, nonce=Nonce("1" * 32))
    (station_desk.inbox / f"{NAME}.dat").write_bytes(first)
    (stick / "to-online" / f"{NAME}.dat").write_bytes(second)
    assert visit(station_desk, stick).taken == [f"{NAME} (1).dat"]
    assert sorted(station_desk.once().harvest.reports) == sorted([one.digest, two.digest])


def test_a_newer_result_takes_the_older_one_s_place_on_the_stick_and_nothing_else_does(station_desk, stick):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.fail(digest, "2715", "发票明细与汇总比对不符")
    desk.ask_now()
    assert visit(desk, stick).placed == [f"{NAME}.txt", "trust.txt"]
    bureau.succeed(digest)
    desk.ask_now()
    assert visit(desk, stick).placed == [f"{NAME}.txt"]
    path = stick / "to-offline" / f"{NAME}.txt"
    assert path.read_bytes() == bureau.reports[digest].answer
    path.write_text("somebody's notes")
    done = visit(desk, stick)
    assert (done.placed, len(done.problems)) == ([], 1)
    assert path.read_text() == "somebody's notes"


def test_a_failure_that_is_mended_elsewhere_is_not_carried(station_desk, stick):
    digest = station_desk.report()
    station_desk.once()
    station_desk.bureau.fail(digest, "271D")
    station_desk.ask_now()
    assert visit(station_desk, stick).placed == ["trust.txt"]


def test_a_newer_trust_file_replaces_the_older_one(station_desk, stick):
    visit(station_desk, stick)
    station_desk.bureau.trust_version = 2
    station_desk.clock.advance(days=1)
    station_desk.once()
    assert visit(station_desk, stick).placed == ["trust.txt"]
    assert (stick / "to-offline/trust.txt").read_bytes() == (station_desk.home.trust / "trust.txt").read_bytes()


def test_a_folder_without_the_marker_is_not_written_to(station_desk, stick):
    shutil.rmtree(stick)
    with pytest.raises(MediumUnprepared):
        visit(station_desk, stick)
    assert list(stick.parent.iterdir()) == []
