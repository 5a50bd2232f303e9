"""The invoicing PC at work: every verb as a method, on real folders."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from offline_station.core.card_rules import CopyRecord
from offline_station.shell.home import Home, HomeLock
from offline_station.shell.station import Station
from shared.clock import CHINA, FixedClock
from shared.envelope.opening import open_report, prove_report
from shared.errors import (
    AlreadyInitialised,
    Ambiguous,
    BackupInvalid,
    ConfigurationError,
    DetailMismatch,
    Locked,
    NameContradicts,
    NoResultYet,
    NoSuccess,
    NotCopied,
    NotFound,
    NotInitialised,
    OtherMachine,
    PeriodClosed,
    ResultEmpty,
    SignatureRefused,
    SpoolMissing,
    StationBusy,
    StillProcessing,
    TaxferryError,
    WrongState,
)
from shared.model.report import Invoice, KindSummary, Trailer, parse_row
from shared.model.taxcard import write_taxcard
from shared.states import CardState, OfflineState
from tests.support.offline import NEXT_LOCK_DATE, NOW, answer, invoice_list, new_station, taxcard, trust_text
from tests.support.pki import foreign_pki, pki


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_station(tmp_path_factory.mktemp("template"), FixedClock(NOW)).root


@pytest.fixture
def home(tmp_path: Path, template: Path) -> Home:
    return Home(Path(shutil.copytree(template, tmp_path / "home")))


@pytest.fixture
def station(home: Home, clock: FixedClock) -> Iterator[Station]:
    with Station.open(home, clock) as found:
        yield found


def open_copy(station: Station) -> CopyRecord:
    found = station.card.open_copy()
    assert found is not None
    return found


def reported(station: Station, folder: Path, *, invoices: int = 6) -> CopyRecord:
    """Bring the station to: copied and sealed."""
    if invoices:
        report = station.import_files([invoice_list(folder / "发票.csv", invoices)])[0]
        assert report.error is None
    station.copy(kind="period")
    return station.report().copy


def cleared(station: Station, folder: Path) -> CopyRecord:
    """Bring the station to: cleared."""
    made = reported(station, folder)
    (station.inbox / made.name.file_name(".txt")).write_bytes(answer(made))
    station.result()
    station.clear()
    return made


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# init


def test_the_card_is_moved_in(tmp_path: Path, clock: FixedClock) -> None:
    source = tmp_path / "带 空格 的卡.taxcard"
    write_taxcard(source, taxcard())
    home = Home(tmp_path / "开票 机")
    assert Station.initialise(home, source, clock).taken_in
    assert not source.exists(), "there is only one card"
    assert home.card.exists()


def test_init_again_with_nothing_new_is_fine(home: Home, tmp_path: Path, clock: FixedClock) -> None:
    gone = tmp_path / "issued.taxcard"
    assert not Station.initialise(home, gone, clock).taken_in
    assert not Station.initialise(home, None, clock).taken_in


def test_a_half_done_move_is_finished(home: Home, tmp_path: Path, clock: FixedClock) -> None:
    """The power failed between the card's being durable in the home and the file's removal."""
    source = tmp_path / "issued.taxcard"
    write_taxcard(source, taxcard())
    assert not Station.initialise(home, source, clock).taken_in
    assert not source.exists()


def test_another_card_is_not_taken_in_over_the_first(home: Home, tmp_path: Path, clock: FixedClock) -> None:
    source = tmp_path / "other.taxcard"
    write_taxcard(source, taxcard(1))
    with pytest.raises(AlreadyInitialised):
        Station.initialise(home, source, clock)
    assert source.exists()


def test_a_file_that_is_no_card_leaves_no_home(tmp_path: Path, clock: FixedClock) -> None:
    source = tmp_path / "x.taxcard"
    source.write_bytes(b"{}")
    with pytest.raises(ConfigurationError):
        Station.initialise(Home(tmp_path / "home"), source, clock)
    with pytest.raises(NotFound):
        Station.initialise(Home(tmp_path / "home"), tmp_path / "nowhere", clock)
    assert not (tmp_path / "home").exists()


def test_folders_can_be_set_and_set_again(home: Home, tmp_path: Path, clock: FixedClock) -> None:
    out = tmp_path / "传出 目录"
    assert Station.initialise(home, None, clock, outbox=out).changed == ("outbox",)
    assert Station.initialise(home, None, clock, outbox=out).changed == ()
    with Station.open(home, clock) as station:
        assert station.outbox == out
        assert reported(station, tmp_path).name.file_name(".dat") in files(out)


def test_nothing_works_before_init(tmp_path: Path, clock: FixedClock) -> None:
    with pytest.raises(NotInitialised):
        Station.open(Home(tmp_path / "home"), clock)
    assert not (tmp_path / "home").exists()


def test_one_process_at_a_time(home: Home, clock: FixedClock) -> None:
    lock = HomeLock(home)
    with pytest.raises(StationBusy):
        Station.open(home, clock)
    with Station.open(home, clock, exclusive=False) as looking:
        assert looking.read().state is CardState.TO_COPY
    lock.release()
    Station.open(home, clock).close()


# import


def test_an_import_moves_ledger_and_card_together(station: Station, tmp_path: Path) -> None:
    first = invoice_list(tmp_path / "a.csv", 6)
    report = station.import_files([first])[0]
    assert (report.error, report.invoices) == (None, 6)
    again = station.import_files([first])[0]
    assert (again.invoices, again.skipped) == (0, 6)
    assert not station.behind()
    assert station.copy(kind="period").invoice_count == 6


def test_one_bad_file_does_not_keep_the_others_out(station: Station, tmp_path: Path) -> None:
    bad = tmp_path / "坏.csv"
    bad.write_bytes(b"\xff\xfe\x00 not a list")
    reports = station.import_files([bad, invoice_list(tmp_path / "a.csv", 3)])
    assert reports[0].error is not None
    assert reports[1].invoices == 3
    assert not station.behind()


def test_an_import_into_a_copied_period_is_refused(station: Station, tmp_path: Path) -> None:
    reported(station, tmp_path)
    late = station.import_files([invoice_list(tmp_path / "late.csv", 2, first_number=500)])[0]
    assert late.error is not None
    assert station.card.open_copy() is not None
    assert not station.behind()
    august = invoice_list(tmp_path / "august.csv", 2, first_number=900, month=date(2026, 8, 1))
    station.clock.moment = datetime(2026, 8, 30, 9, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    assert station.import_files([august])[0].invoices == 2


def test_a_batch_that_the_card_refuses_is_not_in_the_ledger(
    station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(batch: object) -> None:
        raise PeriodClosed(reason="x", next_action="y")

    monkeypatch.setattr(station.card, "record_issued", refuse)
    with pytest.raises(PeriodClosed):
        station.import_files([invoice_list(tmp_path / "a.csv", 3)])
    assert station.ledger.count() == 0
    monkeypatch.undo()
    assert station.import_files([tmp_path / "a.csv"])[0].invoices == 3


# report


def test_the_report_holds_what_card_and_ledger_say(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = station.outbox / "310100000000000_0_202608010000.dat"
    with path.open("rb") as file, open_report(file, pki().trust, pki().envelope, at=NOW) as opened:
        header = opened.proven.header
        rows = [parse_row(line, number) for number, line in opened.rows()]
    assert (header.nonce, header.sequence, header.invoice_count) == (made.nonce, 1, 6)
    assert (header.period_start, header.period_end) == ("2026-07-01", "2026-07-31")
    assert [row for row in rows if isinstance(row, KindSummary)] == list(made.summaries)
    assert len([row for row in rows if isinstance(row, Invoice)]) == 6
    assert isinstance(rows[-1], Trailer)
    assert opened.proven.digest == made.report_digest


def test_the_p256_envelope_key_opens_it_too(station: Station, tmp_path: Path) -> None:
    reported(station, tmp_path)
    path = station.outbox / "310100000000000_0_202608010000.dat"
    with path.open("rb") as file, open_report(file, pki().trust, pki().envelope_p256, at=NOW) as opened:
        assert sum(1 for _ in opened.rows()) > 6


def test_it_is_sealed_once_and_given_out_for_ever(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = station.outbox / made.name.file_name(".dat")
    first = path.read_bytes()
    assert not station.report().sealed_now
    path.unlink()
    station.report()
    assert path.read_bytes() == first
    path.write_bytes(first[:100])
    station.report()
    assert path.read_bytes() == first
    (home.spool / f"{made.report_digest}.dat").unlink()
    station.report()
    assert (home.spool / f"{made.report_digest}.dat").read_bytes() == first


def test_a_lost_report_is_never_quietly_sealed_anew(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    (home.spool / f"{made.report_digest}.dat").unlink()
    (station.outbox / made.name.file_name(".dat")).unlink()
    with pytest.raises(SpoolMissing):
        station.report()
    again = station.report(reseal=True)
    assert again.sealed_now
    assert again.copy.report_digest != made.report_digest


def test_reseal_makes_another_digest_and_the_card_waits_for_it(station: Station, tmp_path: Path) -> None:
    """CARD-16."""
    old = reported(station, tmp_path)
    new = station.report(reseal=True)
    assert new.copy.report_digest != old.report_digest
    with new.path.open("rb") as file:
        assert prove_report(file, pki().trust, at=NOW).digest == new.copy.report_digest
    stale = tmp_path / old.name.file_name(".txt")
    stale.write_bytes(answer(old))
    with pytest.raises(TaxferryError):
        station.result(stale)
    (tmp_path / "fresh").mkdir()
    fresh = tmp_path / "fresh" / stale.name
    fresh.write_bytes(answer(new.copy))
    assert station.result(fresh).verdict is not None


def test_detail_that_differs_from_the_card_is_never_sealed(station: Station, home: Home, tmp_path: Path) -> None:
    """REP-30: the refusal names the kind and both numbers."""
    station.import_files([invoice_list(tmp_path / "a.csv", 6)])
    station.copy(kind="period")
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute(
            "UPDATE lines SET amount = amount + 1 WHERE (invoice, position) IN (SELECT invoice, position FROM lines LIMIT 1)"
        )
        db.commit()
    with pytest.raises(DetailMismatch) as refused:
        station.report()
    assert refused.value.exit_code == 52
    assert "007" in refused.value.text.en
    assert files(station.outbox) == files(home.spool) == []
    assert open_copy(station).report_digest is None


def test_a_missing_invoice_is_named_by_both_counts(station: Station, home: Home, tmp_path: Path) -> None:
    station.import_files([invoice_list(tmp_path / "a.csv", 6)])
    station.copy(kind="period")
    with closing(sqlite3.connect(home.ledger)) as db:
        db.execute("DELETE FROM invoices WHERE id = (SELECT min(id) FROM invoices)")
        db.commit()
    with pytest.raises(DetailMismatch) as refused:
        station.report()
    said, found = refused.value.context["summary"], refused.value.context["detail"]
    assert said != found


def test_a_zero_report_goes_the_whole_way(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path, invoices=0)
    assert made.invoice_count == 0
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    assert station.clear().record.lock_date == NEXT_LOCK_DATE


def test_reporting_needs_a_copy(station: Station) -> None:
    with pytest.raises(NotCopied):
        station.report()


def test_after_the_lock_date_nothing_is_reported(station: Station, tmp_path: Path) -> None:
    """CARD-11: not even what was sealed before."""
    made = reported(station, tmp_path)
    station.clock.moment = datetime(2026, 8, 18, 0, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    with pytest.raises(Locked):
        station.report()
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    assert station.clear().record.lock_date == NEXT_LOCK_DATE


def test_report_after_clearing_gives_the_same_file(station: Station, tmp_path: Path) -> None:
    made = cleared(station, tmp_path)
    again = station.report()
    assert again.finished
    assert again.copy.report_digest == made.report_digest
    station.clock.moment = datetime(2026, 9, 2, 8, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    with pytest.raises(NotCopied):
        station.report()


def test_what_was_sealed_and_never_bound_is_cleaned_up(station: Station, home: Home, tmp_path: Path) -> None:
    stray = home.spool / f"{'0' * 64}.dat"
    stray.write_bytes(b"sealed just before the power failed")
    reported(station, tmp_path)
    assert not stray.exists()


def test_copy_again_replaces_the_file_of_the_same_name(station: Station, tmp_path: Path) -> None:
    old = reported(station, tmp_path)
    before = (station.outbox / old.name.file_name(".dat")).read_bytes()
    station.copy(kind="period", again=True)
    new = station.report().copy
    assert new.name == old.name
    assert new.invoice_count == old.invoice_count
    assert (station.outbox / new.name.file_name(".dat")).read_bytes() != before
    states = [life.state for life in station.store.reports()]
    assert states == [OfflineState.SUPERSEDED, OfflineState.SEALED]


def test_an_ad_hoc_report_covers_what_came_since(station: Station, tmp_path: Path) -> None:
    station.import_files([invoice_list(tmp_path / "a.csv", 4)])
    first = station.copy(kind="adhoc")
    station.report()
    first = open_copy(station)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(first))
    station.result(path)
    station.clear()
    station.import_files([invoice_list(tmp_path / "b.csv", 3, first_number=100)])
    station.clock.advance(minutes=5)  # type: ignore[attr-defined]
    second = station.copy(kind="adhoc")
    assert second.invoice_count == 3
    station.report()
    period = station.copy(kind="period")
    assert period.invoice_count == 7
    assert station.report().copy.nonce == period.nonce


# result


def test_results_are_found_by_themselves(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    (station.inbox / f"{made.name.stem} (1).TXT").write_bytes(answer(made))
    found = station.result()
    assert found.verdict is not None
    assert found.verdict.result.outcome == "success"
    assert files(station.inbox) == []
    assert files(home.results) == [f"{made.name.stem}.1.txt"]
    assert station.read().state is CardState.TO_CLEAR


def test_result_again_says_the_same(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made, 3, code="2715", message="不符"))
    assert station.result(path).verdict is not None
    assert path.exists(), "a file that was named stays where it is"
    again = station.result(path)
    assert again.verdict is not None
    assert again.verdict.effect == "repeated"
    remembered = station.result()
    assert remembered.from_memory is not None
    assert remembered.from_memory.failure is not None


def test_nothing_there_is_said_so(station: Station, tmp_path: Path) -> None:
    reported(station, tmp_path)
    with pytest.raises(NoResultYet):
        station.result()
    with pytest.raises(NotFound):
        station.result(tmp_path / "nowhere.txt")


def test_wrong_files_are_explained_and_set_aside(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    good = answer(made, 4)
    other_machine = made.name.__class__(made.name.taxpayer_id, made.name.machine_no + 1, made.name.stamp)  # type: ignore[arg-type]
    inbox = station.inbox
    (inbox / made.name.file_name(".txt")).write_bytes(good)
    (inbox / f"{made.name.stem} - 副本.txt").write_bytes(b"")
    (inbox / f"{made.name.stem} (2).txt").write_bytes(b"Y")
    (inbox / f"{made.name.stem} (3).txt").write_bytes(good.replace(b"2026-09-15", b"2029-09-15", 1))
    (inbox / other_machine.file_name(".txt")).write_bytes(answer(made, name=other_machine))
    (inbox / "310100000000000_7_202608010000.txt").write_bytes(answer(made, 2, code="271D"))
    (inbox / "购物清单.txt").write_bytes(b"nobody's business")
    found = station.result()
    assert found.verdict is not None
    assert found.verdict.result.result_no == 4
    errors = {type(refusal.error) for refusal in found.refused}
    assert errors == {ResultEmpty, StillProcessing, SignatureRefused, OtherMachine, NameContradicts}
    assert files(inbox) == sorted([other_machine.file_name(".txt"), "购物清单.txt"]), "another station's stays"
    quarantined = files(home.quarantine)
    assert len([name for name in quarantined if name.endswith(".why.txt")]) == 4
    assert len(quarantined) == 8
    note = next(home.quarantine.glob("*(3).txt.why.txt")).read_bytes()
    assert note.startswith(b"\xef\xbb\xbf"), "the editors of old Windows read it as GBK otherwise"
    why = note.decode("utf-8-sig")
    assert "B2001" in why
    assert "验证签名失败" in why


def test_a_named_wrong_file_stays_and_the_card_is_untouched(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    before = station.read()
    path = tmp_path / "x.txt"
    path.write_bytes(answer(made, signer=foreign_pki().bureau_result))
    with pytest.raises(TaxferryError):
        station.result(path)
    assert path.exists()
    assert station.read() == before


def test_only_a_y_is_processing(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = tmp_path / made.name.file_name(".txt")
    path.write_bytes(b"Y")
    assert station.result(path).processing
    (station.inbox / path.name).write_bytes(b"Y\r\n")
    found = station.result()
    assert found.processing
    assert found.verdict is None
    assert station.read().state is CardState.COPIED


def test_numbers_are_used_up_in_their_order(station: Station, tmp_path: Path) -> None:
    """The success is taken although the older failure lies beside it."""
    made = reported(station, tmp_path)
    (station.inbox / f"{made.name.stem}.txt").write_bytes(answer(made, 6))
    (station.inbox / f"{made.name.stem} (1).txt").write_bytes(answer(made, 5, code="271D"))
    found = station.result()
    assert found.verdict is not None
    assert found.verdict.result.outcome == "success"
    assert found.refused == ()


def test_a_newer_trust_file_in_the_inbox_is_taken_before_results(station: Station, tmp_path: Path) -> None:
    reported(station, tmp_path)
    (station.inbox / "trust.txt").write_bytes(trust_text(version=4))
    with pytest.raises(NoResultYet):
        station.result()
    assert station.read().trust_version == 4
    (station.inbox / "trust.txt").write_bytes(trust_text(foreign_pki(), version=9))
    with pytest.raises(NoResultYet):
        station.result()
    assert station.read().trust_version == 4
    assert any(name.endswith("trust.txt") for name in files(station.home.quarantine))


# clear


def test_a_backup_is_made_before_the_card_is_cleared(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    done = station.clear()
    assert done.backup is not None
    assert done.backup.path.exists()
    assert done.ack.read_bytes() == done.record.ack
    assert files(home.backups) == [done.backup.path.name]


def test_without_room_for_the_backup_nothing_is_cleared(station: Station, home: Home, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made))
    station.result(path)
    home.backups.rmdir()
    home.backups.write_bytes(b"in the way")
    with pytest.raises(OSError):
        station.clear()
    assert station.read().state is CardState.TO_CLEAR
    home.backups.unlink()
    assert not station.clear().record.already


def test_clear_again_gives_the_same_receipt(station: Station, home: Home, tmp_path: Path) -> None:
    made = cleared(station, tmp_path)
    ack = station.outbox / made.name.file_name(".ack")
    first = ack.read_bytes()
    ack.unlink()
    again = station.clear()
    assert again.record.already
    assert again.backup is None
    assert ack.read_bytes() == first
    assert len(files(home.backups)) == 1


def test_a_damaged_receipt_in_the_outbox_is_written_anew(station: Station, tmp_path: Path) -> None:  # ACK-4
    cleared(station, tmp_path)
    ack = station.clear().ack
    whole = ack.read_bytes()
    ack.write_bytes(whole[:-20])
    assert station.clear().ack.read_bytes() == whole


def test_clear_without_a_success_is_refused(station: Station, tmp_path: Path) -> None:
    with pytest.raises(NotCopied):
        station.clear()
    made = reported(station, tmp_path)
    with pytest.raises(NoSuccess):
        station.clear()
    path = tmp_path / "r.txt"
    path.write_bytes(answer(made, code="2715", message="不符"))
    station.result(path)
    with pytest.raises(NoSuccess):
        station.clear()


def test_a_later_result_completes_the_life_of_the_one_before(station: Station, tmp_path: Path) -> None:
    cleared(station, tmp_path)
    station.clock.moment = datetime(2026, 9, 2, 8, 0, tzinfo=CHINA)  # type: ignore[attr-defined]
    station.copy(kind="period")
    made = station.report().copy
    path = tmp_path / "sept.txt"
    path.write_bytes(
        answer(made, 2, last_acknowledged=1, lock_date=date(2026, 10, 26), bureau_time=station.clock.now())
    )
    station.result(path)
    assert [life.state for life in station.store.reports()] == [OfflineState.ACKNOWLEDGED, OfflineState.SUCCEEDED]


# after a crash: the life-lines follow the card


def test_life_lines_are_made_again_from_the_card(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    made = cleared(station, tmp_path)
    before = [(e.nonce, e.event) for e in station.store.events(made.nonce)]
    station.close()
    for path in home.root.glob("station.db*"):
        path.unlink()
    with Station.open(home, clock) as again:
        assert [life.state for life in again.store.reports()] == [OfflineState.CLEARED]
        assert [(e.nonce, e.event) for e in again.store.events(made.nonce)] == before
        assert again.report().copy.report_digest == made.report_digest, "what was sealed is recognised by its proof"


def test_a_copy_that_the_ledger_missed_is_frozen_at_the_next_start(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    station.import_files([invoice_list(tmp_path / "a.csv", 5)])
    station.card.copy(clock.now(), kind="period")
    station.close()
    with Station.open(home, clock) as again:
        assert again.ledger.copy_count(open_copy(again).nonce) == 5
        assert again.report().sealed_now


# backup and restore


def test_restore_brings_back_and_the_card_stays_ahead(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    """CARD-15: nothing counts twice."""
    first, second = invoice_list(tmp_path / "a.csv", 4), invoice_list(tmp_path / "b.csv", 3, first_number=50, seed=8)
    station.import_files([first])
    saved = station.backup().path
    station.import_files([second])
    station.close()
    _, kept, behind = Station.restore(home, saved, clock)
    assert list(behind) == ["2026-07"]
    assert (kept / "ledger.db").exists()
    with Station.open(home, clock) as again:
        assert again.ledger.count() == 4
        assert again.read().facts.totals["2026-07"]["007", ""].used == 7
        assert again.import_files([second])[0].invoices == 3
        assert not again.behind()
        assert again.copy(kind="period").invoice_count == 7
        assert again.report().sealed_now


def test_restore_after_the_copy_lets_detail_be_imported_again(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    saved = station.backup().path
    lists = [invoice_list(tmp_path / "a.csv", 4), invoice_list(tmp_path / "b.csv", 3, first_number=50, seed=8)]
    station.import_files(lists)
    station.copy(kind="period")
    station.close()
    Station.restore(home, saved, clock)
    with Station.open(home, clock) as again:
        with pytest.raises(DetailMismatch):
            again.report()
        again.import_files(lists)
        assert not again.behind()
        assert again.report().copy.invoice_count == 7


def test_a_list_of_old_and_new_counts_the_new_ones_once(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    """CARD-15: one list holds all that is missing, and more."""
    saved = station.backup().path
    station.import_files([invoice_list(tmp_path / "a.csv", 4)])
    station.close()
    Station.restore(home, saved, clock)
    with Station.open(home, clock) as again:
        assert again.import_files([invoice_list(tmp_path / "all.csv", 4)])[0].invoices == 4
        again.import_files([invoice_list(tmp_path / "more.csv", 2, first_number=90)])
        assert not again.behind()
        assert again.copy(kind="period").invoice_count == 6


def test_a_backup_is_proven_before_anything_is_replaced(
    station: Station, home: Home, tmp_path: Path, clock: FixedClock
) -> None:
    station.import_files([invoice_list(tmp_path / "a.csv", 4)])
    saved = station.backup().path.read_bytes()
    station.close()
    before = home.ledger.read_bytes()
    bad = tmp_path / "bad.zip"
    for data in (b"", b"PK", saved[:-30], saved[: len(saved) // 2], saved[:200] + b"\0" * 40 + saved[240:]):
        bad.write_bytes(data)
        with pytest.raises(BackupInvalid):
            Station.restore(home, bad, clock)
    with pytest.raises(NotFound):
        Station.restore(home, tmp_path / "nowhere.zip", clock)
    assert home.ledger.read_bytes() == before
    assert not list(home.root.glob("*.restored"))


def test_another_stations_backup_is_refused(station: Station, tmp_path: Path, clock: FixedClock) -> None:
    saved = station.backup().path
    (tmp_path / "other").mkdir()
    other = new_station(tmp_path / "other", clock, taxcard(1))
    with pytest.raises(BackupInvalid, match="分机 0"):
        Station.restore(other, saved, clock)


def test_the_card_is_in_no_backup(station: Station) -> None:
    """CARD-1."""
    data = station.backup().path.read_bytes()
    assert b"card.db" not in data
    assert b"PRIVATE KEY" not in data


# finding reports


def test_reports_are_found_by_digest_prefix_and_name(station: Station, tmp_path: Path) -> None:
    made = reported(station, tmp_path)
    assert made.report_digest is not None
    for wanted in (
        made.report_digest,
        made.report_digest[:8],
        made.name.stem,
        made.name.file_name(".dat"),
        made.nonce[:10],
    ):
        assert station.find(wanted).nonce == made.nonce
    for unknown in ("", "abc", "zzzzzz", "310100000000000_0_202607010000"):
        with pytest.raises(NotFound):
            station.find(unknown)


def test_an_unclear_id_is_not_guessed(station: Station, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = reported(station, tmp_path)
    life = station.store.report(made.nonce)
    monkeypatch.setattr(station.store, "reports", lambda: [life, life])
    with pytest.raises(Ambiguous):
        station.find(made.nonce[:8])


def test_events_keep_their_order_and_time(station: Station, tmp_path: Path) -> None:
    made = cleared(station, tmp_path)
    events = station.store.events(made.nonce)
    assert [event.event for event in events] == ["copied", "sealed", "success", "cleared"]
    assert all(event.at >= NOW - timedelta(seconds=1) for event in events)


def test_a_wrong_state_names_the_next_action(station: Station) -> None:
    with pytest.raises(WrongState) as refused:
        station.clear()
    assert "copy" in refused.value.advice.zh
