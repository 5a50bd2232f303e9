"""The life of a report at the online station, against a real HTTP bureau that misbehaves on demand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from online_station.core.decide import HoldReason, OperatorHold, OperatorRelease, OperatorRetry
from online_station.shell.staging import stage
from shared.clock import FixedClock
from shared.envelope.textsign import sign_text
from shared.errors import BureauRefused, BureauUnreachable, ClockSkew, OtherReport, SignatureRefused, TaxferryError
from shared.ids import MachineNo, Nonce, ReportDigest, ReportName, TaxpayerId, parse_stamp
from shared.model.receipt import Receipt, render_receipt
from shared.model.result import parse_result, prove_result
from shared.model.standing import ReportStatus
from shared.states import OnlineState
from tests.support.online import make_report
from tests.support.pki import NOW, TAXPAYER, foreign_pki, pki


def sent(bureau):
    return [(method, path.split("/")[1:3][-1], status) for method, path, status in bureau.log]


def test_from_the_inbox_to_the_clear_receipt(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "accepted"
    assert list(desk.inbox.iterdir()) == []
    assert desk.home.report_file(digest).is_file()
    assert desk.ask_now().answers == {digest: "processing"}
    assert desk.state(digest) == "processing"
    assert list(desk.outbox.iterdir()) == []
    bureau.succeed(digest)
    done = desk.ask_now()
    (staged,) = done.staged
    assert staged.name == f"{desk.row(digest).header.name.stem}.txt"
    assert staged.read_bytes() == bureau.reports[digest].answer
    assert desk.state(digest) == "staged"
    desk.ack(digest)
    assert desk.once().acks == [digest]
    assert desk.state(digest) == "acknowledged"
    assert bureau.reports[digest].ack is not None
    assert bureau.puts[digest] == 1
    assert bureau.acks[digest] == 1


def test_the_standing_is_asked_before_anything_is_sent(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    digest = desk.report()
    desk.once()
    row = desk.row(digest)
    assert (row.state, row.snapshot.hold, row.snapshot.code) == (OnlineState.HELD, HoldReason.NOT_DECLARED, "271D")
    assert bureau.puts[digest] == 0


@pytest.mark.parametrize(
    ("spoil", "mend", "hold"),
    [
        (lambda b: b.declared.clear(), lambda b: b.declared.add("2026-07"), HoldReason.NOT_DECLARED),
        (
            lambda b: setattr(b, "enrolled", False),
            lambda b: setattr(b, "enrolled", True),
            HoldReason.NOT_ENROLLED,
        ),
        (
            lambda b: b.key_fingerprints.clear(),
            lambda b: b.key_fingerprints.update(b.certificates),
            HoldReason.KEY_NOT_ON_FILE,
        ),
    ],
)
def test_a_held_report_goes_by_itself_once_the_cause_is_gone(station_desk, spoil, mend, hold):
    desk, bureau = station_desk, station_desk.bureau
    spoil(bureau)
    digest = desk.report()
    desk.once()
    assert desk.row(digest).snapshot.hold is hold
    asked = len(bureau.log)
    desk.once()
    assert len(bureau.log) == asked, "not due yet: the bureau is left alone"
    mend(bureau)
    desk.clock.advance(seconds=5)
    desk.once()
    assert desk.state(digest) == "accepted"


@pytest.mark.parametrize(("code", "hold"), [("2734", "key-not-on-file"), ("2735", "not-enrolled"), ("", "not-ours")])
def test_the_bureau_s_refusal_of_the_question_holds_the_report(station_desk, code, hold):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("standing", (403, code, "不允许"))
    digest = desk.report()
    desk.once()
    assert desk.row(digest).snapshot.hold == hold


def test_a_release_sends_despite_the_hold(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    digest = desk.report()
    desk.once()
    desk.decide(digest, OperatorRelease())
    desk.once()
    assert desk.state(digest) == "accepted"


def test_an_operator_s_hold_stays_until_an_operator_releases_it(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    digest = desk.report()
    desk.once()
    desk.decide(digest, OperatorHold())
    bureau.declared.add("2026-07")
    desk.clock.advance(days=1)
    desk.once()
    desk.ask_now()
    assert desk.row(digest).snapshot.hold is HoldReason.OPERATOR
    desk.decide(digest, OperatorRelease())
    desk.once()
    assert desk.state(digest) == "accepted"


def test_an_ad_hoc_report_needs_no_declaration(station_desk):
    from datetime import date

    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    digest = desk.report(stamp=parse_stamp("202608050911"), period_start=date(2026, 8, 1), period_end=date(2026, 8, 5))
    desk.once()
    assert desk.state(digest) == "accepted"


def test_a_report_for_an_old_bureau_key_is_held_until_our_trust_file_or_the_report_is_newer(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    newer = bureau.pki.envelope_p256.certificate
    digest = desk.report(recipients=[newer])
    desk.once()
    assert desk.row(digest).snapshot.hold is HoldReason.ENVELOPE_OUTDATED
    assert bureau.puts[digest] == 0
    bureau.trust_version = 2
    old = bureau.trust_file
    bureau.trust_file = lambda: old(envelope=[newer])
    desk.clock.advance(minutes=5)
    desk.once()
    assert desk.state(digest) == "accepted"


def test_a_lost_reply_is_asked_about_and_not_sent_again(station_desk):
    """GW-6: the bureau took it and the connection broke."""
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "drop")
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "accepted"
    assert bureau.puts[digest] == 1
    kinds = [(m, p.endswith(digest)) for m, p, _ in bureau.log if digest in p]
    assert kinds == [("PUT", True), ("GET", True)]


def test_a_lost_reply_stays_unknown_while_nobody_answers(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "drop")
    bureau.misbehave("status", 503, 503)
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "unknown"
    desk.once()
    assert bureau.puts[digest] == 1
    desk.clock.advance(hours=1)
    desk.once()
    assert desk.state(digest) == "unknown"
    desk.clock.advance(hours=1)
    desk.once()
    assert desk.state(digest) == "accepted"
    assert bureau.puts[digest] == 1


def test_what_never_arrived_is_sent_again_after_the_answer(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "refuse")
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "accepted"
    methods = [m for m, p, _ in bureau.log if p.endswith(digest)]
    assert methods == ["PUT", "GET", "PUT"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_error_is_no_answer_about_the_report(station_desk, status):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", status)
    digest = desk.report()
    desk.once()
    desk.clock.advance(hours=1)
    desk.once()
    methods = [m for m, p, _ in bureau.log if p.endswith(digest)]
    assert methods == ["PUT", "GET", "PUT"]
    assert desk.row(digest).snapshot.receipt_no


def test_a_busy_bureau_is_asked_again_when_it_said(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.retry_after = "600"
    bureau.misbehave("put", 429)
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "proven"
    desk.clock.advance(seconds=599)
    desk.once()
    assert bureau.puts[digest] == 1
    desk.clock.advance(seconds=70)
    desk.once()
    assert desk.state(digest) == "accepted"


def test_an_unreachable_bureau_leaves_everything_here(station_desk):
    desk = station_desk
    digest = desk.report()

    class Nobody(FixedClock):
        pass

    def gateway(settings, signer):
        from online_station.shell.gateway import HttpGateway

        return HttpGateway("http://127.0.0.1:9", signer, desk.clock, connect_seconds=1)

    with desk.station(gateway=gateway) as station:
        done = station.once(patient=False)
    assert any(isinstance(p, BureauUnreachable) for p in done.problems)
    assert desk.state(digest) == "proven"
    desk.clock.advance(hours=1)
    desk.once()
    assert desk.state(digest) == "accepted"


def test_a_refusal_is_final_until_an_operator_retries(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", (403, "2734", "验证签名失败"))
    digest = desk.report()
    done = desk.once()
    assert any(isinstance(p, BureauRefused) for p in done.problems)
    row = desk.row(digest)
    assert (row.state, row.snapshot.code, row.snapshot.due_at) == (OnlineState.FAILED, "2734", None)
    desk.clock.advance(days=1)
    desk.once()
    assert bureau.puts[digest] == 1
    desk.decide(digest, OperatorRetry())
    desk.once()
    assert desk.state(digest) == "accepted"


def test_a_request_out_of_time_is_the_station_s_fault_and_not_the_report_s(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    from tests.support import fake_bureau

    answer = fake_bureau.problem(401, "", "时钟偏差 900 秒")
    bureau.script["standing"].append(None)
    bureau.take = lambda *_: (answer[0], answer[1].replace(b"about:blank", b"urn:taxferry:clock-skew"), answer[2])
    done = desk.once()
    assert any(isinstance(p, ClockSkew) for p in done.problems)
    assert desk.state(digest) == "proven"


@pytest.mark.parametrize("page", [b"<html>please log in</html>", b"Y", b""])
def test_a_yes_that_nobody_signed_is_no_receipt(station_desk, page):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", page)
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "unknown"
    desk.clock.advance(minutes=5)
    desk.once()
    assert desk.state(digest) == "accepted"
    assert [m for m, p, _ in bureau.log if p.endswith(digest)] == ["PUT", "GET", "PUT"]


def status_of(digest, state, **more) -> bytes:
    return ReportStatus(report_digest=digest, state=state, **more).model_dump_json().encode()


def test_an_upload_that_arrived_in_part_only_is_sent_again(station_desk):  # GW-11
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "refuse")
    digest = desk.report()
    bureau.misbehave("status", status_of(digest, "partial", offset=10))
    desk.once()
    assert desk.state(digest) == "accepted"
    assert [m for m, p, _ in bureau.log if p.endswith(digest)] == ["PUT", "GET", "PUT"]
    assert bureau.reports[digest].receipt


def test_an_upload_that_the_bureau_still_receives_is_asked_about_until_it_knows(station_desk):  # GW-6, GW-11
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "refuse")
    digest = desk.report()
    bureau.misbehave("status", status_of(digest, "receiving", ask_after_seconds=120))
    desk.once()
    row = desk.row(digest)
    assert (row.state.value, row.snapshot.receipt_no) == ("unknown", "")
    assert row.snapshot.due_at >= NOW + timedelta(seconds=120)
    assert bureau.puts[digest] == 1
    for _ in range(2):
        desk.clock.moment = desk.row(digest).snapshot.due_at
        desk.once()
    assert desk.state(digest) == "accepted"
    assert [m for m, p, _ in bureau.log if p.endswith(digest)] == ["PUT", "GET", "GET", "PUT"]


def test_another_report_s_status_is_no_answer(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", "refuse")
    digest = desk.report()
    bureau.misbehave("status", status_of("f" * 64, "stored", receipt_no="R9"))
    desk.once()
    row = desk.row(digest)
    assert (row.state.value, row.snapshot.receipt_no, bureau.puts[digest]) == ("unknown", "", 1)


@pytest.mark.parametrize("status", [400, 401, 408])
def test_a_refused_request_is_no_word_about_the_report(station_desk, status):  # GW-15
    desk, bureau = station_desk, station_desk.bureau
    bureau.misbehave("put", status)
    digest = desk.report()
    desk.once()
    assert desk.state(digest) == "proven"
    desk.clock.advance(hours=1)
    desk.once()
    assert desk.state(digest) == "accepted"


@pytest.mark.parametrize("data", [b"", b"Y", b"Y\r\n", "税渡 报税结果 1\r\n".encode()])
def test_what_is_no_result_is_never_staged(station_desk, data):  # RES-2, GW-9
    desk = station_desk
    with desk.station() as station, pytest.raises(TaxferryError):
        stage(data, desk.outbox, station.trust.store, station.store, desk.home.quarantine, NOW)
    assert list(desk.outbox.iterdir()) == []


@pytest.mark.parametrize(
    "signer", [lambda: foreign_pki().bureau_result, lambda: pki().card(), lambda: pki().trust_signer]
)
def test_a_receipt_that_the_bureau_did_not_sign_is_not_believed(station_desk, signer):  # GW-3
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    _, made = make_report()
    receipt = Receipt(made.header.name, ReportDigest(digest), "R1", NOW, 600)
    bureau.misbehave("put", sign_text(render_receipt(receipt), signer(), signing_time=NOW))
    desk.once()
    row = desk.row(digest)
    assert (row.state.value, row.snapshot.receipt_no) == ("unknown", "")


def test_another_report_s_receipt_is_not_believed(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    first = desk.report(0)
    desk.once()
    bureau.misbehave("put", bureau.reports[first].receipt)
    second = desk.report(1)
    desk.once()
    assert desk.state(second) == "unknown"


def test_polling_backs_off_and_a_retry_after_wins(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.ask_after = 600
    digest = desk.report()
    desk.once()
    first = desk.row(digest).snapshot.due_at
    assert 600 <= (first - NOW).total_seconds() <= 660
    desk.clock.moment = first
    bureau.retry_after = "1234"
    desk.once()
    assert 1234 <= (desk.row(digest).snapshot.due_at - first).total_seconds() <= 1234 * 1.1
    bureau.retry_after = ""
    waits = []
    for _ in range(8):
        desk.clock.moment = now = desk.row(digest).snapshot.due_at
        desk.once()
        waits.append((desk.row(digest).snapshot.due_at - now).total_seconds())
    assert waits[0] < waits[3] < waits[-1] <= 2400 * 1.2


def test_a_failure_that_can_be_mended_goes_again_as_the_same_bytes(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.fail(digest, "271D")
    desk.ask_now()
    row = desk.row(digest)
    assert (row.state, row.snapshot.code, row.snapshot.resend) == (OnlineState.FAILED, "271D", "same-bytes")
    assert list(desk.outbox.iterdir()) == [], "it is mended elsewhere; the invoicing PC has nothing to do"
    desk.decide(digest, OperatorRetry())
    desk.once()
    assert bureau.puts[digest] == 2
    assert desk.state(digest) == "accepted"
    assert desk.ask_now().answers == {digest: "processing"}
    bureau.succeed(digest)
    desk.ask_now()
    assert desk.state(digest) == "staged"


def test_the_old_failure_is_no_answer_to_the_second_sending(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.fail(digest, "271D")
    desk.ask_now()
    answer = bureau.reports[digest].answer
    desk.decide(digest, OperatorRetry())
    desk.once()
    bureau.reports[digest].answer = answer  # a bureau that shows its last decision until there is a new one
    assert desk.ask_now().answers == {digest: "processing"}
    assert desk.state(digest) == "processing"


def test_a_bureau_that_judges_anew_by_itself_is_noticed(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.fail(digest, "271D")
    desk.ask_now()
    bureau.succeed(digest)
    desk.clock.advance(hours=1)
    desk.once()
    assert desk.state(digest) == "staged"
    assert bureau.puts[digest] == 1


def test_a_report_that_needs_a_new_one_is_not_asked_about_again_but_carried_back(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.fail(digest, "2715", "发票明细与汇总比对不符")
    (staged,) = desk.ask_now().staged
    assert b"2715" in staged.read_bytes()
    row = desk.row(digest)
    assert (row.state, row.snapshot.resend, row.snapshot.due_at) == (OnlineState.FAILED, "new-report", None)


def test_machines_that_came_first_are_asked_about_when_the_last_one_is_accepted(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    first = desk.report(0)
    desk.once()
    bureau.fail(first, "272C", "还有其他开票机未报税")
    desk.ask_now()
    assert desk.state(first) == "waiting"
    assert (desk.row(first).snapshot.due_at - NOW).total_seconds() > 60
    bureau.succeed(first)
    second = desk.report(1)
    desk.once()
    assert desk.state(first) == "staged"
    assert desk.state(second) in ("accepted", "processing")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b, d: b.succeed(d, nonce=Nonce("f" * 32)),
        lambda b, d: b.succeed(d, card_no="TC999999"),
        # Sealed again, a copy keeps name and nonce: only the digest tells the two reports apart.
        lambda b, d: b.succeed(d, report_digest=ReportDigest("f" * 64)),
        lambda b, d: b.succeed(
            d, name=ReportName(TaxpayerId(TAXPAYER), MachineNo(1), b.reports[d].proven.header.name.stamp)
        ),
        lambda b, d: b.succeed(d, signer=foreign_pki().bureau_result),
        lambda b, d: b.succeed(d, signer=b.pki.card()),
        lambda b, d: setattr(b.reports[d], "answer", b""),
        lambda b, d: setattr(b.reports[d], "answer", b"<html></html>"),
        lambda b, d: setattr(b.reports[d], "answer", b"x" * 300_000),
    ],
)
def test_a_result_that_is_not_this_report_s_is_not_believed_and_not_staged(station_desk, spoil):  # GW-9
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    spoil(bureau, digest)
    done = desk.ask_now()
    assert done.problems
    assert desk.state(digest) == "accepted"
    assert list(desk.outbox.iterdir()) == []
    bureau.succeed(digest)
    desk.ask_now()
    assert desk.state(digest) == "staged"


def test_one_altered_digit_is_not_believed(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    bureau.reports[digest].answer = bureau.reports[digest].answer.replace(b"2026-09-15", b"2026-09-16")
    assert any(isinstance(p, SignatureRefused) for p in desk.ask_now().problems)
    assert desk.state(digest) == "accepted"


def test_the_other_machine_s_result_is_not_believed(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    mine, other = desk.report(0), desk.report(1)
    desk.once()
    bureau.succeed(other)
    bureau.reports[mine].answer = bureau.reports[other].answer
    assert any(isinstance(p, OtherReport) for p in desk.ask_now().problems)
    assert desk.state(mine) == "accepted"
    assert desk.state(other) == "staged"


def test_a_superseded_report_s_late_result_does_not_replace_the_newer_one(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    old = desk.report(sequence=7)
    desk.once()
    new = desk.report(sequence=8, nonce=Nonce("1" * 32))
    desk.once()
    bureau.fail(old, "2715", "发票明细与汇总比对不符")
    bureau.succeed(new)
    for digest in (new, old):
        bureau.reports[digest].answer, kept = None, bureau.reports[digest].answer
        bureau.reports[digest].answer = kept
    desk.ask_now()
    (staged,) = desk.outbox.iterdir()
    assert parse_result(prove_result(staged.read_bytes(), bureau.pki.trust, at=NOW).body).report_digest == new
    assert desk.home.result_file(old, 1).is_file(), "the sender keeps its copy"


def test_what_lies_under_the_result_s_name_and_is_none_is_kept_in_quarantine(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    name = desk.row(digest).header.name.file_name(".txt")
    (desk.outbox / name).write_text("my notes")
    desk.ask_now()
    assert (desk.outbox / name).read_bytes() == bureau.reports[digest].answer
    assert any(p.read_bytes() == b"my notes" for p in desk.home.quarantine.iterdir())


def test_a_clear_receipt_of_unknown_outcome_is_asked_about(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    desk.ask_now()
    desk.ack(digest)
    bureau.misbehave("ack", "drop")
    desk.once()
    assert desk.state(digest) == "staged"
    desk.clock.advance(hours=2)
    desk.once()
    assert desk.state(digest) == "acknowledged"
    assert bureau.acks[digest] == 1


def test_a_refused_clear_receipt_is_set_aside_and_kept(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    desk.ask_now()
    data = desk.ack(digest).read_bytes()
    bureau.misbehave("ack", (409, "", "没有成功的结果"))
    desk.once()
    assert desk.state(digest) == "staged"
    assert any(p.suffix == ".ack" and p.read_bytes() == data for p in desk.home.quarantine.iterdir())


def test_a_clear_receipt_that_comes_before_the_result_was_fetched_is_delivered(station_desk):
    """Another station fetched the result; ours only sees its trace."""
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    desk.ack(digest)
    desk.once()
    assert desk.state(digest) == "acknowledged"


def test_a_clear_receipt_for_a_report_that_went_elsewhere_is_delivered_too(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    data = next(desk.inbox.iterdir()).read_bytes()
    next(desk.inbox.iterdir()).unlink()
    bureau.take(digest, data)
    bureau.succeed(digest)
    desk.ack(digest)
    desk.once()
    assert bureau.reports[digest].ack is not None


def test_a_damaged_spool_is_not_sent(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    bureau.declared.clear()
    digest = desk.report()
    data = next(desk.inbox.iterdir()).read_bytes()
    desk.once()
    spooled = desk.home.report_file(digest)
    spooled.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    desk.decide(digest, OperatorRelease())
    desk.once()
    assert desk.state(digest) == "failed"
    assert bureau.puts[digest] == 0
    desk.report(put=False)
    (desk.inbox / "310100000000000_0_202608010000.dat").write_bytes(data)
    desk.once()
    assert spooled.read_bytes() == data, "the same report, copied here again, mends it"
    desk.decide(digest, OperatorRelease()) if desk.state(digest) == "held" else desk.decide(digest, OperatorRetry())
    bureau.declared.add("2026-07")
    desk.once()
    assert desk.state(digest) == "accepted"


def test_a_clock_set_back_delays_nothing_for_days(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    desk.clock.advance(days=30)
    digest = desk.report()
    desk.once()
    desk.clock.advance(days=-30)
    bureau.succeed(digest)
    desk.once()
    assert desk.state(digest) == "staged"


def test_a_thousand_reports_do_not_wait_for_a_thousand_time_outs(station_desk):
    desk = station_desk
    for machine in range(3):
        desk.report(machine)
    calls = []

    class Dead:
        name = "nowhere"

        def __getattr__(self, verb):
            def call(*_a):
                calls.append(verb)
                raise BureauUnreachable(host="nowhere", reason="down")

            return call

    with desk.station(gateway=lambda *_: Dead()) as station:
        station.once(patient=False)
    assert len(calls) == 1


def test_a_clear_receipt_waits_as_long_as_the_bureau_asked_for(station_desk):
    desk, bureau = station_desk, station_desk.bureau
    digest = desk.report()
    desk.once()
    bureau.succeed(digest)
    desk.ask_now()
    desk.ack(digest)
    bureau.retry_after = "600"
    bureau.misbehave("ack", 429)
    desk.once()
    assert bureau.acks[digest] == 1
    desk.clock.advance(seconds=590)
    desk.once()
    assert bureau.acks[digest] == 1, "not before the time that was named"
    desk.clock.advance(seconds=80)
    desk.once()
    assert (bureau.acks[digest], desk.state(digest)) == (2, "acknowledged")
