"""The pure parts: what follows from what, without disk, network or clock."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_station.core.advice import next_action, state_words
from online_station.core.backoff import MAX_DELAY, Backoff, is_due
from online_station.core.board import (
    STAGE_OF,
    Seen,
    Stage,
    due,
    latest_missed,
    lines,
    month_after,
    month_before,
    present_period,
)
from online_station.core.decide import (
    AckDelivered,
    AskNow,
    AskWaiting,
    Checked,
    HoldReason,
    NeverSeen,
    NoAnswer,
    NotTaken,
    OperatorCancel,
    OperatorHold,
    OperatorRelease,
    OperatorRetry,
    Proved,
    Refused,
    ReplyLost,
    ResultProven,
    SendDue,
    Snapshot,
    Staged,
    Step,
    StillProcessing,
    Taken,
    Upload,
    decide,
    next_step,
)
from online_station.core.stability import Fingerprint, StabilityTracker
from shared import faults
from shared.states import ONLINE, IllegalTransition, OnlineState
from tests.support.pki import NOW, TAXPAYER

FOUND = Snapshot("a" * 64, "310100000000000", "2026-07", period_report=True)
EVENTS = [
    Proved(),
    Checked(None),
    Checked(HoldReason.NOT_DECLARED, "271D"),
    SendDue(),
    Taken("R1", 600.0),
    NotTaken(),
    NotTaken(30.0),
    ReplyLost(),
    NeverSeen(),
    Refused("2734", "不符", "same-bytes"),
    NoAnswer(),
    StillProcessing(),
    StillProcessing(900.0),
    ResultProven(1, success=True),
    ResultProven(2, success=False, code="271D", resend="same-bytes"),
    ResultProven(3, success=False, code="272C", resend="wait"),
    ResultProven(4, success=False, code="2715", resend="new-report", stage_failure=True),
    Staged(),
    AckDelivered(),
    OperatorHold(),
    OperatorRelease(),
    OperatorRetry(),
    OperatorCancel(),
    AskNow(),
]


def after(*events, start=FOUND):
    commands = ()
    for event in events:
        start, commands = decide(start, event, NOW)
    return start, commands


@given(st.lists(st.sampled_from(EVENTS), max_size=30))
def test_every_history_keeps_to_the_table_and_to_the_rules(history):
    """GW-6, GW-7: whatever happens in whatever order."""
    now, snapshot, unanswered = NOW, FOUND, False
    for event in history:
        try:
            new, commands = decide(snapshot, event, now)
        except IllegalTransition:
            continue
        assert new.state is snapshot.state or any(source is snapshot.state for source, _ in ONLINE), (
            "a terminal state is left by nothing"
        )
        uploads = sum(isinstance(c, Upload) for c in commands)
        assert uploads == (new.state is OnlineState.SENDING and snapshot.state is not OnlineState.SENDING)
        if uploads:
            assert not unanswered, "two sends need an answer between them"
            unanswered = True
        if isinstance(event, Taken | NotTaken | NeverSeen | Refused):
            unanswered = False
        if new.result_no is not None and snapshot.result_no is not None:
            assert new.result_no >= snapshot.result_no
        if new.due_at is not None:
            assert new.due_at <= now + MAX_DELAY
        if new.state in (OnlineState.UNKNOWN, OnlineState.ACCEPTED, OnlineState.PROCESSING, OnlineState.WAITING):
            assert new.due_at is not None, "nothing that waits for the bureau is forgotten"
        if new.state is OnlineState.PROVEN:
            assert new.due_at is not None
        assert (new.hold is not None) <= (new.state in (OnlineState.HELD, OnlineState.CANCELLED))
        assert str(state_words(new))
        assert str(next_action(new, faults.find(new.code, new.message) if new.code else None))
        snapshot = new


def test_a_success_is_staged_and_the_others_are_asked_about():
    answered, commands = after(Proved(), Checked(None), Taken("R1", 1.0), ResultProven(1, success=True))
    assert (answered.state, next_step(answered)) == (OnlineState.ANSWERED, Step.STAGE)
    assert commands == (AskWaiting("310100000000000", "2026-07"),)


def test_an_answer_that_came_after_an_operator_s_hold_sends_nothing():
    held, _ = after(Proved(), OperatorHold())
    assert decide(held, Checked(None), NOW) == (held, ())


def test_a_hold_for_one_reason_is_asked_about_ever_more_rarely():
    snapshot, _ = after(Proved())
    waits = []
    for _ in range(14):
        snapshot, _ = decide(snapshot, Checked(HoldReason.NOT_DECLARED), NOW)
        waits.append((snapshot.due_at - NOW).total_seconds())
    assert waits[0] < 2
    assert 700 < waits[-1] < 1100


def test_a_failed_report_that_never_got_to_the_bureau_is_not_asked_about():
    failed, _ = after(Proved(), Checked(None), Refused("2735", "未开户", "same-bytes"))
    assert (next_step(failed), failed.due_at) == (Step.NONE, None)
    assert decide(failed, AskNow(), NOW)[0].due_at is None


@given(st.floats(0.1, 1000), st.floats(1, 50_000), st.integers(0, 10_000), st.text(max_size=5))
def test_waiting_times_stay_near_their_series_and_below_their_cap(first, cap, attempt, key):
    seconds = Backoff(first, cap).seconds(attempt, key)
    assert 0 < seconds <= cap * 1.2
    assert seconds == Backoff(first, cap).seconds(attempt, key)


@given(st.floats(0, 1e9), st.integers(1, 50))
def test_what_the_bureau_asked_for_wins_within_reason(asked, attempt):
    due = Backoff(5, 900).due(NOW, attempt, "x", asked)
    assert due <= NOW + MAX_DELAY
    assert due >= NOW + timedelta(seconds=min(asked, 80_000) * 0.999)


def test_a_due_time_from_before_the_clock_was_set_back_counts_as_due():
    assert is_due(NOW, NOW)
    assert not is_due(NOW + timedelta(hours=24), NOW)
    assert is_due(NOW + timedelta(days=3), NOW)
    assert not is_due(None, NOW)


def test_a_file_is_stable_when_it_has_looked_the_same_for_long_enough():
    tracker = StabilityTracker(2.0)
    tracker.observe("a", Fingerprint(1, 1, 1), 10.0)
    assert not tracker.is_stable("a", 11.9)
    tracker.observe("a", Fingerprint(2, 1, 1), 11.9)
    tracker.observe("a", Fingerprint(2, 1, 1), 13.0)
    assert not tracker.is_stable("a", 13.8)
    assert tracker.wait(13.0) == pytest.approx(0.9)
    assert tracker.is_stable("a", 13.9)
    tracker.touch("a", 13.9)
    assert not tracker.is_stable("a", 15.0)
    tracker.keep_only(["b"], of=lambda name: name != "a")
    assert tracker.wait(15.0) is not None, "of another folder"
    tracker.keep_only(["b"], of=lambda _: True)
    assert tracker.wait(20.0) is None
    assert not tracker.is_stable("a", 99.0)


def test_a_clock_that_goes_back_starts_the_wait_anew():
    tracker = StabilityTracker(2.0)
    tracker.observe("a", Fingerprint(1, 1, 1), 100.0)
    tracker.observe("a", Fingerprint(1, 1, 1), 1.0)
    assert not tracker.is_stable("a", 2.0)
    assert tracker.is_stable("a", 3.0)


def test_the_board_counts_what_the_bureau_has():
    accepted = Seen(TAXPAYER, "2026-07", 0, "card 0", 1, OnlineState.ACCEPTED, "a" * 64)
    held = Seen(TAXPAYER, "2026-07", 2, "card 2", 1, OnlineState.HELD, "b" * 64)
    (line,) = lines([accepted, held], {})
    assert (line.expected, line.reported, line.missing, line.declared) == ((0, 2), (0,), (2,), None)
    assert line.stage is Stage.HELD, "a taxpayer is as far as its slowest machine"
    assert "2 台中 1 台已报" in str(line.in_words)


def test_of_a_card_the_newest_copy_counts_and_a_cancelled_report_never():
    failed = Seen(TAXPAYER, "2026-07", 0, "card", 4, OnlineState.FAILED, "a" * 64)
    again = Seen(TAXPAYER, "2026-07", 0, "card", 5, OnlineState.STAGED, "b" * 64)
    cancelled = Seen(TAXPAYER, "2026-07", 0, "card", 6, OnlineState.CANCELLED, "c" * 64)
    earlier = Seen(TAXPAYER, "2026-06", 0, "card", 3, OnlineState.ACKNOWLEDGED, "d" * 64)
    july, june = lines([again, earlier, cancelled, failed], {})
    assert (july.period, july.stage, [m.digest[0] for m in july.machines]) == ("2026-07", Stage.STAGED, ["b"])
    assert (june.period, june.stage) == ("2026-06", Stage.CLEARED)
    assert lines([cancelled], {}) == []


@pytest.mark.parametrize("state", OnlineState)
def test_every_state_is_a_stage_or_no_step_of_the_month(state):
    assert (state in STAGE_OF) == (state not in (OnlineState.CANCELLED, OnlineState.QUARANTINED))


def test_the_month_to_report_and_its_deadline_follow_the_calendar():
    assert (month_after("2026-12"), month_before("2026-01")) == ("2027-01", "2025-12")
    assert present_period(date(2026, 8, 1)) == "2026-07"
    assert (due("2026-07", date(2026, 8, 10)).days_left, due("2026-07", date(2026, 8, 10)).certain) == (7, True)
    assert due("2026-07", date(2026, 8, 10), {"2026-08": 12}).days_left == 2, "a bureau's later word wins"
    assert "已过 1 天" in due("2026-07", date(2026, 8, 18)).in_words.zh
    assert latest_missed(date(2026, 8, 17)) == "2026-06", "the last day is in time"
    assert latest_missed(date(2026, 8, 18)) == "2026-07"


def test_a_report_that_is_released_before_it_was_held_is_sent_whatever_the_standing_is():
    released, _ = after(Proved(), OperatorRelease())
    assert (released.state, released.released) == (OnlineState.PROVEN, True)
    assert next_step(released) is Step.SEND


def test_a_bureau_that_never_sees_what_is_sent_is_not_flooded():  # GW-8
    snapshot, _ = after(Proved(), Checked(None), ReplyLost(), NeverSeen())
    assert snapshot.due_at == NOW, "the first time at once"
    snapshot, _ = after(Checked(None), ReplyLost(), NeverSeen(), start=snapshot)
    assert snapshot.due_at >= NOW + timedelta(seconds=5)
