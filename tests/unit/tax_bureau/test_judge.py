"""The checks one by one (JUDGE-1 to JUDGE-9), their order (JUDGE-10), and the comparison of detail with summary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from shared.errors import ReportContentInvalid
from shared.faults.catalogue import find
from shared.model.report import Invoice, KindSummary, PublicHeader, RateSummary, Trailer, render_row
from tax_bureau.judge import detail_equals_summary, machines_complete
from tax_bureau.judge.detail import MAX_RATES, read_content
from tax_bureau.judge.facts import CardOnFile, Declaration, Examination, Facts, Figures
from tax_bureau.judge.order import CHECKS, judge
from tests.support.reports import invoice, rows

HEADER = PublicHeader(
    format="taxferry-report/1",
    suite="p256-sha256-aes256gcm",
    taxpayer_id="310100000000000",
    machine_no=0,
    stamp="202608010000",
    kind="period",
    period_start="2026-07-01",
    period_end="2026-07-31",
    card_no="660000000001",
    sequence=7,
    nonce="ab" * 16,
    invoice_count=3,
    content_sha256="0" * 64,
    content_bytes=1000,
)
CARD = CardOnFile("660000000001", "310100000000000", 0, "f" * 64, date(2026, 8, 17))
GOOD = Facts(
    header=HEADER,
    signer="f" * 64,
    signed_on=date(2026, 8, 5),
    enrolled=True,
    card=CARD,
    examination=Examination(collected={"007": Figures(30000, 3900)}),
    declaration=Declaration(figures={"007": Figures(30000, 3900)}),
    expected=frozenset({0, 1}),
    reported=frozenset({0, 1}),
    collected={"007": Figures(30000, 3900)},
)
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "enrolled": ("2735", {"enrolled": False}),
    "card_known": ("2734", {"card": None}),
    "envelope_opened": ("2734", {"examination": Examination(fault="envelope", reason="不是用本税局当前公钥加密的")}),
    "lock_date": ("LOCKED", {"card": replace(CARD, lock_date=date(2026, 8, 4))}),
    "content_readable": ("B1103", {"examination": Examination(fault="content", reason="第 2 行", code="B1103")}),
    "detail_equals_summary": ("2715", {"examination": Examination(differences=("正数份数汇总3≠明细2",))}),
    "declared": ("271D", {"declaration": None}),
    "machines_complete": ("272C", {"reported": frozenset({0})}),
    "cross_check": ("271D", {"collected": {"007": Figures(40000, 5200)}}),
}


def test_nothing_found_is_a_success() -> None:
    assert judge(GOOD) is None


@pytest.mark.parametrize("name", FAULTS)
def test_each_check_finds_its_own_fault_only(name: str) -> None:
    code, changes = FAULTS[name]
    facts = replace(GOOD, **changes)
    found = judge(facts)
    assert found is not None
    assert (found[0], found[1].code) == (name, code)
    assert "\n" not in found[1].message
    assert 0 < len(found[1].message) <= 200


def test_order_is_the_fields() -> None:
    """Whatever else is wrong besides, the earlier fault is the one that is answered (JUDGE-10)."""
    assert [name for name, _ in CHECKS] == list(FAULTS)
    names = list(FAULTS)
    for position, name in enumerate(names):
        for later in names[position + 1 :]:
            if set(FAULTS[name][1]) & set(FAULTS[later][1]):
                continue  # both are said by the same fact, which can have one value only
            found = judge(replace(GOOD, **FAULTS[later][1], **FAULTS[name][1]))
            assert found is not None
            assert found[0] == name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("enrolled", "2735"),
        ("card_known", "2734-signature"),
        ("envelope_opened", "2734-envelope"),
        ("lock_date", "locked"),
        ("detail_equals_summary", "2715-wrong-files"),
        ("declared", "271D-undeclared"),
        ("machines_complete", "272C"),
        ("cross_check", "271D-mismatch"),
    ],
)
def test_catalogue_knows_the_cause_from_what_is_said(name: str, key: str) -> None:
    """Two causes share 271D, two share 2734: the words must tell them apart for whoever reads the result."""
    found = judge(replace(GOOD, **FAULTS[name][1]))
    assert found is not None
    assert find(found[1].code, found[1].message).key == key


@pytest.mark.parametrize(
    "card",
    [
        None,
        replace(CARD, taxpayer_id="310100000000001"),
        replace(CARD, machine_no=1),
        replace(CARD, withdrawn=True),
        replace(CARD, fingerprint="e" * 64),
    ],
    ids=["unknown", "another taxpayer's", "another machine's", "withdrawn", "another certificate"],
)
def test_only_the_registered_card_of_that_machine_is_known(card: CardOnFile | None) -> None:
    found = judge(replace(GOOD, card=card))
    assert found is not None
    assert (found[0], found[1].field_code) == ("card_known", "0x8204000D")


@pytest.mark.parametrize(
    ("signed_on", "stamp", "locked"),
    [
        (date(2026, 8, 17), "202608010000", False),
        (date(2026, 8, 18), "202608010000", True),
        (date(2026, 8, 1), "202609010000", True),
        (date(2026, 8, 1), "202608010000", False),
    ],
)
def test_lock_date_counts_copy_and_signature(signed_on: date, stamp: str, locked: bool) -> None:
    period = ("2026-07-01", "2026-07-31") if stamp.startswith("202608") else ("2026-08-01", "2026-08-31")
    header = HEADER.model_copy(update={"stamp": stamp, "period_start": period[0], "period_end": period[1]})
    found = judge(replace(GOOD, header=header, signed_on=signed_on))
    assert (found is not None and found[0] == "lock_date") is locked


def test_adhoc_report_is_judged_by_itself() -> None:
    header = HEADER.model_copy(update={"kind": "adhoc", "stamp": "202608050808", "period_end": "2026-08-05"})
    facts = replace(GOOD, header=header, declaration=None, reported=frozenset({0}), collected={"004": Figures(1, 1)})
    assert judge(facts) is None


@pytest.mark.parametrize(
    ("kind", "declared", "collected", "passes"),
    [
        ("004", 100000, 100000, True),
        ("004", 101000, 100000, True),
        ("004", 99000, 100000, True),
        ("004", 101001, 100000, False),
        ("004", 98999, 100000, False),
        ("028", 0, 100000, False),
        ("005", 200000, 100000, False),
        ("007", 900000, 100000, True),
        ("007", 99000, 100000, True),
        ("007", 98999, 100000, False),
        ("026", 0, -100000, True),
        ("004", 0, -100000, False),
    ],
)
def test_special_kinds_must_be_equal_and_ordinary_ones_covered(
    kind: str, declared: int, collected: int, passes: bool
) -> None:
    for figures in ((declared, 0, collected, 0), (0, declared, 0, collected)):
        facts = replace(
            GOOD,
            declaration=Declaration(figures={kind: Figures(figures[0], figures[1])}),
            collected={kind: Figures(figures[2], figures[3])},
        )
        assert (judge(facts) is None) is passes


def test_kind_that_was_declared_but_not_reported_is_compared_too() -> None:
    facts = replace(GOOD, declaration=Declaration(figures={"007": Figures(30000, 3900), "004": Figures(100000, 13000)}))
    found = judge(facts)
    assert found is not None
    assert "增值税专用发票(004)销售额申报1000.00≠抄报0.00" in found[1].message


def test_matching_declaration_is_always_equal() -> None:
    assert judge(replace(GOOD, declaration=Declaration(matching=True), collected={"004": Figures(1, 1)})) is None


@pytest.mark.parametrize(
    ("registered", "subs", "expected"),
    [
        ([0], 0, {0}),
        ([0, 1], 1, {0, 1}),
        ([0], 2, {0, 1, 2}),
        ([0, 7], 2, {0, 1, 7}),
        ([0, 7, 9], 2, {0, 7, 9}),
        ([0, 1, 2], 1, {0, 1}),
        ([3, 4], None, {3, 4}),
        ([], None, set()),
    ],
)
def test_expected_machines_are_the_main_card_and_its_subs(
    registered: list[int], subs: int | None, expected: set[int]
) -> None:
    assert machines_complete.expected(registered, subs) == expected


def test_missing_machines_are_named() -> None:
    facts = replace(GOOD, expected=frozenset(range(30)), reported=frozenset({5}))
    found = judge(facts)
    assert found is not None
    assert "主机、1号分机" in found[1].message
    assert "等29台" in found[1].message
    assert "已报1台，应报30台" in found[1].message


# --- detail and summary --------------------------------------------------------------------------------------------


def read(lines: Iterable[bytes], invoices: int = 3) -> tuple[str, ...]:
    header = HEADER.model_copy(update={"invoice_count": invoices})
    return read_content(header, enumerate(lines, start=2)).differences


def changed(**changes: Any) -> Iterator[bytes]:
    """Yield three right invoices under a summary with changed figures."""
    first, *rest = rows(3)
    summary = KindSummary.model_validate_json(first)
    yield render_row(summary.model_copy(update=changes))
    yield from rest


def test_equal_detail_and_summary_give_the_cards_figures() -> None:
    reading = read_content(HEADER, enumerate(rows(3), start=2))
    assert reading.differences == ()
    assert reading.collected == {"007": Figures(30000, 3900)}


def test_red_invoices_reduce_and_voids_do_not_count() -> None:
    summary = KindSummary(
        kind="007",
        opening=10,
        bought=0,
        returned=0,
        closing=7,
        positive_count=1,
        negative_count=1,
        positive_void_count=1,
        negative_void_count=0,
        blank_void_count=0,
        positive_amount="100.00",
        positive_tax="13.00",
        negative_amount="-30.00",
        negative_tax="-3.90",
        positive_void_amount="50.00",
        positive_void_tax="6.50",
        negative_void_amount="0.00",
        negative_void_tax="0.00",
    )
    sums = summary.model_dump(include=set(RateSummary.model_fields) - {"type", "rate"})
    lines = [
        render_row(summary),
        render_row(RateSummary(rate="0.13", **sums)),
        render_row(invoice(1)),
        render_row(invoice(2, fen=-3000, tax=-390, status="negative")),
        render_row(invoice(3, fen=5000, tax=650, status="positive-void")),
        render_row(Trailer(invoices=3, lines=3, amount="70.00", tax="9.10")),
    ]
    reading = read_content(HEADER, enumerate(lines, start=2))
    assert reading.differences == ()
    assert reading.collected == {"007": Figures(7000, 910)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"positive_count": 4, "bought": 4}, "正数份数汇总4≠明细3"),
        ({"positive_amount": "300.01"}, "正数金额汇总300.01≠明细300.00"),
        ({"positive_tax": "38.99"}, "正数税额汇总38.99≠明细39.00"),
        ({"negative_amount": "-1.00"}, "负数金额汇总-1.00≠明细0.00"),
        ({"blank_void_count": 1, "bought": 4}, "空白废份数汇总1≠明细0"),
        ({"closing": 1}, "期末库存汇总1≠明细0"),
        ({"kind": "004"}, "增值税普通发票(007)有明细而没有汇总"),
    ],
)
def test_each_difference_is_named_with_both_numbers(changes: dict[str, Any], words: str) -> None:
    assert words in "；".join(read(changed(**changes)))


def test_what_differs_is_said_first_with_both_counts_and_amounts_of_the_kind() -> None:  # JUDGE-6
    lines = list(rows(3))
    first, *more = read([*lines[:2], *lines[3:]])
    assert first == "增值税普通发票(007)汇总3份金额300.00税额39.00≠明细2份金额200.00税额26.00"
    assert more
    found = detail_equals_summary.check(replace(GOOD, examination=Examination(differences=(first, *more))))
    assert found is not None
    assert first in found.message
    assert read(changed(closing=1))[0] == "增值税普通发票(007)期末库存汇总1≠明细0", "equal totals are not repeated"


def test_invoice_that_is_missing_or_altered_or_of_another_month_is_found() -> None:
    lines = list(rows(3))
    assert "正数份数汇总3≠明细2" in "；".join(read([*lines[:2], *lines[3:]]))
    altered = lines[2].replace(b'"amount":"100.00"', b'"amount":"100.01"', 1)
    assert "≠" in "；".join(read([*lines[:2], altered, *lines[3:]]))
    moved = lines[2].replace(b"2026-07-18", b"2026-08-01")
    assert "不在所属期内" in "；".join(read([*lines[:2], moved, *lines[3:]]))


def test_lines_at_another_rate_than_summed_up_are_found() -> None:
    lines = [line.replace(b'"rate":"0.13"', b'"rate":"0.06"') if b'"invoice"' in line else line for line in rows(3)]
    found = "；".join(read(lines))
    assert "税率0.06正数金额汇总0.00≠明细300.00" in found


def test_invoices_without_goods_lines_are_compared_by_kind() -> None:
    lines = []
    for line in rows(3):
        if b'"type":"invoice"' in line:
            line = render_row(invoice(len(lines)).model_copy(update={"lines": ()}))
        lines.append(line.replace(b'"lines":3', b'"lines":0'))
    assert read(lines) == ()


def test_header_and_trailer_are_held_to_their_numbers() -> None:
    assert "发票总份数汇总4≠明细3" in "；".join(read(rows(3), invoices=4))
    lines = list(rows(3))
    trailer = render_row(Trailer(invoices=2, lines=9, amount="1.00", tax="0.00"))
    found = "；".join(read([*lines[:-1], trailer]))
    for words in ("结尾发票份数", "结尾明细行数", "结尾金额合计", "结尾税额合计"):
        assert words in found


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r[:-1],
        lambda r: [*r, r[-1]],
        lambda r: [r[0], r[0], *r[1:]],
        lambda r: [r[0], r[1], r[1], *r[2:]],
        lambda r: [*r[2:-1], r[0], r[1], r[-1]],
        lambda r: [*r[:2], b"{}", *r[2:]],
        lambda r: [*r[:2], b"\xff", *r[2:]],
        lambda r: [*r[:2], r[2].replace(b'"amount":"100.00"', b'"amount":"-0.00"'), *r[3:]],
        lambda r: [*r[:2], r[2].replace(b'"status":"positive"', b'"status":"blank-void"'), *r[3:]],
        lambda r: [],
    ],
    ids=[
        "no trailer",
        "two trailers",
        "two summaries",
        "two rates",
        "summary late",
        "no type",
        "not UTF-8",
        "-0.00",
        "blank",
        "nothing",
    ],
)
def test_content_against_the_specification_is_an_error_with_its_line(spoil: Any) -> None:
    with pytest.raises(ReportContentInvalid) as caught:
        read(spoil(list(rows(3))))
    assert isinstance(caught.value.context["line"], int)


def test_number_of_rates_is_bounded() -> None:
    first, rate, *rest = rows(3)
    model = RateSummary.model_validate_json(rate)
    many = (render_row(model.model_copy(update={"rate": f"0.{n:06d}"})) for n in range(1, MAX_RATES + 2))
    with pytest.raises(ReportContentInvalid):
        read([first, *many, *rest])

    def invoices() -> Iterator[bytes]:
        yield first
        for number in range(MAX_RATES + 2):
            one = invoice(number)
            line = one.lines[0].model_copy(update={"rate": f"0.{number + 1:06d}"})
            yield render_row(Invoice.model_validate({**one.model_dump(), "lines": (line,)}))

    with pytest.raises(ReportContentInvalid):
        read(invoices())
