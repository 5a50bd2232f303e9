"""The text exports of issued invoices that begin with `SJJK0201`.

Fields are joined by `~~`. After the title comes `count~~from~~to` (which may be wrong), then for each invoice a
`//发票N` line, a head of 24 fields and its lines of 11, where the amount stands before the price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from offline_station.ledger.cells import Cell, text_of
from offline_station.ledger.layouts import RawInvoice, RawLine
from offline_station.ledger.problems import Findings, Place
from offline_station.ledger.sheets import detect_encoding, text_lines, unreadable
from shared.model.report import MAX_LINES_PER_INVOICE
from shared.text import Text

_HEAD: Final = (
    "void_flag",
    "",  # with a printed list
    "kind",
    "code",
    "number",
    "",  # number of lines
    "day",
    "",  # month
    "",  # sales document
    "sum_amount",
    "",  # the invoice's rate, empty if there are several
    "sum_tax",
    "buyer_name",
    "buyer_id",
    "",
    "",
    "",  # the seller's name
    "seller_id",
    "",
    "",
    "remark",
    "",
    "",
    "",
)
_LINE: Final = ("", "goods", "spec", "unit", "quantity", "amount", "rate", "tax", "price", "", "")
_PRICE_INCLUDES_TAX: Final = 9
_KINDS: Final[Mapping[str, str]] = {"0": "专用发票", "1": "普通发票", "2": "普通发票"}
_TITLES: Final[Mapping[str, str]] = {
    "void_flag": "作废标志",
    "kind": "发票种类",
    "code": "发票代码",
    "number": "发票号码",
    "day": "开票日期",
    "sum_amount": "合计金额",
    "sum_tax": "合计税额",
    "buyer_name": "购方名称",
    "buyer_id": "购方税号",
    "seller_id": "销方税号",
    "remark": "备注",
    "goods": "商品名称",
    "amount": "金额",
    "rate": "税率",
    "tax": "税额",
    "price": "单价",
    "quantity": "数量",
}


def read_sjjk(path: Path, findings: Findings) -> Iterator[RawInvoice]:
    """Go through the invoices of an `SJJK0201` text.

    Raises:
        ListUnreadable: Not such a text. A line with another number of fields is a problem with its row.
    """
    found = 0
    stated: int | None = None
    current: RawInvoice | None = None
    expects_head = False
    with path.open(encoding=detect_encoding(path), newline="") as file:
        for row, line in enumerate(text_lines(path, file), start=1):
            text = line.strip("\r\n\ufeff ")
            place = Place(row=row)
            if row == 1:
                if text.split("~~")[0].strip() != "SJJK0201":
                    raise unreadable(path, "不是已开发票传出文件", "it is not a list of issued invoices")
            elif not text:
                continue
            elif row == 2 and not text.startswith("//"):
                count = text.split("~~")[0].strip()
                stated = int(count) if count.isdecimal() and len(count) < 10 else None
            elif text.startswith("//"):
                if current is not None:
                    yield current
                current, expects_head = None, True
            elif expects_head:
                expects_head = False
                found += 1
                current = _head(text, place, findings)
            elif current is None:
                findings.problem(place, Text("这一行不属于任何发票", "this row belongs to no invoice"))
            else:
                _add_line(current, text, place, findings)
    if current is not None:
        yield current
    if stated is not None and stated != found:
        findings.warning(
            Place(row=2),
            Text(
                f"文件头所列份数 {stated} 与实际 {found} 不符，以实际内容为准",
                f"the file's head states {stated} invoices and {found} are there; what is there counts",
            ),
        )
    if not found:
        findings.problem(Place(), Text("文件里没有发票", "the file holds no invoice"))


def _head(text: str, place: Place, findings: Findings) -> RawInvoice | None:
    fields = text.split("~~")
    if len(fields) < len(_HEAD) - 4:  # reviewer and payee may be missing at the end
        findings.problem(
            place,
            Text(
                f"发票头应有 {len(_HEAD)} 项，实有 {len(fields)} 项",
                f"{len(_HEAD)} fields expected, {len(fields)} found",
            ),
        )
        return None
    head: dict[str, Cell] = {
        name: value.replace("\\n", " ").strip() for name, value in zip(_HEAD, fields, strict=False) if name
    }
    head["kind"] = _KINDS.get(text_of(head["kind"]), head["kind"])
    return RawInvoice(place, head, _TITLES, [])


def _add_line(invoice: RawInvoice, text: str, place: Place, findings: Findings) -> None:
    fields = text.split("~~")
    if len(fields) not in {len(_LINE), len(_LINE) - 1}:
        findings.problem(
            place,
            Text(
                f"商品行应有 {len(_LINE)} 项，实有 {len(fields)} 项",
                f"{len(_LINE)} fields expected, {len(fields)} found",
            ),
        )
        return
    if len(invoice.lines) > MAX_LINES_PER_INVOICE:
        invoice.excess = True
        return
    cells: dict[str, Cell] = {name: value.strip() for name, value in zip(_LINE, fields, strict=False) if name}
    if fields[_PRICE_INCLUDES_TAX].strip() in {"1", "-1", "True"}:
        cells.pop("price")  # the report carries prices without tax, and this one is not
    invoice.lines.append(RawLine(place, cells))
