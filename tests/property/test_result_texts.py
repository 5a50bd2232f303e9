"""Results and clear receipts for all contents: one spelling, reading undoes writing, nothing half-read."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime

from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import clean_value
from shared.clock import CHINA
from shared.errors import AckInvalid, ResultInvalid
from shared.ids import Nonce, ReportDigest, ReportName, adhoc_stamp, parse_machine_no, parse_taxpayer_id
from shared.model.ack import Ack, parse_ack, render_ack
from shared.model.result import Result, parse_result, render_result
from shared.money import MAX_FEN
from tests.support.texts import ack_of, failure, success

hex32 = st.binary(min_size=32, max_size=32).map(bytes.hex)
hex16 = st.binary(min_size=16, max_size=16).map(bytes.hex)
moments = st.datetimes(datetime(1994, 1, 1), datetime(2099, 12, 31)).map(lambda m: m.replace(tzinfo=CHINA))  # noqa: DTZ001
days = st.dates(date(1994, 1, 1), date(2099, 12, 31))
numbers = st.integers(1, 2**53 - 1)
card_numbers = st.text("0123456789ABCDEFabcdef-", min_size=1, max_size=40)
words = st.text(max_size=80).map(clean_value)


@st.composite
def report_names(draw: st.DrawFn) -> ReportName:
    """Return the identity of an ad hoc report."""
    taxpayer = draw(st.text("0123456789ABC", min_size=15, max_size=15))
    return ReportName(
        parse_taxpayer_id(taxpayer), parse_machine_no(str(draw(st.integers(0, 65535)))), adhoc_stamp(draw(moments))
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Return any valid result."""
    number = draw(numbers)
    failed = draw(st.booleans())
    return Result(
        name=draw(report_names()),
        card_no=draw(card_numbers),
        report_digest=ReportDigest(draw(hex32)),
        nonce=Nonce(draw(hex16)),
        receipt_no=draw(st.text("0123456789ABCabc._-", min_size=1, max_size=64)),
        result_no=number,
        last_acknowledged=draw(st.none() | st.integers(1, number - 1)) if number > 1 else None,
        outcome="failure" if failed else "success",
        code=draw(st.text("0123456789ABCDEFx@._-", min_size=1, max_size=32)) if failed else "",
        message=draw(words.filter(bool)) if failed else draw(words),
        bureau_time=draw(moments),
        lock_date=None if failed else draw(st.none() | days),
        next_period_start=None if failed else draw(st.none() | days),
        upload_deadline=None if failed else draw(st.none() | days),
        offline_hours=None if failed else draw(st.none() | st.integers(0, 99999)),
        offline_limits={}
        if failed
        else draw(st.dictionaries(st.text("0123456789", min_size=3, max_size=3), st.integers(0, MAX_FEN), max_size=6)),
    )


@st.composite
def acks(draw: st.DrawFn) -> Ack:
    """Return any valid clear receipt."""
    return Ack(
        name=draw(report_names()),
        card_no=draw(card_numbers),
        report_digest=ReportDigest(draw(hex32)),
        result_no=draw(numbers),
        result_sha256=draw(hex32),
        cleared_at=draw(moments),
        lock_date=draw(days),
    )


@given(results())
def test_a_result_is_read_as_it_was_written(result: Result) -> None:
    body = render_result(result)
    assert parse_result(body) == result
    assert render_result(parse_result(body)) == body


@given(acks())
def test_a_clear_receipt_is_read_as_it_was_written(ack: Ack) -> None:
    assert parse_ack(render_ack(ack)) == ack


EDITS = st.tuples(st.integers(0, 2000), st.integers(0, 3), st.text("0123456789: \r\n-报税成功失败\u200b", max_size=4))


@given(st.sampled_from([success(), failure()]), st.lists(EDITS, min_size=1, max_size=3))
def test_an_edited_result_is_the_one_spelling_of_something_or_refused(
    result: Result, edits: list[tuple[int, int, str]]
) -> None:
    text = render_result(result).decode()
    for at, removed, added in edits:
        at %= len(text)
        text = text[:at] + added + text[at + removed :]
    with suppress(ResultInvalid):
        assert render_result(parse_result(text.encode())) == text.encode()


@given(st.lists(EDITS, min_size=1, max_size=3))
def test_an_edited_clear_receipt_is_the_one_spelling_of_something_or_refused(edits: list[tuple[int, int, str]]) -> None:
    text = render_ack(ack_of(success())).decode()
    for at, removed, added in edits:
        at %= len(text)
        text = text[:at] + added + text[at + removed :]
    with suppress(AckInvalid):
        assert render_ack(parse_ack(text.encode())) == text.encode()


@given(st.binary(max_size=200))
def test_any_octets_are_refused_in_words(data: bytes) -> None:
    with suppress(ResultInvalid):
        parse_result(data)
    with suppress(AckInvalid):
        parse_ack(data)
