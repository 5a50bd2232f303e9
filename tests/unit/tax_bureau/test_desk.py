"""The desk under interruption: nothing is lost, nothing is judged twice, no number is given twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import PendingRollbackError

from shared.errors import NotFound, WrongState
from shared.ids import parse_stamp
from shared.jobs.rows import Claim
from shared.states import BUREAU, BureauEvent, BureauState
from tax_bureau import workers
from tax_bureau.desk import Desk
from tax_bureau.home import filing_day, open_bureau
from tax_bureau.judge.facts import Declaration
from tax_bureau.store import Report, Transaction
from tests.support.bureau import PERIOD, Office
from tests.support.databases import until
from tests.support.pki import TAXPAYER, foreign_pki


class PowerCut(BaseException):
    """The process ends here."""


@contextmanager
def power_cut_before_statement(office: Office, number: int) -> Iterator[list[int]]:
    """Cut the power before the n-th statement; give a list with the number of statements so far."""
    engine = office.bureau.store._engine
    count = [0]

    def before(*_: Any) -> None:
        count[0] += 1
        if count[0] == number:
            raise PowerCut

    event.listen(engine, "before_cursor_execute", before)
    try:
        yield count
    finally:
        event.remove(engine, "before_cursor_execute", before)


def until_it_survives(office: Office, work: Callable[[], object], check: Callable[[], object]) -> int:
    """Cut the power before every statement of `work` in turn, restarting each time; return how many cuts there were."""
    for number in range(1, 200):
        with power_cut_before_statement(office, number):
            try:
                work()
            except (PowerCut, PendingRollbackError):  # the second one from what tidies up after the first
                office.restart()
                check()
                continue
        return number - 1
    raise AssertionError("the work has no end")


def report_of(office: Office, digest: str) -> Report:
    with office.bureau.store.read() as tx:
        report = tx.report(digest)
    assert report is not None
    return report


def results_of(office: Office, digest: str) -> list[int]:
    with office.bureau.store.read() as tx:
        return [result.result_no for result in tx.results(digest)]


def test_power_cut_anywhere_in_a_judgement_leaves_it_undone_or_done_once(office: Office) -> None:
    data, report = office.seal()
    office.client().put_report(report.digest, data)

    states = []

    def undone_or_done() -> None:
        states.append((report_of(office, report.digest).state, results_of(office, report.digest)))
        assert states[-1] in ((BureauState.STORED, []), (BureauState.FAILED, [1]))

    def judge_all() -> None:
        office.bureau.desk.judge_all()  # the office of that moment: a restart makes a new one

    cuts = until_it_survives(office, judge_all, undone_or_done)
    assert cuts > 10
    assert states.count((BureauState.STORED, [])) > 10
    assert results_of(office, report.digest) == [1]


def test_power_cut_in_the_last_machines_judgement_loses_no_waiting_machine(office: Office) -> None:
    office.declare()
    first = office.send(office.card(0))
    data, report = office.seal(office.card(1))
    office.client().put_report(report.digest, data)

    def judge_all() -> None:
        office.bureau.desk.judge_all()

    until_it_survives(office, judge_all, lambda: None)
    assert (office.code(first), office.code(report.digest)) == ("success", "success")
    assert (results_of(office, first), results_of(office, report.digest)) == ([1, 2], [1])


def test_power_cut_anywhere_in_an_upload_ends_in_one_report_with_its_file(office: Office) -> None:
    data, report = office.seal()
    replies = []

    def upload() -> None:
        reply = office.client().put_report(report.digest, data)
        if reply.status == 500:  # what tidies up after the cut failed too, and the interface has an answer for that
            raise PowerCut
        replies.append(reply)

    cuts = until_it_survives(office, upload, lambda: None)
    assert cuts > 10
    assert replies[-1].status in (200, 201)
    assert office.client().put_report(report.digest, data).body == replies[-1].body
    with office.bureau.store.read() as tx:
        assert [r.digest for r in tx.reports()] == [report.digest]
    office.bureau.desk.judge_all()
    assert office.code(report.digest) == "271D"


def test_due_times_survive_a_restart(office: Office) -> None:
    office.bureau.desk.set_processing_seconds(60)
    digest = office.send()
    office.restart()
    assert office.bureau.desk.judge_all() == 0
    office.clock.advance(seconds=60)
    assert office.bureau.desk.judge_all() == 1
    assert office.code(digest) == "271D"


def test_two_offices_on_one_folder_judge_each_report_once(office: Office) -> None:  # JUDGE-11
    data, report = office.seal(invoices=200)
    office.client().put_report(report.digest, data)
    bureaus = [open_bureau(office.root / "home", office.clock) for _ in range(4)]
    desks = [bureau.desk for bureau in bureaus]
    start = threading.Barrier(len(desks))

    def work(desk: Desk) -> None:
        start.wait()
        desk.judge_all()

    threads = [threading.Thread(target=work, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for bureau in bureaus:
        bureau.store.close()
    assert results_of(office, report.digest) == [1]


def test_uploads_of_one_report_at_once_make_one_report(office: Office) -> None:
    data, report = office.seal()
    replies = []
    start = threading.Barrier(4)

    def upload() -> None:
        start.wait()
        replies.append(office.client().put_report(report.digest, data))

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 201]
    assert len({reply.body for reply in replies}) == 1


def test_missing_spool_file_postpones_and_answers_nothing(office: Office) -> None:
    office.bureau.desk.set_processing_seconds(60)
    digest = office.send()
    path = office.root / "home" / "spool" / "reports" / f"{digest}.dat"
    away = path.rename(office.root / "away")
    office.clock.advance(seconds=60)
    office.bureau.desk.judge_all()
    assert results_of(office, digest) == []
    assert office.client().get(f"/v1/reports/{digest}/result").status == 202
    away.rename(path)
    office.clock.advance(seconds=60)
    office.bureau.desk.judge_all()
    assert results_of(office, digest) == [1]


def test_full_disk_refuses_and_leaves_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    data, report = office.seal()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    reply = office.client().put_report(report.digest, data)
    monkeypatch.undo()
    assert (reply.status, reply.json["code"]) == (429, "busy")
    assert int(reply.headers["retry-after"]) > 0
    assert [p for p in (office.root / "home" / "spool").rglob("*") if p.is_file()] == []
    assert office.client().put_report(report.digest, data).status == 201


def test_every_transition_of_the_table_happens_and_no_other(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[BureauState, BureauEvent]] = set()
    move = Transaction.move

    def watched(self: Transaction, report: Report, what: BureauEvent, **options: Any) -> Report:
        seen.add((report.state, what))
        return move(self, report, what, **options)

    monkeypatch.setattr(Transaction, "move", watched)
    first = office.send(office.card(0))  # 271D
    office.declare()  # judged again: 272C
    office.send(office.card(0), sequence=8)  # waiting, superseded
    office.send(office.card(0), sequence=6)  # superseded on arrival
    last = office.send(office.card(1))  # success, and 8 is judged again
    office.client().put_ack(last, office.ack(last, office.card(1)))
    office.send(office.card(0), sequence=9)  # success, superseded
    assert office.code(first) == "SUPERSEDED"
    other = Office(tmp_path / "other")
    other.send()  # failed
    other.send(sequence=8)  # failed, superseded
    assert seen == set(BUREAU)


def test_clear_receipt_of_a_superseded_success_is_kept(office: Office) -> None:
    office.declare()
    office.send(office.card(1))
    digest = office.send(office.card(0))
    ack = office.ack(digest)
    office.send(office.card(0), sequence=8)
    assert office.client().put_ack(digest, ack).status == 200
    assert report_of(office, digest).state is BureauState.SUPERSEDED


def test_adhoc_success_is_not_superseded_by_the_next_copy(office: Office) -> None:
    """The card cleared it, or it could not have copied again: its clear receipt is on its way."""
    digest = office.send(stamp=parse_stamp("202608030808"), period_start=date(2026, 7, 1), period_end=date(2026, 8, 3))
    office.send(sequence=8)
    assert office.code(digest) == "success"


def test_sweep_removes_what_nobody_holds_a_receipt_for(office: Office) -> None:
    digest = office.send()
    spool = office.root / "home" / "spool"
    orphan, part, young = (spool / "reports" / "ab.dat", spool / "incoming" / "a.part", spool / "incoming" / "b.part")
    moment = office.clock.now().timestamp()
    for path, age in ((orphan, 90_000), (part, 90_000), (young, 10), (spool / "reports" / f"{digest}.dat", 90_000)):
        path.touch()
        os.utime(path, (moment - age, moment - age))
    assert office.bureau.desk.sweep() == 2
    assert sorted(p.name for p in spool.rglob("*") if p.is_file()) == sorted(["b.part", f"{digest}.dat"])


def test_trouble_with_one_report_does_not_end_the_work(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = office.send()
    office.bureau.desk.judge_again(digest)
    judge = Desk.judge
    calls = []

    def troubled(desk: Desk, claim: Claim, stopped: Callable[[], bool]) -> bool:
        calls.append(claim.tries)
        if len(calls) == 1:
            raise RuntimeError("trouble")
        return judge(desk, claim, stopped)

    monkeypatch.setattr(Desk, "judge", troubled)
    desk, store = office.bureau.desk, office.bureau.store
    with workers.judging(desk, store, office.clock, after_failure=lambda _claim: 0.0):
        until(lambda: len(results_of(office, digest)) == 2)
    assert calls == [1, 2]
    assert results_of(office, digest) == [1, 2]


def test_report_that_is_being_read_when_the_office_closes_stays_due(office: Office) -> None:
    data, report = office.seal(invoices=20)
    office.client().put_report(report.digest, data)
    asked = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 10

    assert office.bureau.desk.judge_next(stopped) is False
    assert results_of(office, report.digest) == []
    assert office.bureau.desk.judge_next() is True
    assert results_of(office, report.digest) == [1]


# --- by hand -------------------------------------------------------------------------------------------------------


def test_decision_by_hand_is_a_signed_result_with_the_next_number(office: Office) -> None:
    digest = office.send()
    office.bureau.desk.decide(digest, "success")
    result = office.result(digest).result
    assert (result.outcome, result.result_no) == ("success", 2)
    assert result.lock_date is not None


def test_failure_by_hand_passes_any_code_and_words_through(office: Office) -> None:
    office.declare()
    digest = office.send()
    office.bureau.desk.decide(digest, "failure", code="27FF", message="请到办税服务厅\n带上证照")
    result = office.result(digest).result
    assert (result.code, result.message) == ("27FF", "请到办税服务厅 带上证照")


def test_nothing_is_decided_by_hand_after_success(office: Office) -> None:
    digest = office.send()
    office.bureau.desk.decide(digest, "success")
    with pytest.raises(WrongState):
        office.bureau.desk.decide(digest, "failure", code="271D", message="x")
    with pytest.raises(WrongState):
        office.bureau.desk.judge_again(digest)
    with pytest.raises(NotFound):
        office.bureau.desk.decide("0" * 64, "success")
    assert results_of(office, digest) == [1, 2]


def test_failure_is_judged_again_after_a_repair_at_the_bureau(office: Office) -> None:
    digest = office.send(recipients=[foreign_pki().envelope.certificate])
    office.bureau.desk.judge_again(digest)
    assert office.bureau.desk.judge_all() == 1
    assert results_of(office, digest) == [1, 2]


def test_declaration_has_only_its_own_failures_judged_again(office: Office) -> None:
    digest = office.send()
    assert office.bureau.desk.declare(TAXPAYER, "2026-06", Declaration(matching=True)) == (1, ())
    assert office.bureau.desk.declare("310100000000019", PERIOD, Declaration(matching=True)) == (1, ())
    assert office.bureau.desk.declare(TAXPAYER, PERIOD, Declaration(matching=True)) == (1, (digest,))
    assert office.bureau.desk.declare(TAXPAYER, PERIOD, Declaration(matching=True)) == (2, ())


def test_calendar_is_the_official_one() -> None:
    assert filing_day("2026-10").isoformat() == "2026-10-26"


# --- issuing a result again ------------------------------------------------------------------------------------------


def test_a_result_issued_again_is_the_same_decision_under_the_next_number(office: Office) -> None:  # JUDGE-18
    office.declare()
    first = office.send(office.card(0))
    office.send(office.card(1))
    office.bureau.desk.judge_all()
    before = office.result(first).result
    office.clock.moment += timedelta(days=40)  # the days of the decision stay those of the decision
    again = office.bureau.desk.reissue(first)
    after = office.result(first).result
    assert after.result_no == again.result_no == before.result_no + 1
    assert after.bureau_time > before.bureau_time
    assert replace(after, result_no=before.result_no, bureau_time=before.bureau_time) == before
    assert office.client().put_ack(first, office.ack(first)).status == 200


def test_a_clear_receipt_for_the_result_before_still_closes(office: Office) -> None:  # JUDGE-17, JUDGE-18
    office.declare()
    first = office.send(office.card(0))
    office.send(office.card(1))
    office.bureau.desk.judge_all()
    ack = office.ack(first)
    office.bureau.desk.reissue(first)
    assert office.client().put_ack(first, ack).status == 200
    with pytest.raises(WrongState):
        office.bureau.desk.reissue(first)


def test_a_failure_is_issued_again_with_its_code_and_words(office: Office) -> None:  # JUDGE-18
    digest = office.send()
    before = office.result(digest).result
    office.bureau.desk.reissue(digest)
    after = office.result(digest).result
    assert (after.code, after.message, after.result_no) == (before.code, before.message, before.result_no + 1)
    office.declare()
    assert office.result(digest).result.result_no == after.result_no + 1, "the correction judges it anew all the same"


def test_what_has_no_result_is_not_issued_again(office: Office) -> None:
    data, report = office.seal()
    office.bureau.desk.set_processing_seconds(60)
    assert office.client().put_report(report.digest, data).status == 201
    with pytest.raises(WrongState):
        office.bureau.desk.reissue(report.digest)
    with pytest.raises(NotFound):
        office.bureau.desk.reissue("0" * 64)
