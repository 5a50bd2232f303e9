"""Invoices as a table for people and other programs: .csv or .xlsx, one row for a line.

Numbers that identify something are written as text, so that no spreadsheet shortens them; a text that a spreadsheet
would take for a formula is marked as text. What is written here can be imported again.
"""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

from offline_station.ledger.cells import EXEMPT, MARGIN, UNTAXED, ZERO
from shared.durable import publish, temporary_beside
from shared.errors import ConfigurationError, StorageFull
from shared.model.report import KIND_NAMES, Invoice, InvoiceLine
from shared.text import Text
from shared.text.system import os_reason

HEADINGS: Final = (
    "数电号码",
    "发票代码",
    "发票号码",
    "发票票种",
    "发票状态",
    "是否正数发票",
    "开票日期",
    "购方名称",
    "购方税号",
    "商品名称",
    "规格型号",
    "单位",
    "数量",
    "单价",
    "金额",
    "税率",
    "税额",
    "税收分类编码",
    "备注",
    "原发票代码",
    "原发票号码",
)
ROWS_PER_SHEET: Final = 1_000_000
_RATES: Final = {EXEMPT: "免税", UNTAXED: "不征税", ZERO: "0%", MARGIN: "差额征税"}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
Value = str | Decimal


def export_invoices(invoices: Iterable[Invoice], path: Path, *, progress: Callable[[int], None] | None = None) -> int:
    """Write invoices to a new table, durably and in bounded memory; a file of that name is replaced.

    Args:
        invoices: What to write.
        path: Where; its suffix, `.csv` (UTF-8 with a mark, as Excel wants it) or `.xlsx`, says how.
        progress: Told the number of invoices written so far.

    Returns:
        How many invoices were written.

    Raises:
        ConfigurationError: Another suffix, or a place where nothing can be written. No file of the name was changed.
        StorageFull: There is no room. No file of the name was changed.
    """
    writers = {".csv": _write_csv, ".xlsx": _write_xlsx}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ConfigurationError(
            reason=Text(f"不能导出为“{path.suffix}”，请用 .csv 或 .xlsx", f"'{path.suffix}' is not .csv or .xlsx")
        )
    counter = _Counter(invoices, progress)
    temporary = temporary_beside(path)
    try:
        try:
            writer(temporary, _rows(counter))
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull(name=path) from None
        why = os_reason(error)
        raise ConfigurationError(
            reason=Text(f"不能写入“{path}”（{why.zh}）", f"'{path}' cannot be written ({why.en})")
        ) from None
    return counter.count


class _Counter:
    def __init__(self, invoices: Iterable[Invoice], progress: Callable[[int], None] | None) -> None:
        self._invoices = invoices
        self._progress = progress
        self.count = 0

    def __iter__(self) -> Iterator[Invoice]:
        for invoice in self._invoices:
            self.count += 1
            if self._progress is not None and self.count % 500 == 0:
                self._progress(self.count)
            yield invoice


def _write_csv(path: Path, rows: Iterator[Sequence[Value]]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADINGS)
        writer.writerows(rows)


def _write_xlsx(path: Path, rows: Iterator[Sequence[Value]]) -> None:
    from openpyxl import Workbook  # here, because its import costs every other verb a tenth of a second

    book = Workbook(write_only=True)
    sheet = None
    for number, row in enumerate(rows):
        if sheet is None or number % ROWS_PER_SHEET == 0:
            sheet = book.create_sheet(f"发票{number // ROWS_PER_SHEET + 1}")
            sheet.append(HEADINGS)
        sheet.append(row)
    if sheet is None:
        book.create_sheet("发票1").append(HEADINGS)
    book.save(path)


def _rows(invoices: Iterable[Invoice]) -> Iterator[Sequence[Value]]:
    for invoice in invoices:
        for line in invoice.lines or (None,):
            yield _row(invoice, line)


def _row(invoice: Invoice, line: InvoiceLine | None) -> Sequence[Value]:
    digital = len(invoice.number) == 20
    head = (
        invoice.number if digital else "",
        invoice.code,
        "" if digital else invoice.number,
        KIND_NAMES[invoice.kind].zh,
        {"positive-void": "作废", "negative-void": "作废", "blank-void": "空白作废"}.get(invoice.status, "正常"),
        "否" if invoice.status.startswith("negative") else "是",
        invoice.day,
        _as_text(invoice.buyer_name),
        _as_text(invoice.buyer_id),
    )
    tail = (_as_text(invoice.remark), invoice.original_code, invoice.original_number)
    if line is None:
        return (*head, "", "", "", "", "", "", "", "", "", *tail)
    return (
        *head,
        _as_text(line.name),
        _as_text(line.spec),
        _as_text(line.unit),
        line.quantity or "",
        line.price or "",
        Decimal(line.amount),
        _RATES.get(line.rate) or f"{(Decimal(line.rate) * 100).normalize():f}%",
        Decimal(line.tax),
        _as_text(line.goods_code),
        *tail,
    )


def _as_text(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text
