"""A report's content from what the card froze and what the ledger holds.

The two are counted independently. Where they differ, the bureau would answer 2715 after the journey; so they are
compared here, before anything is sealed (REP-30).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from offline_station.core.card_rules import CopyRecord
from offline_station.core.figures import FIGURE_FIELDS, WHOLE_KIND, Figures, Totals, figures_of
from shared.errors import DetailMismatch
from shared.model.report import COUNT_FIELDS, KIND_NAMES, Invoice, Trailer, render_row
from shared.money import format_fen, parse_fen
from shared.text import Text

_NAMES: Final[dict[str, Text]] = {
    "positive_count": Text("正数份数", "positive invoices"),
    "negative_count": Text("负数份数", "negative invoices"),
    "positive_void_count": Text("正数作废份数", "voided positive invoices"),
    "negative_void_count": Text("负数作废份数", "voided negative invoices"),
    "blank_void_count": Text("空白作废份数", "blank voided invoices"),
    "positive_amount": Text("正数金额", "positive amount"),
    "positive_tax": Text("正数税额", "positive tax"),
    "negative_amount": Text("负数金额", "negative amount"),
    "negative_tax": Text("负数税额", "negative tax"),
    "positive_void_amount": Text("正数作废金额", "voided positive amount"),
    "positive_void_tax": Text("正数作废税额", "voided positive tax"),
    "negative_void_amount": Text("负数作废金额", "voided negative amount"),
    "negative_void_tax": Text("负数作废税额", "voided negative tax"),
}
_NOTHING: Final = Figures()


def check_detail(copy: CopyRecord, detail: Totals) -> None:
    """Compare the detail with the figures that the card froze.

    Args:
        copy: The card's copy.
        detail: What the ledger's invoices of this copy add up to, by (kind, rate).

    Raises:
        DetailMismatch: Names the first kind that differs, the figure, and both numbers. Nothing was sealed.
    """
    summary = figures_of(copy.summaries, copy.rates)
    for kind, rate in sorted(set(summary) | set(detail)):
        theirs, ours = summary.get((kind, rate), _NOTHING), detail.get((kind, rate), _NOTHING)
        for name, said, found in zip(FIGURE_FIELDS, theirs.numbers, ours.numbers, strict=True):
            if said != found:
                what = _NAMES[name] if rate == WHOLE_KIND else _with_rate(_NAMES[name], rate)
                raise DetailMismatch(
                    kind=_kind_in_words(kind),
                    summary=_figure(what, name, said),
                    detail=_figure(what, name, found),
                    next_action=Text("执行 explain 2715 查看处理方法", "see explain 2715"),
                )


def _kind_in_words(kind: str) -> Text:
    name = KIND_NAMES.get(kind, Text("", ""))
    return Text(f"{kind} {name.zh}".strip(), f"{kind} {name.en}".strip())


def _with_rate(what: Text, rate: str) -> Text:
    return Text(f"税率 {rate} {what.zh}", f"{what.en} at rate {rate}")


def _figure(what: Text, name: str, value: int) -> Text:
    number = str(value) if name in COUNT_FIELDS else format_fen(value)
    return Text(f"{what.zh} {number}", f"{what.en} {number}")


def content_rows(
    copy: CopyRecord, invoices: Iterable[Invoice], *, watch: Callable[[int], None] | None = None
) -> Iterator[bytes]:
    """Return the canonical lines of a report after its content header: summaries, invoices, trailer.

    One pass, bounded memory; nothing is kept of an invoice but its sums.

    Args:
        copy: The card's copy, whose figures are the summary.
        invoices: The detail, in order.
        watch: Is told the number of invoices so far, now and then.

    Raises:
        DetailMismatch: The ledger gave another number of invoices than the card counted.
    """
    for summary in copy.summaries:
        yield render_row(summary)
    for rate in copy.rates:
        yield render_row(rate)
    count = lines = amount = tax = 0
    for invoice in invoices:
        count += 1
        lines += len(invoice.lines)
        if invoice.status in ("positive", "negative"):
            amount += parse_fen(invoice.amount)
            tax += parse_fen(invoice.tax)
        yield render_row(invoice)
        if watch is not None and count % 1000 == 0:
            watch(count)
    if count != copy.invoice_count:
        every = Text("全部票种", "all")
        raise DetailMismatch(
            kind=every,
            summary=copy.invoice_count,
            detail=count,
            next_action=Text("执行 explain 2715 查看处理方法", "see explain 2715"),
        )
    yield render_row(Trailer(invoices=count, lines=lines, amount=format_fen(amount), tax=format_fen(tax)))
