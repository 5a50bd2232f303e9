"""Visits to the stick, both ways (a plain folder stands for it)."""

from __future__ import annotations

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
from shared.errors import MediumAbsent, MediumUnprepared, SignatureRefused, StillProcessing
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


def out(stick: Path) -> list[str]:
    return sorted(path.name for path in (stick / "TAXFERRY" / "to-online").iterdir())


def put(stick: Path, name: str, data: bytes) -> Path:
    path = stick / "TAXFERRY" / "to-offline" / name
    path.write_bytes(data)
    return path


def test_the_report_goes_onto_the_stick_and_its_life_says_so(station: Station, stick: Path) -> None:
    made = reported(station)
    done = visit.sync(station, None)
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
    visit.sync(station, None)
    before = {path: path.stat().st_mtime_ns for path in (stick / "TAXFERRY" / "to-online").iterdir()}
    again = visit.sync(station, stick)
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
        visit.sync(station, None)


def test_a_superseding_copy_takes_the_place_of_the_old_file(station: Station, stick: Path) -> None:
    old = reported(station)
    visit.sync(station, None)
    station.copy(kind="period", again=True)
    station.clock.advance(minutes=1)  # type: ignore[attr-defined]
    new = station.report().copy
    visit.sync(station, None)
    assert out(stick) == [new.name.file_name(".dat")]
    with (stick / "TAXFERRY" / "to-online" / out(stick)[0]).open("rb") as file:
        digest = prove_report(file, pki().trust, at=NOW).digest
    assert digest == new.report_digest != old.report_digest


def test_a_resealed_report_takes_the_place_of_the_old_file(station: Station, stick: Path) -> None:
    reported(station)
    visit.sync(station, None)
    station.clock.advance(minutes=1)  # type: ignore[attr-defined]
    new = station.report(reseal=True).copy
    done = visit.sync(station, None)
    assert done.problem is None
    with (stick / "TAXFERRY" / "to-online" / out(stick)[0]).open("rb") as file:
        assert prove_report(file, pki().trust, at=NOW).digest == new.report_digest


def test_the_name_taken_by_somebody_else_is_told_and_left(station: Station, stick: Path) -> None:
    made = reported(station)
    there = stick / "TAXFERRY" / "to-online" / made.name.file_name(".dat")
    there.write_bytes(b"something else")
    done = visit.sync(station, None)
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
    done = visit.sync(station, None)
    assert done.taken == [mine.name]
    assert done.refused == []
    assert mine.exists(), "until the card is cleared"
    assert theirs.exists()
    assert [path.name for path in station.inbox.iterdir()] == [mine.name]
    assert station.result().verdict is not None
    assert visit.sync(station, None).taken == [], "what the card has seen does not travel again"


def test_a_report_whose_result_came_with_the_stick_does_not_go_out_again(station: Station, stick: Path) -> None:
    made = reported(station)
    visit.sync(station, None)
    name = made.name.file_name(".dat")
    (stick / "TAXFERRY" / "to-online" / name).unlink()  # the Internet PC took it
    put(stick, made.name.file_name(".txt"), answer(made, code="2715"))
    assert visit.sync(station, None).placed == []
    assert out(stick) == []


def test_a_result_in_the_root_of_the_stick_is_found_too(station: Station, stick: Path) -> None:
    made = reported(station)
    (stick / f"{made.name.stem} (1).txt").write_bytes(answer(made))
    assert visit.sync(station, None).taken == [made.name.file_name(".txt")]


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
    done = visit.sync(station, None)
    assert done.taken == []
    assert len(done.refused) == 4
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
    done = visit.sync(station, None)
    assert [refusal.error.code for refusal in done.refused] == ["B2302"]
    assert (station.inbox / name).read_bytes() == newer
    put(stick, name, answer(made, 7))
    assert visit.sync(station, None).taken == [name]


def test_the_trust_file_comes_off_it(station: Station, stick: Path) -> None:
    put(stick, "trust.txt", trust_text(version=5))
    assert visit.sync(station, None).trust_version == 5
    assert visit.sync(station, None).trust_version == 0
    put(stick, "trust.txt", trust_text(version=4))
    assert visit.sync(station, None).refused == [], "older: it is simply not news"
    put(stick, "trust.txt", trust_text(foreign_pki(), version=9))
    assert len(visit.sync(station, None).refused) == 1
    assert station.read().trust_version == 5


def test_the_clear_receipt_goes_out_and_what_is_done_with_is_removed(station: Station, stick: Path) -> None:
    """STICK-10: a report after its success was applied, a result after it cleared the card."""
    made = reported(station)
    visit.sync(station, None)
    result = put(stick, made.name.file_name(".txt"), answer(made))
    visit.sync(station, None)
    station.result()
    station.clear()
    done = visit.sync(station, None)
    assert done.placed == [made.name.file_name(".ack")]
    assert sorted(done.removed) == sorted([made.name.file_name(".dat"), result.name])
    assert out(stick) == [made.name.file_name(".ack")]
    again = visit.sync(station, None)
    assert again.removed == []
    life = station.store.report(made.nonce)
    assert life is not None
    assert life.ack_stick == "财务"


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
    assert visit.sync(station, None).placed == []


def test_a_medium_without_marker_is_read_and_never_written(station: Station, tmp_path: Path) -> None:
    """STICK-1."""
    made = reported(station)
    disc = tmp_path / "光盘"
    disc.mkdir()
    (disc / made.name.file_name(".txt")).write_bytes(answer(made, code="271D"))
    before = sorted(path.name for path in disc.iterdir())
    done = visit.sync(station, disc)
    assert done.taken == [made.name.file_name(".txt")]
    assert sorted(path.name for path in disc.iterdir()) == before
    (station.inbox / made.name.file_name(".txt")).unlink()
    (disc / made.name.file_name(".txt")).unlink()
    assert isinstance(visit.sync(station, disc).problem, MediumUnprepared), "the report would have to go out"
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
        done = visit.sync(station, None)
        assert done.taken == [made.name.file_name(".txt")]
        assert done.problem is not None
    finally:
        for path in folders:
            path.chmod(0o755)


def test_listing_and_ejecting(station: Station, stick: Path) -> None:
    reported(station)
    visit.sync(station, None)
    path, identity, found = visit.listing(station, None)
    assert path == stick
    assert identity is not None
    assert [entry.suffix for entry in found.files] == [".dat"]
    ejected = visit.eject(station, None)
    assert ejected is not None
    assert ejected.label == "财务"


def test_two_machines_share_one_stick(station: Station, stick: Path, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    home = new_station(tmp_path / "two", FixedClock(NOW), taxcard(1))
    first = reported(station)
    visit.sync(station, None)
    with Station.open(home, FixedClock(NOW)) as other:
        second = reported(other)
        visit.sync(other, stick)
    assert out(stick) == sorted([first.name.file_name(".dat"), second.name.file_name(".dat")])
