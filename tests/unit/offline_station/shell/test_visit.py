"""Visits to the stick, both ways (a plain folder stands for it)."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from offline_station.core.card_rules import CopyRecord
from offline_station.shell import visit
from offline_station.shell.home import Home
from offline_station.shell.station import Station
from shared.clock import CHINA, FixedClock
from shared.envelope.opening import prove_report
from shared.errors import (
    MediumAbsent,
    MediumAmbiguous,
    MediumUnprepared,
    NameTaken,
    SignatureRefused,
    StillProcessing,
)
from shared.medium import Direction, Outgoing, Stick
from shared.medium.find import survey
from shared.medium.volumes import Volume
from shared.quarantine import WHY
from shared.states import CardState, OfflineState
from tests.support.offline import NOW, answer, new_station, taxcard, trust_text
from tests.support.pki import foreign_pki, pki


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW)).root


@pytest.fixture
def station(tmp_path: Path, template: Path) -> Iterator[Station]:
    home = Home(Path(shutil.copytree(template, tmp_path / "home")))
    with Station.open(home, FixedClock(NOW)) as found:
        yield found


@pytest.fixture
def stick(tmp_path: Path, station: Station) -> Path:
    folder = tmp_path / "U 盘"
    folder.mkdir()
    visit.prepare(station, folder, "财务")
    return folder


def reported(station: Station) -> CopyRecord:
    station.copy(kind="period")
    return station.report().copy


def sync(station: Station, wanted: Path | None = None) -> visit.Visit:
    """Visit the stick that is meant, as `stick sync` does."""
    return visit.sync(station, visit.sticks_of(station).find(wanted))


def out(stick: Path) -> list[str]:
    return sorted(path.name for path in (stick / "TAXFERRY" / "to-online").iterdir())


def forward(station: Station, **by: int) -> None:
    station.clock.advance(**by)  # type: ignore[attr-defined]


def put(stick: Path, name: str, data: bytes) -> Path:
    path = stick / "TAXFERRY" / "to-offline" / name
    path.write_bytes(data)
    return path


def test_the_report_goes_onto_the_stick_and_its_life_says_so(station: Station, stick: Path) -> None:
    made = reported(station)
    done = sync(station)
    name = made.name.file_name(".dat")
    assert done.placed == [name]
    assert done.problem is None
    assert out(stick) == [name]
    assert (stick / "TAXFERRY" / "to-online" / name).read_bytes() == (station.outbox / name).read_bytes()
    life = station.store.report(made.nonce)
    assert life is not None
    assert (life.state, life.stick) == (OfflineState.CARRIED, "财务")
    assert "transfer-log.csv" in {path.name for path in (stick / "TAXFERRY").iterdir()}


def test_sync_again_changes_nothing(station: Station, stick: Path) -> None:
    reported(station)
    sync(station)
    before = {path: path.stat().st_mtime_ns for path in (stick / "TAXFERRY" / "to-online").iterdir()}
    again = sync(station, stick)
    assert (again.placed, again.already) == ([], out(stick)), "what lies there is named, not called nothing"
    assert {path: path.stat().st_mtime_ns for path in (stick / "TAXFERRY" / "to-online").iterdir()} == before
    assert [event.event for event in station.store.events(reported_nonce(station))] == ["copied", "sealed", "carried"]


def reported_nonce(station: Station) -> str:
    found = station.card.open_copy()
    assert found is not None
    return found.nonce


def test_report_itself_puts_it_on_the_known_stick(station: Station, stick: Path) -> None:
    made = reported(station)
    assert visit.put_report_on_stick(station) == "财务"
    assert out(stick) == [made.name.file_name(".dat")]


def test_a_stick_that_is_not_in_is_no_failure_of_report(station: Station, stick: Path) -> None:
    shutil.rmtree(stick)
    reported(station)
    assert visit.put_report_on_stick(station) is None
    with pytest.raises(MediumAbsent):
        sync(station)
    with pytest.raises(MediumAbsent):
        visit.put_report(station, None)


def test_sticks_among_which_a_person_has_to_choose_are_no_failure_of_report(
    station: Station, stick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STICK-21: the report is sealed and kept; only putting it on a stick asks which."""
    other = tmp_path / "另一个"
    other.mkdir()
    Stick.prepare(other, "另一个", station="b", now=NOW).close()
    both = tuple(Volume(path, f"/dev/{path.name}", "vfat", serial=path.name, removable=True) for path in (stick, other))
    monkeypatch.setattr("shared.medium.sticks.survey", functools.partial(survey, volumes=lambda: both))
    reported(station)
    assert visit.put_report_on_stick(station) is None
    assert (out(stick), out(other)) == ([], [])
    with pytest.raises(MediumAmbiguous):
        visit.put_report(station, None)
    assert visit.put_report(station, Path("另一个")).placed == out(other) != []


