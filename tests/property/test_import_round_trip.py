"""Whatever a shop sells, every shape of list gives back exactly that, and the card hears the same figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_station.core.figures import WHOLE_KIND, add_totals
from shared.money import parse_fen
from tests.support import workbooks as lists
from tests.support.ledger import JANUARY, ORDINARY, Desk, scratch_folder
from tests.support.workbooks import Line, Sale, fen_of_tax

# Anything a person can print, without what spreadsheets and line formats use as marks.
NAMES = st.text(
    st.characters(
        codec="gb18030",
        exclude_categories=("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"),
        exclude_characters="~'\"=<>",
    ),
    min_size=1,
    max_size=30,
).filter(lambda text: "详见" not in text)
RATES = st.sampled_from(["0.17", "0.13", "0.09", "0.06", "0.03", "0.015", "0.01", "exempt", "untaxed"])


@st.composite
def goods(draw: st.DrawFn) -> Line:
    rate = draw(RATES)
    amount = draw(st.integers(1, 10**11))
    return Line(
        draw(NAMES),
        amount,
        fen_of_tax(amount, rate) if rate != "0.015" else amount // 70,
        rate,
        draw(st.sampled_from(["", "1", "2.5", "0.000000000000000001"])),
        draw(st.sampled_from(["", "10", "33.333333333333333333"])),
    )


@st.composite
def shops(draw: st.DrawFn) -> Sequence[Sale]:
    sales = []
    for number in draw(st.lists(st.integers(1, 99_999_999), min_size=1, max_size=8, unique=True)):
        lines = draw(st.lists(goods(), min_size=1, max_size=4))
        if draw(st.booleans()):
            discount = draw(st.integers(0, lines[-1].amount - 1))
            lines += [Line(lines[-1].name, -discount, -fen_of_tax(discount, lines[-1].rate), lines[-1].rate)] * bool(
                discount
            )
        sale = Sale(
            f"{number:08d}",
            JANUARY[0] + timedelta(days=draw(st.integers(0, 30))),
            tuple(lines),
            code=ORDINARY,
            buyer=draw(NAMES),
            buyer_id=draw(st.sampled_from(["", "913300001428571423", "000000000000000", "31010019900101001X"])),
            void=draw(st.booleans()),
        )
        if sale.amount > 0 and draw(st.booleans()):
            red = lists.red_of(sale, sale.number, sale.day)
            sale = red
        sales.append(sale)
    return sales


Writer = Callable[[Path, Sequence[Sale]], Path]
WRITERS: dict[str, Writer] = {
    "xlsx": lambda path, sales: lists.golden_tax_xlsx(path, [("普通发票", sales)], JANUARY),
    "xls": lambda path, sales: lists.write_xls(
        path, [("s", lists.official_rows([("普通发票", sales)], JANUARY, headings=lists.OFFICIAL_B))]
    ),
    "full-query": lambda path, sales: lists.full_query_xlsx(path, sales, kind_words="增值税普通发票"),
    "kp-xml": lambda path, sales: lists.kp_xml(path, sales, "普通发票", encoding="gb18030"),
    "csv": lists.csv_list,
}


# Making workbooks is slow, and each of these examples is a whole shop.
HALF = settings(max_examples=settings().max_examples // 2)


@HALF
@pytest.mark.parametrize("shape", sorted(WRITERS))
@given(sales=shops())
def test_every_shape_gives_back_what_was_sold(shape: str, sales: Sequence[Sale]) -> None:
    with scratch_folder() as path:
        desk = Desk(path)
        report = desk.take(WRITERS[shape](path / "list", sales))
        assert [p.in_words.zh for p in report.problems] == []
        assert report.invoices == len(sales)
        found = {invoice.number: invoice for invoice in desk.ledger.each_invoice()}
        for sale in sales:
            invoice = found[sale.number]
            assert (parse_fen(invoice.amount), parse_fen(invoice.tax)) == (sale.amount, sale.tax)
            assert invoice.status == ("negative" if sale.amount < 0 else "positive") + ("-void" if sale.void else "")
            assert (invoice.day, invoice.buyer_name, invoice.buyer_id) == (
                sale.day.isoformat(),
                sale.buyer,
                sale.buyer_id,
            )
            assert [(line.name, parse_fen(line.amount), line.rate) for line in invoice.lines] == [
                (line.name, line.amount, line.rate) for line in sale.lines
            ]
        summary = desk.ledger.summary("2019-01")
        assert summary["007", WHOLE_KIND].used == len(sales)
        assert {k: v for k, v in add_totals(*(b.totals() for b in desk.batches.values())).items() if v} == summary
        assert desk.take(path / "list").skipped == len(sales)


@HALF
@given(sales=shops(), voided=st.data())
def test_voids_that_arrive_later_leave_card_and_ledger_equal(sales: Sequence[Sale], voided: st.DataObject) -> None:
    with scratch_folder() as path:
        desk = Desk(path)
        standing = [replace(sale, void=False) for sale in sales]
        desk.take(lists.csv_list(path / "a.csv", standing))
        chosen = [replace(sale, void=voided.draw(st.booleans())) for sale in standing]
        report = desk.take(lists.csv_list(path / "b.csv", chosen))
        assert report.voided == sum(sale.void for sale in chosen)
        told = {k: v for k, v in add_totals(*(b.totals() for b in desk.batches.values())).items() if v}
        assert told == desk.ledger.summary()
        desk.ledger.freeze("c", kind="adhoc", period_start=JANUARY[0], period_end=date(2019, 2, 1))
        assert desk.ledger.detail_totals("c") == told
