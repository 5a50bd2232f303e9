"""A visit to the stick: both directions, superseding, damage, and what was used."""

from __future__ import annotations

import shutil

import pytest

from online_station.core.decide import DEFAULT_POLICY
from online_station.shell.setup import opened, read_settings
from online_station.shell.store import CAME, LEFT
from online_station.shell.trust import Trust
from online_station.shell.visit import outgoing_mark, sticks_of, synchronise
from shared.errors import MediumReadOnly, MediumUnprepared, NameTaken, StationBusy
from shared.ids import Nonce
from shared.medium import Direction, LocalFiles, Stick
from tests.support.online import make_ack, make_report
from tests.support.pki import NOW
from tests.support.sticks import container_of

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
        return synchronise(
            marker.parent,
            station=settings.station_id,
            home=desk.home,
            store=store,
            trust=Trust(desk.home.trust, NOW),
            inbox=settings.inbox,
            now=desk.clock.now(),
        )


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
    digest = station_desk.report()
    station_desk.once()
    station_desk.bureau.succeed(digest)
    station_desk.ask_now()
    done = visit(station_desk, stick)
    assert isinstance(done.failure, MediumUnprepared), "the result would have to go out"
    assert done.unplaced == [f"{NAME}.txt"]
    assert list(stick.parent.iterdir()) == []


def used_up(desk, machines):
    """Have reports of several machines succeed and be used; return their digests."""
    digests = [desk.report(machine) for machine in machines]
    desk.once()
    for digest in digests:
        desk.bureau.succeed(digest)
    desk.ask_now()
    return digests


def test_results_of_many_go_as_one_container_that_goes_when_all_of_it_was_used(station_desk, stick):
    """STICK-10, STICK-14."""
    desk = station_desk
    digests = used_up(desk, range(6))
    done = visit(desk, stick)
    names = [f"310100000000000_{machine}_202608010000.txt" for machine in range(6)]
    assert sorted(done.placed) == sorted([*names, "trust.txt"])
    lying = sorted(path.name for path in (stick / "to-offline").iterdir())
    assert lying == [done.container, "trust.txt"], "one is never done with the trust file: it goes by itself"
    again = visit(desk, stick)
    assert (again.placed, sorted(again.already), again.removed) == ([], sorted([*names, "trust.txt"]), [])
    for digest in digests[:5]:
        desk.ack(digest)
    desk.once()
    desk.clock.advance(days=8)
    assert visit(desk, stick).removed == [], "one of them was not used yet"
    desk.ack(digests[5])
    desk.once()
    desk.clock.advance(days=6, hours=23)
    assert visit(desk, stick).removed == [], "not before seven days after that"
    desk.clock.advance(hours=1)
    assert sorted(visit(desk, stick).removed) == sorted(names)
    assert [path.name for path in (stick / "to-offline").iterdir()] == ["trust.txt"]


def test_a_container_that_is_damaged_is_not_removed_and_its_files_are_put_there_again(station_desk, stick):
    desk = station_desk
    used_up(desk, range(6))
    box = stick / "to-offline" / visit(desk, stick).container
    box.write_bytes(box.read_bytes()[:-600])
    done = visit(desk, stick)
    assert len(done.placed) == 6
    assert (done.removed, done.failure, done.problems) == ([], None, [])
    assert len(box.read_bytes()) % 512 == 0


def test_what_was_used_has_to_have_the_very_bytes_to_be_removed(station_desk, stick):
    """STICK-10."""
    desk = station_desk
    (digest,) = used_up(desk, [0])
    visit(desk, stick)
    desk.ack(digest)
    desk.once()
    desk.clock.advance(days=8)
    path = stick / "to-offline" / f"{NAME}.txt"
    path.write_bytes(path.read_bytes() + b"x")
    done = visit(desk, stick)
    assert (done.removed, done.problems) == ([], []), "it is for the invoicing PC to judge"
    assert path.exists()


def test_where_a_report_came_from_and_its_result_went_is_remembered(station_desk, stick):
    desk = station_desk
    data, made = make_report()
    (stick / "to-online" / f"{NAME}.dat").write_bytes(data)
    came = visit(desk, stick)
    desk.once()
    desk.bureau.succeed(made.digest)
    desk.ask_now()
    assert desk.row(NAME).left is None
    desk.clock.advance(hours=1)
    visit(desk, stick)
    visit(desk, stick)
    with opened(desk.home, DEFAULT_POLICY) as store:
        legs = store.legs(made.digest)
    assert {(leg.leg, leg.stick_id, leg.label) for leg in legs} == {
        (CAME, came.stick_id, came.label),
        (LEFT, came.stick_id, came.label),
    }
    left = desk.row(NAME).left
    assert left is not None
    assert (left.label, left.at) == (came.label, desk.clock.now())