def test_a_report_goes_onto_another_stick_when_the_first_is_lost(station: Station, stick: Path, tmp_path: Path) -> None:
    made = reported(station)
    sync(station)
    other = tmp_path / "第二个"
    other.mkdir()
    visit.prepare(station, other, "第二个")
    done = visit.put_report(station, other)
    assert (done.label, done.placed) == ("第二个", out(stick))
    assert (other / "TAXFERRY/to-online" / out(other)[0]).read_bytes() == (
        stick / "TAXFERRY/to-online" / out(stick)[0]
    ).read_bytes(), "the same bytes: nothing is filed twice"
    again = visit.put_report(station, other)
    assert (again.placed, again.already) == ([], out(other))
    life = station.store.report(made.nonce)
    assert life is not None
    assert life.stick == "第二个"


def test_a_report_that_cannot_be_put_there_says_why(station: Station, stick: Path) -> None:
    made = reported(station)
    there = stick / "TAXFERRY" / "to-online" / made.name.file_name(".dat")
    there.write_bytes(b"something else")
    with pytest.raises(NameTaken):
        visit.put_report(station, stick)
    assert there.read_bytes() == b"something else"


def test_a_superseding_copy_takes_the_place_of_the_old_file(station: Station, stick: Path) -> None:
    old = reported(station)
    sync(station)
    station.copy(kind="period", again=True)
    station.clock.advance(minutes=1)  # type: ignore[attr-defined]
    new = station.report().copy
    sync(station)
    assert out(stick) == [new.name.file_name(".dat")]
    with (stick / "TAXFERRY" / "to-online" / out(stick)[0]).open("rb") as file:
        digest = prove_report(file, pki().trust, at=NOW).digest
    assert digest == new.report_digest != old.report_digest


def test_a_resealed_report_takes_the_place_of_the_old_file(station: Station, stick: Path) -> None:
    reported(station)
    sync(station)
    station.clock.advance(minutes=1)  # type: ignore[attr-defined]
    new = station.report(reseal=True).copy
    done = sync(station)
    assert done.problem is None
    with (stick / "TAXFERRY" / "to-online" / out(stick)[0]).open("rb") as file:
        assert prove_report(file, pki().trust, at=NOW).digest == new.report_digest


def test_the_name_taken_by_somebody_else_is_told_and_left(station: Station, stick: Path) -> None:
    made = reported(station)
    there = stick / "TAXFERRY" / "to-online" / made.name.file_name(".dat")
    there.write_bytes(b"something else")
    done = sync(station)
    assert done.problem is not None
    assert there.read_bytes() == b"something else"
    life = station.store.report(made.nonce)
    assert life is not None
    assert life.state is OfflineState.SEALED


def test_results_for_this_machine_come_off_it(station: Station, stick: Path) -> None:
    made = reported(station)
    mine = put(stick, made.name.file_name(".txt"), answer(made))
    other = made.name.__class__(made.name.taxpayer_id, 1, made.name.stamp)  # type: ignore[arg-type]
    theirs = put(stick, other.file_name(".txt"), answer(made, name=other))
    done = sync(station)
    assert done.taken == [mine.name]
    assert done.refused == []
    assert mine.exists(), "until the card is cleared"
    assert theirs.exists()
    assert [path.name for path in station.inbox.iterdir()] == [mine.name]
    assert station.result().verdict is not None
    assert sync(station).taken == [], "what the card has seen does not travel again"


def test_a_report_whose_result_came_with_the_stick_does_not_go_out_again(station: Station, stick: Path) -> None:
    made = reported(station)
    sync(station)
    name = made.name.file_name(".dat")
    (stick / "TAXFERRY" / "to-online" / name).unlink()  # the Internet PC took it
    put(stick, made.name.file_name(".txt"), answer(made, code="2715"))
    assert sync(station).placed == []
    assert out(stick) == []


def test_a_result_in_the_root_of_the_stick_is_found_too(station: Station, stick: Path) -> None:
    made = reported(station)
    (stick / f"{made.name.stem} (1).txt").write_bytes(answer(made))
    assert sync(station).taken == [made.name.file_name(".txt")]


def test_result_looks_at_the_stick_by_itself(station: Station, stick: Path) -> None:
    made = reported(station)
    put(stick, made.name.file_name(".txt"), answer(made))
    assert station.result(more=visit.results_on_stick(station)).verdict is not None
    assert station.read().state is CardState.TO_CLEAR


