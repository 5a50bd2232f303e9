"""The order, the counts and the sums of a report's rows, checked while they stream by (REP-25 to REP-27).

One row at a time and with memory that does not grow with the invoices: whoever reads a report feeds every row and asks
at the end. Nothing here reads files or knows cryptography.
"""

from __future__ import annotations

from typing import Final

from shared.errors import ReportContentInvalid
from shared.model.report import (
    COUNT_FIELDS,
    SUM_FIELDS,
    ContentRow,
    Invoice,
    KindSummary,
    PublicHeader,
    RateSummary,
    Trailer,
)
from shared.money import format_fen, parse_fen
from shared.text import Text

# The field of a summary to which an invoice of a status belongs: its count, its amount, its tax.
_FIELDS: Final[dict[str, tuple[str, str, str]]] = {
    "positive": ("positive_count", "positive_amount", "positive_tax"),
    "negative": ("negative_count", "negative_amount", "negative_tax"),
    "positive-void": ("positive_void_count", "positive_void_amount", "positive_void_tax"),
    "negative-void": ("negative_void_count", "negative_void_amount", "negative_void_tax"),
    "blank-void": ("blank_void_count", "", ""),
}


class RowSequence:
    """Checks the rows of one report as they come.

    Order: summaries and rates (a rate after the summary of its kind), then invoices, then one trailer. A kind has one
    summary, a kind and rate one row; every invoice's kind has a summary.
    """

    def __init__(self, header: PublicHeader) -> None:
        """Expect the rows that go with a proven header."""
        self._header = header
        self._summaries: dict[str, KindSummary] = {}
        self._rates: dict[tuple[str, str], RateSummary] = {}
        self._read: dict[str, dict[str, int]] = {}
        self._invoices = 0
        self._lines = 0
        self._amount = 0
        self._tax = 0
        self._trailer: Trailer | None = None
        self._number = 1

    def take(self, row: ContentRow, number: int) -> None:
        """Check the next row.

        Args:
            row: As parsed.
            number: Its line number, for messages.

        Raises:
            ReportContentInvalid: It may not stand here, or a figure of it does not add up.
        """
        self._number = number
        if self._trailer is not None:
            raise self._fault(Text("结尾行之后还有内容", "a row after the trailer"))
        if isinstance(row, KindSummary | RateSummary) and self._invoices:
            raise self._fault(Text("汇总行应在发票之前", "a summary after the first invoice"))
        match row:
            case KindSummary():
                self._take_summary(row)
            case RateSummary():
                self._take_rate(row)
            case Invoice():
                self._take_invoice(row)
            case Trailer():
                self._take_trailer(row)

    def finish(self) -> None:
        """State that all rows came.

        Raises:
            ReportContentInvalid: The trailer is missing.
        """
        if self._trailer is None:
            raise self._fault(Text("缺少结尾行", "the trailer is missing"))

    def _take_summary(self, row: KindSummary) -> None:
        if row.kind in self._summaries:
            raise self._fault(Text(f"票种 {row.kind} 的汇总重复", f"kind {row.kind} is summed up twice"))
        if row.closing != row.opening + row.bought - row.returned - row.used:
            raise self._fault(
                Text(f"票种 {row.kind} 的期末库存不平", f"the closing stock of kind {row.kind} does not balance")
            )
        self._summaries[row.kind] = row
        self._read[row.kind] = dict.fromkeys((*COUNT_FIELDS, *SUM_FIELDS), 0)

    def _take_rate(self, row: RateSummary) -> None:
        if row.kind not in self._summaries:
            raise self._fault(Text("税率行之前没有该票种的汇总", "a rate before the summary of its kind"))
        if (row.kind, row.rate) in self._rates:
            raise self._fault(
                Text(f"票种 {row.kind} 税率 {row.rate} 重复", f"kind {row.kind} has rate {row.rate} twice")
            )
        self._rates[row.kind, row.rate] = row

    def _take_invoice(self, row: Invoice) -> None:
        if not self._invoices:
            self._check_rates()
        read = self._read.get(row.kind)
        if read is None:
            raise self._fault(
                Text(f"票种 {row.kind} 有发票而没有汇总", f"an invoice of kind {row.kind}, which has no summary")
            )
        amount, tax = self._fen(row.amount), self._fen(row.tax)
        count_field, amount_field, tax_field = _FIELDS[row.status]
        read[count_field] += 1
        if amount_field:
            read[amount_field] += amount
            read[tax_field] += tax
        elif amount or tax or row.lines:
            raise self._fault(Text("空白废票不应有金额", "a blank voided invoice with amounts or lines"))
        if row.status in ("positive", "negative"):
            self._amount += amount
            self._tax += tax
        self._invoices += 1
        self._lines += len(row.lines)

    def _take_trailer(self, row: Trailer) -> None:
        if not self._invoices:
            self._check_rates()
        self._same(Text("发票张数", "the number of invoices"), row.invoices, self._invoices)
        self._same(
            Text("报告头中的发票张数", "the header's number of invoices"), self._header.invoice_count, row.invoices
        )
        self._same(Text("明细行数", "the number of goods lines"), row.lines, self._lines)
        self._same_fen(Text("金额合计", "the sum of amounts"), self._fen(row.amount), self._amount)
        self._same_fen(Text("税额合计", "the sum of tax"), self._fen(row.tax), self._tax)
        for kind, summary in self._summaries.items():
            read = self._read[kind]
            for name in COUNT_FIELDS:
                self._same(Text(f"票种 {kind} 的 {name}", f"{name} of kind {kind}"), getattr(summary, name), read[name])
            for name in SUM_FIELDS:
                said = self._fen(getattr(summary, name))
                self._same_fen(Text(f"票种 {kind} 的 {name}", f"{name} of kind {kind}"), said, read[name])
        self._trailer = row

    def _check_rates(self) -> None:
        """Check that the rates of each kind add up to its summary; a kind without business has no rates."""
        for kind, summary in self._summaries.items():
            rows = [row for (of, _), row in self._rates.items() if of == kind]
            for name in SUM_FIELDS:
                total = sum(self._fen(getattr(row, name)) for row in rows)
                what = Text(f"票种 {kind} 各税率的 {name}", f"{name} over the rates of kind {kind}")
                self._same_fen(what, self._fen(getattr(summary, name)), total)

    def _fen(self, text: str) -> int:
        try:
            return parse_fen(text)
        except ValueError:
            raise self._fault(Text("金额写法无效", "an amount in an invalid spelling")) from None

    def _same(self, what: Text, said: int, read: int) -> None:
        if said != read:
            raise self._fault(
                Text(f"{what.zh}不符：写明 {said}，实际 {read}", f"{what.en} is {read}, and {said} is stated")
            )

    def _same_fen(self, what: Text, said: int, read: int) -> None:
        if said != read:
            stated, found = format_fen(said), _format_any(read)
            raise self._fault(
                Text(f"{what.zh}不符：写明 {stated}，实际 {found}", f"{what.en} is {found}, and {stated} is stated")
            )

    def _fault(self, reason: Text) -> ReportContentInvalid:
        return ReportContentInvalid(line=self._number, reason=reason)


def _format_any(fen: int) -> str:
    try:
        return format_fen(fen)
    except ValueError:
        return f"{fen} fen"
