"""From a file to invoices: recognise, read, lay out, assemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offline_station.ledger.assemble import Assembler
from offline_station.ledger.cells import is_blank
from offline_station.ledger.entries import Entry, ImportContext
from offline_station.ledger.headers import Columns, recognise_header
from offline_station.ledger.joined import join
from offline_station.ledger.kpxml import read_xml
from offline_station.ledger.layouts import HEADER_WITHIN, RawInvoice, SheetLayout
from offline_station.ledger.problems import Findings, Place
from offline_station.ledger.recognise import recognise
from offline_station.ledger.sheets import Sheet, detect_encoding, open_csv, open_xls, open_xlsx, unreadable
from offline_station.ledger.sjjk import read_sjjk
from shared.text import Text
from shared.text.system import os_reason

_DELIMITERS: Final = (",", "\t", ";", "|")


@dataclass(frozen=True)
class Source:
    """A recognised list.

    Attributes:
        format: What it was recognised as.
        entries: Its invoices, read as they are asked for.
    """

    format: str
    entries: Iterator[Entry]


def read_invoices(path: Path, context: ImportContext, findings: Findings) -> Source:
    """Recognise a file by its content, and return its invoices.

    Args:
        path: The exported file; it is only read.
        context: Who we are.
        findings: Where problems and warnings go. An invoice with a problem is not yielded.

    Raises:
        ListUnreadable: The file as a whole is not an invoice list. Going through the entries may raise it as well, if
            the file stops being one further on.
    """
    try:
        name, invoices = _open(path, findings)
    except OSError as error:
        raise unreadable(
            path, f"打不开（{os_reason(error).zh}）", f"it cannot be opened ({os_reason(error).en})"
        ) from None
    return Source(name, _assembled(path, invoices, Assembler(context, findings)))


def _assembled(path: Path, invoices: Iterator[RawInvoice], assembler: Assembler) -> Iterator[Entry]:
    while True:
        try:
            raw = next(invoices, None)
        except OSError as error:
            raise unreadable(
                path, f"读取出错（{os_reason(error).zh}）", f"reading it failed ({os_reason(error).en})"
            ) from None
        if raw is None:
            return
        entry = assembler.assemble(raw)
        if entry is not None:
            yield entry


def _open(path: Path, findings: Findings) -> tuple[str, Iterator[RawInvoice]]:
    container = recognise(path)
    if container == "xml":
        return "xml", read_xml(path, findings)
    if container == "sjjk0201":
        return "sjjk0201", read_sjjk(path, findings)
    if container == "text":
        sheets = _delimited(path)
        return "csv", _laid_out(path, sheets, findings)
    sheets = open_xls(path) if container == "xls" else open_xlsx(path)
    return container, _laid_out(path, sheets, findings)


def _delimited(path: Path) -> Sequence[Sheet]:
    encoding = detect_encoding(path)
    for delimiter in _DELIMITERS:
        sheets = open_csv(path, encoding, delimiter)
        if _header_of(sheets[0]) is not None:
            return sheets
    return open_csv(path, encoding, _DELIMITERS[0])


def _header_of(sheet: Sheet) -> Columns | None:
    for number, cells in sheet.read():
        if number > HEADER_WITHIN:
            return None
        header = recognise_header(cells)
        if header is not None:
            return header
    return None


def _laid_out(path: Path, sheets: Sequence[Sheet], findings: Findings) -> Iterator[RawInvoice]:
    lists: list[tuple[Sheet, Columns]] = []
    for sheet in sheets:
        header = _header_of(sheet)
        if header is None:
            _mention_ignored(sheet, findings)
        elif header.purchases:
            raise unreadable(
                path,
                f"这是取得（进项）发票的勾选或认证清单（有“{header.purchases}”列），只能导入本企业开具的发票",
                f"it is a list of received (purchase) invoices (column '{header.purchases}'); only our own can be imported",
            )
        elif "seller_name" in header.at and not {"seller_id", "buyer_name", "buyer_id"} & header.at.keys():
            raise unreadable(
                path,
                "这是取得（进项）发票的清单（只有销方、没有购方），只能导入本企业开具的发票",
                "it is a list of received (purchase) invoices (sellers and no buyers); only our own can be imported",
            )
        else:
            lists.append((sheet, header))
    if not lists:
        raise unreadable(
            path,
            "没有找到发票清单的表头（至少要有发票号码、开票日期、金额、税额等列）",
            "no header of an invoice list was found (number, day, amount, tax …)",
        )
    details = [sheet for sheet, header in lists if header.has_goods]
    heads = [sheet for sheet, header in lists if not header.has_goods]
    found = 0
    if details and heads:
        invoices = join(heads, details, findings)
    else:
        invoices = (raw for sheet, _ in lists for raw in SheetLayout(sheet.name, findings).invoices(sheet.read()))
    for raw in invoices:
        found += 1
        yield raw
    if not found and not findings.problem_count:
        findings.problem(Place(), Text("文件里没有发票", "the file holds no invoice"))


def _mention_ignored(sheet: Sheet, findings: Findings) -> None:
    for number, cells in sheet.read():
        if number > HEADER_WITHIN:
            return
        if sum(not is_blank(cell) for cell in cells) > 1:
            findings.warning(
                Place(sheet.name),
                Text("没有发票清单的表头，整个工作表已忽略", "no header of an invoice list: the sheet was left out"),
            )
            return