def test_bad_files_on_the_stick_are_explained_and_left(station: Station, stick: Path) -> None:
    made = reported(station)
    stem = made.name.stem
    good = answer(made)
    bad = [
        put(stick, f"{stem}.txt", b""),
        put(stick, f"{stem} (1).txt", b"Y"),
        put(stick, f"{stem} (2).txt", good.replace(b"2026-09-15", b"2027-09-15", 1)),
        put(stick, f"{stem} (3).txt", answer(made, signer=foreign_pki().bureau_result)),
    ]
    done = sync(station)
    assert done.taken == []
    assert len(done.refused) == 4
    kept = {path.name[9:] for path in station.home.quarantine.iterdir()}
    assert kept == {f"{stem} (2).txt", f"{stem} (3).txt", *(f"{stem} ({n}).txt{WHY}" for n in (2, 3))}
    assert {r.moved_to for r in done.refused if r.moved_to} == {
        path for path in station.home.quarantine.iterdir() if not path.name.endswith(WHY)
    }
    sync(station)
    assert len(list(station.home.quarantine.iterdir())) == 4, "once for each content"
    assert {type(r.error) for r in done.refused} >= {StillProcessing, SignatureRefused}
    assert all(path.exists() for path in bad)
    assert list(station.inbox.iterdir()) == []
    assert station.read().facts.last_result_no == 0


def test_an_older_result_does_not_replace_a_newer_one_in_the_inbox(station: Station, stick: Path) -> None:
    made = reported(station)
    name = made.name.file_name(".txt")
    newer = answer(made, 6)
    (station.inbox / name).write_bytes(newer)
    put(stick, name, answer(made, 5, code="271D"))
    done = sync(station)
    assert [refusal.error.code for refusal in done.refused] == ["B2302"]
    assert (station.inbox / name).read_bytes() == newer
    put(stick, name, answer(made, 7))
    assert sync(station).taken == [name]


def test_the_trust_file_comes_off_it(station: Station, stick: Path) -> None:
    put(stick, "trust.txt", trust_text(version=5))
    assert sync(station).trust_version == 5
    assert sync(station).trust_version == 0
    put(stick, "trust.txt", trust_text(version=4))
    assert sync(station).refused == [], "older: it is simply not news"
    put(stick, "trust.txt", trust_text(foreign_pki(), version=9))
    assert len(sync(station).refused) == 1
    assert station.read().trust_version == 5


def test_the_clear_receipt_goes_out_and_what_is_done_with_is_removed(station: Station, stick: Path) -> None:
    """STICK-10: a report after its success was applied, a result after it cleared the card, both after seven days."""
    made = reported(station)
    sync(station)
    report, ack = made.name.file_name(".dat"), made.name.file_name(".ack")
    result = put(stick, made.name.file_name(".txt"), answer(made, bureau_time=NOW))
    sync(station)
    station.result()
    station.clear()
    done = sync(station)
    assert done.placed == [ack]
    assert done.removed == []
    assert (out(stick), result.exists()) == (sorted([ack, report]), True)
    forward(station, days=6, hours=23)
    assert sync(station).removed == [], "until then it can be looked at there"
    assert (out(stick), result.exists()) == (sorted([ack, report]), True)
    forward(station, hours=1)
    done = sync(station)
    assert sorted(done.removed) == sorted([report, result.name])
    assert (out(stick), result.exists()) == ([ack], False)
    again = sync(station)
    assert again.removed == []
    life = station.store.report(made.nonce)
    assert life is not None
    assert life.ack_stick == "财务"


def test_what_has_other_bytes_than_were_proven_stays(station: Station, stick: Path) -> None:
    """STICK-10."""
    made = reported(station)
    sync(station)
    result = put(stick, made.name.file_name(".txt"), answer(made))
    station.result(result)
    station.clear()
    forward(station, days=30)
    report = stick / "TAXFERRY/to-online" / made.name.file_name(".dat")
    report.write_bytes(report.read_bytes() + b"x")
    result.write_bytes(answer(made, signer=foreign_pki().bureau_result))
    done = sync(station)
    assert done.removed == []
    assert (report.exists(), result.exists()) == (True, True)


def test_a_report_that_still_waits_stays_however_old_it_is(station: Station, stick: Path) -> None:
    """STICK-10."""
    reported(station)
    sync(station)
    forward(station, days=11)
    assert sync(station).removed == []
    assert len(out(stick)) == 1