def test_a_clear_receipt_that_comes_with_the_stick_stops_its_result(station_desk, stick):
    desk = station_desk
    (digest,) = used_up(desk, [0])
    (stick / "to-online" / f"{NAME}.ack").write_bytes(make_ack(desk.bureau, digest)[0])
    done = visit(desk, stick)
    assert (done.taken, done.placed) == ([f"{NAME}.ack"], ["trust.txt"])
    assert visit(desk, stick).taken == [f"{NAME}.ack"], "it lies in the inbox and was not looked at"
    assert [path.name for path in desk.inbox.iterdir()] == [f"{NAME}.ack"]
    desk.once()
    assert (visit(desk, stick).taken, visit(desk, stick).known) == ([], 1)


def test_only_one_process_visits_at_a_time(station_desk, stick):
    with station_desk.home.visiting(), pytest.raises(StationBusy):
        visit(station_desk, stick)
    (left := station_desk.home.spool / ".visit.killed.taxferry-tmp").mkdir()
    assert visit(station_desk, stick).failure is None
    assert not left.exists(), "what a killed visit left is swept"


def test_what_waits_differs_when_something_new_does(station_desk, stick):
    desk = station_desk

    def mark():
        with opened(desk.home) as store:
            return outgoing_mark(store), sticks_of(store, "s").to_place()

    (none, empty) = mark()
    (digest,) = used_up(desk, [0])
    (one, waits) = mark()
    visit(desk, stick)
    assert mark() == (one, False), "lying on a stick is no reason to visit it again"
    desk.ack(digest)
    desk.once()
    assert mark() == (none, False)
    assert (empty, waits) == (False, True)
    assert none != one


def test_from_a_medium_that_cannot_be_written_files_are_taken_and_that_is_said(station_desk, stick, monkeypatch):
    """STICK-13."""
    desk = station_desk
    used_up(desk, [1])
    monkeypatch.setattr(LocalFiles, "read_only", lambda _files, _folder: True)
    (stick / "to-online" / f"{NAME}.dat").write_bytes(make_report()[0])
    done = visit(desk, stick)
    assert (done.taken, done.failure) == ([f"{NAME}.dat"], None)
    assert done.unplaced == ["310100000000000_1_202608010000.txt"]
    desk.once()
    again = visit(desk, stick)
    assert isinstance(again.failure, MediumReadOnly), "it brought nothing, and could take nothing"
    assert list((stick / "to-offline").iterdir()) == []


def test_another_file_of_a_results_name_is_told_and_left(station_desk, stick):
    desk = station_desk
    used_up(desk, [0])
    there = stick / "to-offline" / f"{NAME}.txt"
    there.write_bytes(b"somebody's")
    done = visit(desk, stick)
    assert [type(problem) for problem in done.problems] == [NameTaken]
    assert (there.read_bytes(), done.placed, done.failure) == (b"somebody's", ["trust.txt"], None)


def test_what_one_machine_packed_for_several_is_removed_once_every_report_of_it_is_closed(station_desk, stick):
    """STICK-10: the station that packed it learns of no clear receipt but its own; this one has them all."""
    desk = station_desk
    reports = [make_report(machine) for machine in range(2)]
    members = {}
    for data, made in reports:
        members[made.header.name.file_name(".dat")] = data
    name, box = container_of(members, Direction.TO_ONLINE)
    (stick / "to-online" / name).write_bytes(box)
    assert len(visit(desk, stick).taken) == 2
    desk.once()
    digests = [made.digest for _, made in reports]
    for digest in digests:
        desk.bureau.succeed(digest)
    desk.ask_now()
    desk.ack(digests[0])
    desk.once()
    desk.clock.advance(days=8)
    assert visit(desk, stick).removed == [], "one of the two is still open"
    desk.ack(digests[1])
    desk.once()
    assert visit(desk, stick).removed == [], "closed only now"
    desk.clock.advance(days=8)
    assert sorted(visit(desk, stick).removed) == sorted([*members, "310100000000000_1_202608010000.txt"])
    assert not (stick / "to-online" / name).exists()
