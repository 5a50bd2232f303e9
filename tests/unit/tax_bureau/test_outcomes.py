"""Every answer that the bureau gives to a report, from a real file to a signed result, each for its own reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from shared.ids import parse_stamp
from shared.states import BureauState
from tax_bureau.judge.facts import Figures
from tests.support.bureau import PERIOD, Office
from tests.support.pki import TAXPAYER, foreign_pki
from tests.support.reports import rows


def state(office: Office, digest: str) -> BureauState:
    with office.bureau.store.read() as tx:
        report = tx.report(digest)
    assert report is not None
    return report.state


def tampered_rows(old: bytes, new: bytes, invoices: int = 3) -> Iterator[bytes]:
    """Yield the rows of a report with the first occurrence of `old` in each summary replaced."""
    changed = False
    for row in rows(invoices):
        if not changed and old in row:
            row, changed = row.replace(old, new, 1), True
        yield row
    assert changed


def test_last_machine_succeeds_and_the_first_is_judged_again_at_once(office: Office) -> None:  # JUDGE-12
    office.declare()
    first = office.send(office.card(0))
    assert office.code(first) == "272C"
    assert state(office, first) is BureauState.WAITING
    assert "1号分机" in office.result(first).result.message
    last = office.send(office.card(1))
    assert (office.code(last), office.code(first)) == ("success", "success")


def test_success_carries_the_authority_of_the_next_month(office: Office) -> None:
    office.declare()
    office.send(office.card(1))
    result = office.result(office.send(office.card(0))).result
    assert (result.lock_date, result.next_period_start) == (date(2026, 9, 15), date(2026, 9, 1))
    assert result.upload_deadline == date(2026, 9, 15)
    assert (result.offline_hours, result.code, result.message) == (72, "", "")
    assert result.last_acknowledged is None


def test_undeclared_period_gets_271d_and_the_declaration_has_it_judged_again(office: Office) -> None:  # JUDGE-13
    digest = office.send(office.card(1))
    assert office.code(digest) == "271D"
    assert "未申报" in office.result(digest).result.message
    office.declare()
    assert office.code(digest) == "272C"


def test_mismatch_names_both_numbers_and_a_corrected_declaration_cures_it(office: Office) -> None:
    office.declare({"007": Figures(50000, 6500)})
    first, last = office.send(office.card(0)), office.send(office.card(1))
    for digest in (first, last):
        result = office.result(digest).result
        assert result.code == "271D"
        assert "500.00" in result.message
        assert "600.00" in result.message
    office.declare({"007": Figures(60000, 7800)})
    assert (office.code(first), office.code(last)) == ("success", "success")


def test_more_ordinary_sales_than_reported_may_be_declared(office: Office) -> None:
    office.declare({"007": Figures(90000, 11700)})
    office.send(office.card(0))
    assert office.code(office.send(office.card(1))) == "success"


def test_summary_unlike_detail_is_2715_whatever_was_declared(office: Office) -> None:
    rows_ = tampered_rows(b'"positive_amount":"300.00"', b'"positive_amount":"300.01"')
    digest = office.send(content=rows_)
    result = office.result(digest).result
    assert result.code == "2715"
    assert "300.01" in result.message
    assert "300.00" in result.message


def test_failure_that_needs_a_new_report_is_not_reopened_by_resending(office: Office) -> None:  # GW-4, JUDGE-13
    office.declare()
    data, report = office.seal(content=tampered_rows(b'"positive_amount":"300.00"', b'"positive_amount":"300.01"'))
    client = office.client()
    receipt = client.put_report(report.digest, data).body
    office.bureau.desk.judge_all()
    first = office.result(report.digest).result
    assert first.code == "2715"
    again = client.put_report(report.digest, data)
    assert (again.status, again.body) == (200, receipt)
    assert office.result(report.digest).result == first


def test_unreadable_content_has_a_code_of_our_own(office: Office) -> None:
    digest = office.send(content=[b'{"type":"nonsense"}'], invoices=0)
    assert office.code(digest) == "B1103"


def test_report_sealed_to_another_bureau_is_2734_envelope(office: Office) -> None:
    digest = office.send(recipients=[foreign_pki().envelope.certificate])
    result = office.result(digest).result
    assert result.code == "2734"
    assert "0x82040010" in result.message


def test_resealed_copy_replaces_the_one_that_did_not_open(office: Office) -> None:
    office.declare()
    first = office.send(recipients=[foreign_pki().envelope.certificate])
    again = office.send()
    assert office.code(first) == "SUPERSEDED"
    assert office.code(again) == "272C"


def test_reissued_card_makes_the_old_one_2734_signature(office: Office) -> None:
    data, report = office.seal(office.card(1))
    office.issue("new", 1)
    office.client().put_report(report.digest, data)
    office.bureau.desk.judge_all()
    result = office.result(report.digest).result
    assert result.code == "2734"
    assert "0x8204000D" in result.message


def test_enrolment_withdrawn_before_the_judgement_is_2735(office: Office) -> None:
    office.bureau.desk.set_processing_seconds(60)
    digest = office.send()
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate, withdraw=True)
    office.clock.advance(seconds=61)
    office.bureau.desk.judge_all()
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate)
    assert office.code(digest) == "2735"


def test_an_enrolment_has_what_failed_for_want_of_it_judged_again(office: Office) -> None:  # JUDGE-13
    office.bureau.desk.set_processing_seconds(60)
    office.declare()
    digest = office.send(office.card(1))
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate, withdraw=True)
    office.clock.advance(seconds=61)
    office.bureau.desk.judge_all()
    office.bureau.registry.enroll(TAXPAYER, office.key().certificate)
    assert office.bureau.desk.reconsider(TAXPAYER) == (digest,)
    office.clock.advance(seconds=61)
    office.bureau.desk.judge_all()
    assert office.code(digest) == "272C", "the other machine is what it waits for now"


def test_a_main_card_that_knows_fewer_machines_frees_the_one_that_waits(office: Office) -> None:  # JUDGE-13
    office.declare()
    waiting = office.send(office.card(1))
    assert office.code(waiting) == "272C"
    main = office.issue("main", 0, sub_machines=1)
    office.bureau.trust.revoke(office.card(1).certificate)
    replaced = office.issue("sub", 1)
    assert office.bureau.desk.reconsider(TAXPAYER) == (waiting,)
    office.bureau.desk.judge_all()
    assert office.code(waiting) == "2734", "its own card is not in use any more"
    first = office.send(main)
    assert office.code(first) == "272C"
    office.send(replaced, sequence=9)
    assert office.code(first) == "success"


def test_what_was_answered_otherwise_is_left_alone_by_a_change_of_the_register(office: Office) -> None:
    digest = office.send()
    assert office.code(digest) == "271D"
    assert office.bureau.desk.reconsider(TAXPAYER) == ()


def test_sealed_after_the_lock_date_is_locked_and_before_all_content_checks(office: Office) -> None:
    office.issue("locked", 1, lock_date=date(2026, 8, 4), last_copied=date(2026, 7, 1))
    rows_ = tampered_rows(b'"positive_amount":"300.00"', b'"positive_amount":"300.01"')
    result = office.result(office.send(office.card("locked"), content=rows_)).result
    assert result.code == "LOCKED"
    assert "2026-08-04" in result.message


def test_lock_date_itself_is_still_in_time(office: Office) -> None:
    office.issue("last-day", 1, lock_date=date(2026, 8, 5), last_copied=date(2026, 7, 1))
    assert office.code(office.send(office.card("last-day"))) == "271D"


def test_adhoc_needs_no_declaration_and_no_other_machine_and_moves_no_lock_date(office: Office) -> None:
    digest = office.send(stamp=parse_stamp("202608050808"), period_start=date(2026, 7, 1), period_end=date(2026, 8, 5))
    result = office.result(digest).result
    assert result.outcome == "success"
    assert result.lock_date == office.taxcard().lock_date
    assert result.next_period_start == date(2026, 8, 1)


def test_result_numbers_of_a_card_grow_and_name_the_last_acknowledged(office: Office) -> None:
    office.declare()
    first, last = office.send(office.card(0)), office.send(office.card(1))
    with office.bureau.store.read() as tx:
        assert [r.result_no for r in tx.results(first)] == [1, 2]
        assert [r.result_no for r in tx.results(last)] == [1]
    assert office.client().put_ack(first, office.ack(first)).status == 200
    digest = office.send(
        office.card(0),
        stamp=parse_stamp("202608050808"),
        period_start=date(2026, 8, 1),
        period_end=date(2026, 8, 5),
        sequence=8,
    )
    result = office.result(digest).result
    assert (result.result_no, result.last_acknowledged) == (3, 2)


@pytest.mark.parametrize("declared", [False, True])
def test_newer_copy_of_the_period_supersedes_the_older(office: Office, declared: bool) -> None:
    if declared:
        office.declare()
    older = office.send(office.card(0))
    newer = office.send(office.card(0), sequence=8)
    assert office.code(older) == "SUPERSEDED"
    assert office.code(newer) == ("272C" if declared else "271D")
    assert state(office, older) is BureauState.SUPERSEDED


def test_success_that_was_superseded_becomes_a_failure_with_a_higher_number(office: Office) -> None:
    office.declare()
    office.send(office.card(1))
    older = office.send(office.card(0))
    number = office.result(older).result.result_no
    newer = office.send(office.card(0), sequence=8)
    assert office.result(older).result.outcome == "failure"
    assert office.result(older).result.result_no > number
    assert office.code(newer) == "success"


def test_older_copy_that_arrives_late_is_superseded_on_arrival(office: Office) -> None:
    office.declare()
    newer = office.send(office.card(0), sequence=8)
    older = office.send(office.card(0), sequence=7)
    assert (office.code(older), office.code(newer)) == ("SUPERSEDED", "272C")


def test_superseded_copy_no_longer_counts_for_its_machine(office: Office) -> None:
    office.declare({"007": Figures(60000, 7800)})
    office.send(office.card(0))
    office.send(office.card(0), sequence=8)
    assert office.code(office.send(office.card(1))) == "success"


def test_corrected_copy_frees_the_machines_that_failed_the_comparison(office: Office) -> None:
    office.declare({"007": Figures(40000, 5200)})
    first, last = office.send(office.card(0)), office.send(office.card(1))
    assert (office.code(first), office.code(last)) == ("271D", "271D")
    corrected = office.send(office.card(1), sequence=8, invoices=1)
    assert (office.code(corrected), office.code(first)) == ("success", "success")


def test_zero_report_counts(office: Office) -> None:
    office.declare({})
    office.send(office.card(0), invoices=0)
    assert office.code(office.send(office.card(1), invoices=0)) == "success"


def test_standing_follows_the_month(office: Office) -> None:
    before = office.client().get(f"/v1/taxpayers/{TAXPAYER}/standing?period={PERIOD}").json
    assert (before["enrolled"], before["declared"], before["machines_expected"]) == (True, False, [0, 1])
    assert before["machines_reported"] == []
    office.declare()
    office.send(office.card(1))
    after = office.client().get(f"/v1/taxpayers/{TAXPAYER}/standing?period={PERIOD}").json
    assert (after["declared"], after["machines_reported"]) == (True, [1])
    assert (after["lock_date"], after["upload_deadline"]) == ("2026-08-17", "2026-08-17")