def test_the_receipt_leaves_the_stick_seven_days_after_a_result_confirmed_it(
    station: Station, stick: Path, tmp_path: Path
) -> None:
    """STICK-10."""
    made = reported(station)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    station.clear()
    ack = made.name.file_name(".ack")
    assert sync(station).placed == [ack]
    station.clock.moment = datetime(2026, 9, 2, 8, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    assert sync(station).removed == [], "nothing says that it arrived"
    station.copy(kind="period")
    second = station.report().copy
    path.write_bytes(
        answer(second, 2, last_acknowledged=1, lock_date=date(2026, 10, 26), bureau_time=station.clock.now())
    )
    station.result(path)
    assert ack not in sync(station).removed
    forward(station, days=6, hours=23)
    assert ack not in sync(station).removed
    assert ack in out(stick)
    forward(station, hours=1)
    assert sync(station).removed == [ack]
    assert ack not in out(stick)


def test_a_container_of_several_machines_stays_when_only_ones_own_part_is_done_with(
    station: Station, stick: Path, tmp_path: Path
) -> None:
    """STICK-10: a container only if it holds for each of its members; those of others are not even opened."""
    made = reported(station)
    mine = answer(made)
    other = made.name.__class__(made.name.taxpayer_id, 1, made.name.stamp)  # type: ignore[arg-type]
    items = []
    for name, data in ((made.name, mine), (other, answer(made, name=other))):
        path = tmp_path / f"{name.stem}.kept"
        path.write_bytes(data)
        items.append(Outgoing.of(path, name.file_name(".txt")))
    with Stick.open(stick, station="online") as opened:
        (box,) = opened.place_batch(items, Direction.TO_OFFLINE, now=NOW)
    assert sync(station).taken == [made.name.file_name(".txt")]
    station.result()
    station.clear()
    forward(station, days=8)
    assert sync(station).removed == []
    assert sorted(path.name for path in (stick / "TAXFERRY/to-offline").iterdir()) == [box.name, "trust.txt"]


def test_the_receipt_stops_travelling_once_the_bureau_has_it(station: Station, stick: Path, tmp_path: Path) -> None:
    made = reported(station)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    station.clear()
    station.clock.moment = datetime(2026, 9, 2, 8, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    station.copy(kind="period")
    second = station.report().copy
    path.write_bytes(
        answer(second, 2, last_acknowledged=1, lock_date=date(2026, 10, 26), bureau_time=station.clock.now())
    )
    station.result(path)
    assert sync(station).placed == []


def test_a_medium_without_marker_is_read_and_never_written(station: Station, tmp_path: Path) -> None:
    """STICK-1."""
    made = reported(station)
    disc = tmp_path / "光盘"
    disc.mkdir()
    (disc / made.name.file_name(".txt")).write_bytes(answer(made, code="271D"))
    before = sorted(path.name for path in disc.iterdir())
    done = sync(station, disc)
    assert done.taken == [made.name.file_name(".txt")]
    assert sorted(path.name for path in disc.iterdir()) == before
    (station.inbox / made.name.file_name(".txt")).unlink()
    (disc / made.name.file_name(".txt")).unlink()
    assert isinstance(sync(station, disc).problem, MediumUnprepared), "the report would have to go out"
    assert list(disc.iterdir()) == []


def test_a_write_protected_stick_is_still_read(station: Station, stick: Path) -> None:
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("platform: root ignores permission bits")
    made = reported(station)
    put(stick, made.name.file_name(".txt"), answer(made))
    folders = [stick, stick / "TAXFERRY", *(stick / "TAXFERRY").iterdir()]
    for path in folders:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = sync(station)
        assert done.taken == [made.name.file_name(".txt")]
        assert done.problem is not None
    finally:
        for path in folders:
            path.chmod(0o755)


def test_listing_and_settling(station: Station, stick: Path) -> None:
    reported(station)
    sync(station)
    sticks = visit.sticks_of(station)
    path = sticks.find(None)
    identity, found = sticks.listing(path)
    assert path == stick
    assert identity is not None
    assert [entry.suffix for entry in found.files] == [".dat", "trust.txt"]
    settled = sticks.settle(path)
    assert settled is not None
    assert settled.label == "财务"


def test_what_waits_differs_when_something_new_does(station: Station, stick: Path) -> None:
    marks = [visit.outgoing_mark(station, everyone=False)]
    made = reported(station)
    marks.append(visit.outgoing_mark(station, everyone=False))
    sync(station)
    assert visit.outgoing_mark(station, everyone=False) == marks[1], "lying on a stick is no reason to visit it again"
    put(stick, made.name.file_name(".txt"), answer(made))
    sync(station)
    station.result()
    marks.append(visit.outgoing_mark(station, everyone=False))
    station.clear()
    marks.append(visit.outgoing_mark(station, everyone=False))
    assert len(set(marks)) == 3, "nothing, a report, nothing, a receipt"
    assert marks[0] == marks[2]


def test_two_machines_share_one_stick(station: Station, stick: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    home = new_station(tmp_path / "two", FixedClock(NOW), taxcard(1))
    first = reported(station)
    sync(station)
    with Station.open(home, FixedClock(NOW)) as other:
        second = reported(other)
        sync(other, stick)
    assert out(stick) == sorted([first.name.file_name(".dat"), second.name.file_name(".dat")])
