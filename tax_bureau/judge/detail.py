"""Reading a report's content once, and comparing its detail with the card's summary on the way (REP-25 to REP-27).

Bounded memory: what is kept is per invoice kind and per rate, never per invoice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.errors import ReportContentInvalid
from shared.model.report import (
    COUNT_FIELDS,
    KIND_NAMES,
    SUM_FIELDS,
    ContentRow,
    Invoice,
    InvoiceStatus,
    KindSummary,
    PublicHeader,
    RateSummary,
    Trailer,
    parse_row,
)
from shared.money import MAX_FEN, format_fen, parse_fen
from shared.text import Text
from tax_bureau.judge.facts import Figures

_FIELDS_OF_STATUS: Final[Mapping[InvoiceStatus, tuple[str, str, str]]] = {
    "positive": ("positive_count", "positive_amount", "positive_tax"),
    "negative": ("negative_count", "negative_amount", "negative_tax"),
    "positive-void": ("positive_void_count", "positive_void_amount", "positive_void_tax"),
    "negative-void": ("negative_void_count", "negative_void_amount", "negative_void_tax"),
    "blank-void": ("blank_void_count", "", ""),
}
_FIELD_NAMES: Final[Mapping[str, str]] = {
    "positive_count": "正数份数",
    "negative_count": "负数份数",
    "positive_void_count": "正废份数",
    "negative_void_count": "负废份数",
    "blank_void_count": "空白废份数",
    "positive_amount": "正数金额",
    "positive_tax": "正数税额",
    "negative_amount": "负数金额",
    "negative_tax": "负数税额",
    "positive_void_amount": "正废金额",
    "positive_void_tax": "正废税额",
    "negative_void_amount": "负废金额",
    "negative_void_tax": "负废税额",
}


MAX_RATES: Final = 200
"""Pairs of kind and rate in one report. A real one has some dozens; a hostile one must not fill the memory."""
_MAX_DIFFERENCES: Final = 50


@dataclass(frozen=True)
class Reading:
    """What one pass over the content gave.

    Attributes:
        collected: Sales per invoice kind by the card's summary, voids left out.
        differences: Where detail and summary disagree.
    """

    collected: Mapping[str, Figures]
    differences: tuple[str, ...]


class _Sums(defaultdict[str, int]):
    """Fields of a summary row, added up from invoices."""

    def __init__(self) -> None:
        super().__init__(int)

    def add(self, field: str, value: int) -> None:
        self[field] += value


def read_content(header: PublicHeader, rows: Iterable[tuple[int, bytes]]) -> Reading:
    """Read all lines after the content header and compare detail with summary.

    Args:
        header: The proven public header.
        rows: Line numbers and canonical lines.

    Raises:
        ReportContentInvalid: A line that is no row, rows in another order than the specification's, or two summaries
            of one kind or rate.
    """
    summaries: dict[str, KindSummary] = {}
    rates: dict[tuple[str, str], RateSummary] = {}
    by_kind: defaultdict[str, _Sums] = defaultdict(_Sums)
    by_rate: defaultdict[tuple[str, str], _Sums] = defaultdict(_Sums)
    unlined: set[str] = set()
    outside = ""
    invoices = lines = amount = tax = 0
    trailer: Trailer | None = None
    number = 1
    for number, line in rows:
        row = _row(line, number)
        if trailer is not None:
            raise ReportContentInvalid(line=number, reason=Text("结尾行之后还有内容", "a row after the trailer"))
        if isinstance(row, KindSummary | RateSummary):
            if invoices:
                raise ReportContentInvalid(line=number, reason=Text("汇总行在发票之后", "a summary after invoices"))
            _take_summary(row, number, summaries, rates)
        elif isinstance(row, Invoice):
            invoices += 1
            lines += len(row.lines)
            _, amount_field, _ = _FIELDS_OF_STATUS[row.status]
            _add_invoice(row, by_kind[row.kind])
            if row.lines:
                _add_lines(row, by_rate)
                if len(by_rate) > MAX_RATES:
                    raise _too_many_rates(number)
            elif amount_field:
                unlined.add(row.kind)  # its list had sums only
            if row.status in ("positive", "negative"):
                amount += parse_fen(row.amount)
                tax += parse_fen(row.tax)
            if not outside and header.kind == "period" and not header.period_start <= row.day <= header.period_end:
                outside = f"发票{row.key}的开票日期{row.day}不在所属期内"
        else:
            trailer = row
    if trailer is None:
        raise ReportContentInvalid(line=number, reason=Text("没有结尾行", "there is no trailer"))
    found = [*_totals_that_differ(summaries, by_kind)]
    for kind in sorted({*summaries, *by_kind}):
        _compare_kind(kind, summaries.get(kind), by_kind[kind], found)
        _compare_rates(kind, summaries.get(kind), rates, by_rate, kind in unlined, found)
    if outside:
        found.append(outside)
    _compare(found, "", "发票总份数", header.invoice_count, invoices, counts=True)
    _compare(found, "", "结尾发票份数", trailer.invoices, invoices, counts=True)
    _compare(found, "", "结尾明细行数", trailer.lines, lines, counts=True)
    _compare(found, "", "结尾金额合计", parse_fen(trailer.amount), amount)
    _compare(found, "", "结尾税额合计", parse_fen(trailer.tax), tax)
    collected = {
        kind: Figures(
            parse_fen(row.positive_amount) + parse_fen(row.negative_amount),
            parse_fen(row.positive_tax) + parse_fen(row.negative_tax),
        )
        for kind, row in summaries.items()
    }
    return Reading(collected, tuple(found))


def _row(line: bytes, number: int) -> ContentRow:
    row = parse_row(line, number)
    amounts: list[str] = []
    if isinstance(row, Invoice | Trailer):
        amounts += (row.amount, row.tax)
    if isinstance(row, Invoice):
        amounts += (amount for each in row.lines for amount in (each.amount, each.tax))
    if "-0.00" in amounts:
        raise ReportContentInvalid(line=number, reason=Text("金额写法无效", "an amount in an invalid spelling"))
    return row


def _take_summary(
    row: KindSummary | RateSummary,
    number: int,
    summaries: dict[str, KindSummary],
    rates: dict[tuple[str, str], RateSummary],
) -> None:
    if isinstance(row, KindSummary):
        known = row.kind in summaries
        summaries[row.kind] = row
    else:
        known = (row.kind, row.rate) in rates
        rates[row.kind, row.rate] = row
    if known:
        raise ReportContentInvalid(line=number, reason=Text("汇总行重复", "a summary stands twice"))
    if len(rates) > MAX_RATES:
        raise _too_many_rates(number)


def _too_many_rates(number: int) -> ReportContentInvalid:
    return ReportContentInvalid(line=number, reason=Text("税率种类过多", f"more than {MAX_RATES} kinds and rates"))


def _add_invoice(invoice: Invoice, sums: _Sums) -> None:
    count_field, amount_field, tax_field = _FIELDS_OF_STATUS[invoice.status]
    sums.add(count_field, 1)
    if amount_field:
        sums.add(amount_field, parse_fen(invoice.amount))
        sums.add(tax_field, parse_fen(invoice.tax))


def _add_lines(invoice: Invoice, by_rate: defaultdict[tuple[str, str], _Sums]) -> None:
    _, amount_field, tax_field = _FIELDS_OF_STATUS[invoice.status]
    if not amount_field:
        return
    for line in invoice.lines:
        sums = by_rate[invoice.kind, line.rate]
        sums.add(amount_field, parse_fen(line.amount))
        sums.add(tax_field, parse_fen(line.tax))


def _totals_that_differ(summaries: Mapping[str, KindSummary], by_kind: Mapping[str, _Sums]) -> Iterator[str]:
    """Say of each kind what a person asks first: how many invoices and how much money, here and there."""
    for kind in sorted({*summaries, *by_kind}):
        summary, detail = summaries.get(kind), by_kind.get(kind, _Sums())
        if summary is None:
            continue  # said below: there is nothing to hold the detail against
        said = (
            summary.used,
            parse_fen(summary.positive_amount) + parse_fen(summary.negative_amount),
            parse_fen(summary.positive_tax) + parse_fen(summary.negative_tax),
        )
        seen = (
            sum(detail[field] for field in COUNT_FIELDS),
            detail["positive_amount"] + detail["negative_amount"],
            detail["positive_tax"] + detail["negative_tax"],
        )
        if said != seen:
            yield f"{KIND_NAMES[kind].zh}({kind})汇总{_figures_text(said)}≠明细{_figures_text(seen)}"


def _figures_text(figures: tuple[int, int, int]) -> str:
    count, amount, tax = figures
    return f"{count}份金额{_money(amount)}税额{_money(tax)}"


def _compare_kind(kind: str, summary: KindSummary | None, detail: _Sums, found: list[str]) -> None:
    where = f"{KIND_NAMES[kind].zh}({kind})"
    if summary is None:
        found.append(f"{where}有明细而没有汇总")
        return
    for field in COUNT_FIELDS:
        _compare(found, where, _FIELD_NAMES[field], getattr(summary, field), detail[field], counts=True)
    for field in SUM_FIELDS:
        _compare(found, where, _FIELD_NAMES[field], parse_fen(getattr(summary, field)), detail[field])
    closing = summary.opening + summary.bought - summary.returned - summary.used
    _compare(found, where, "期末库存", summary.closing, closing, counts=True)


def _compare_rates(
    kind: str,
    summary: KindSummary | None,
    rates: Mapping[tuple[str, str], RateSummary],
    by_rate: Mapping[tuple[str, str], _Sums],
    unlined: bool,
    found: list[str],
) -> None:
    """Compare the rates of a kind with the kind and with the lines of its invoices.

    Invoices whose list had no goods lines have sums but no rates; where a kind has such invoices, its rates are
    compared with the kind's summary only.
    """
    if summary is None:
        return
    where = f"{KIND_NAMES[kind].zh}({kind})"
    of_kind = {rate: row for (k, rate), row in rates.items() if k == kind}
    for field in SUM_FIELDS:
        total = sum(parse_fen(getattr(row, field)) for row in of_kind.values())
        _compare(found, where, f"各税率{_FIELD_NAMES[field]}合计", parse_fen(getattr(summary, field)), total)
    if unlined:
        return
    for rate in sorted({*of_kind, *(r for k, r in by_rate if k == kind)}):
        summary_row, detail = of_kind.get(rate), by_rate.get((kind, rate), _Sums())
        for field in SUM_FIELDS:
            said = parse_fen(getattr(summary_row, field)) if summary_row else 0
            _compare(found, where, f"税率{rate}{_FIELD_NAMES[field]}", said, detail[field])


def _compare(found: list[str], where: str, what: str, summary: int, detail: int, *, counts: bool = False) -> None:
    if summary == detail or len(found) >= _MAX_DIFFERENCES:
        return
    said, seen = (str(summary), str(detail)) if counts else (_money(summary), _money(detail))
    found.append(f"{where}{what}汇总{said}≠明细{seen}")


def _money(fen: int) -> str:
    return format_fen(fen) if abs(fen) <= MAX_FEN else f"{fen}分"
