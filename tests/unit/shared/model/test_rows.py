"""The order and the sums of a report's rows, whatever a well-signed sender writes."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from shared.envelope.opening import read_signed_report
from shared.errors import ReportContentInvalid
from shared.model.report import ContentRow, Invoice, KindSummary, PublicHeader, RateSummary, Trailer, parse_row
from shared.model.rows import RowSequence
from tests.support.reports import invoice, rows, sealed


def header(count: int = 3) -> PublicHeader:
    data, _ = sealed(invoices=count)
    return read_signed_report(io.BytesIO(data)).header


def parsed(count: int = 3) -> list[ContentRow]:
    return [parse_row(line, number) for number, line in enumerate(rows(count), 2)]


def check(found: list[ContentRow], count: int = 3) -> None:
    sequence = RowSequence(header(count))
    for number, row in enumerate(found, 2):
        sequence.take(row, number)
    sequence.finish()


def changed(row: ContentRow, **values: object) -> ContentRow:
    return type(row).model_validate(row.model_dump() | values)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_that_add_up_pass(count: int) -> None:  # REP-25, REP-26, REP-27
    check(parsed(count), count)


def test_reds_and_voids_are_counted_apart() -> None:  # REP-21, REP-24, REP-27
    found = [
        invoice(1),
        invoice(2, fen=-4000, tax=-520, status="negative"),
        invoice(3, fen=7, tax=1, status="positive-void"),
        invoice(4, fen=-7, tax=-1, status="negative-void"),
        Invoice(
            kind="007",
            code="3100204130",
            number="00000005",
            day="2026-07-20",
            status="blank-void",
            amount="0.00",
            tax="0.00",
        ),
    ]
    sums = {
        "positive_amount": "100.00",
        "positive_tax": "13.00",
        "negative_amount": "-40.00",
        "negative_tax": "-5.20",
        "positive_void_amount": "0.07",
        "positive_void_tax": "0.01",
        "negative_void_amount": "-0.07",
        "negative_void_tax": "-0.01",
    }
    counts = dict.fromkeys(
        ("positive_count", "negative_count", "positive_void_count", "negative_void_count", "blank_void_count"), 1
    )
    summary = KindSummary(kind="007", opening=2, bought=10, returned=1, closing=6, **counts, **sums)
    rate = RateSummary(kind="007", rate="0.13", **sums)
    trailer = Trailer(invoices=5, lines=4, amount="60.00", tax="7.80")
    check([summary, rate, *found, trailer], 5)


SUMMARY, RATE, FIRST, SECOND, THIRD, LAST = range(6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda r: r[1:], "before the summary"),
        (lambda r: [r[RATE], r[SUMMARY], *r[2:]], "before the summary"),
        (lambda r: [r[SUMMARY], *r], "twice"),
        (lambda r: [*r[:2], r[RATE], *r[2:]], "twice"),
        (lambda r: [r[SUMMARY], *r[2:]], "over the rates"),
        (lambda r: [*r[:3], r[SUMMARY], *r[3:]], "after the first invoice"),
        (lambda r: [*r[:3], r[RATE], *r[3:]], "after the first invoice"),
        (lambda r: r[:-1], "trailer is missing"),
        (lambda r: [*r, r[LAST]], "after the trailer"),
        (lambda r: [*r[:-2], r[LAST], r[THIRD]], "number of invoices"),
        (lambda r: [*r[:-2], r[LAST]], "number of invoices"),
        (lambda r: [*r[:-1], r[THIRD], r[LAST]], "number of invoices"),
        (lambda r: [*r[:-2], changed(r[THIRD], kind="004"), r[LAST]], "no summary"),
        (lambda r: [*r[:-2], changed(r[THIRD], amount="100.01"), r[LAST]], "sum of amounts"),
        (lambda r: [*r[:-2], changed(r[THIRD], tax="13.01"), r[LAST]], "sum of tax"),
        (lambda r: [*r[:-2], changed(r[THIRD], lines=()), r[LAST]], "goods lines"),
        (lambda r: [*r[:-2], changed(r[THIRD], status="blank-void"), r[LAST]], "blank voided"),
        (lambda r: [*r[:-1], changed(r[LAST], amount="300.01")], "sum of amounts"),
        (lambda r: [changed(r[SUMMARY], closing=1), *r[1:]], "closing stock"),
        (lambda r: [changed(r[SUMMARY], positive_amount="300.01"), *r[1:]], "over the rates"),
        (lambda r: [r[SUMMARY], changed(r[RATE], positive_tax="39.01"), *r[2:]], "over the rates"),
        (lambda r: [changed(r[SUMMARY], bought=4, blank_void_count=1), *r[1:]], "blank_void_count"),
        (
            lambda r: [
                changed(r[SUMMARY], positive_amount="300.01"),
                changed(r[RATE], positive_amount="300.01"),
                *r[2:],
            ],
            "positive_amount of kind 007",
        ),
    ],
)  # fmt: skip
def test_rows_out_of_order_or_with_wrong_sums_are_refused(
    wrong: Callable[[list[ContentRow]], list[ContentRow]], words: str
) -> None:  # REP-21, REP-22, REP-23, REP-24, REP-25, REP-26, REP-27
    with pytest.raises(ReportContentInvalid) as caught:
        check(wrong(parsed()))
    assert words in caught.value.text.en


def test_the_header_counts_too() -> None:  # REP-26
    with pytest.raises(ReportContentInvalid, match="报告头"):
        check(parsed(3), 2)


def test_a_fault_names_its_line() -> None:
    with pytest.raises(ReportContentInvalid) as caught:
        check([*parsed()[:-1], parsed()[2], parsed()[-1]])
    assert caught.value.context["line"] == 8


@pytest.mark.parametrize(
    "line",
    [
        b'{"amount":"-0.00","invoices":0,"lines":0,"tax":"0.00","type":"trailer"}',
        b'{"amount":"0.0","invoices":0,"lines":0,"tax":"0.00","type":"trailer"}',
        b'{"amount":0.00,"invoices":0,"lines":0,"tax":"0.00","type":"trailer"}',
    ],
)
def test_amounts_in_another_spelling_are_refused(line: bytes) -> None:  # REP-11
    with pytest.raises(ReportContentInvalid):
        check([*parsed(0)[:-1], parse_row(line, 3)], 0)
