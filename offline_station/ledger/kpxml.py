"""Invoice lists in XML: `<Kp>` bulk files and the `<business>` files of vehicle invoices, in GBK or UTF-8.

The same element means different things in the two: `<Sl>` is the quantity in `<Kp>` and the rate in `<business>`. No
tree is built: the elements of one invoice are kept, and nothing else, however large the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError

from offline_station.ledger.cells import Cell
from offline_station.ledger.headers import HEAD_FIELDS
from offline_station.ledger.layouts import RawInvoice, RawLine
from offline_station.ledger.problems import Findings, Place
from offline_station.ledger.sheets import detect_encoding, unreadable
from offline_station.ledger.xmlstream import XmlRefused, XmlTarget, feed
from shared.errors import ListUnreadable
from shared.model.report import MAX_LINES_PER_INVOICE
from shared.text import Text

_MAX_ELEMENTS_PER_INVOICE: Final = 100 * (MAX_LINES_PER_INVOICE + 2)
_LINE_ELEMENTS: Final = frozenset({"sph", "group"})
_DECLARED: Final = re.compile(rb"""<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_-]{1,20})["']""")

_KP: Final[Mapping[str, str]] = {
    "fpzl": "kind",
    "lbdm": "code",
    "fpdm": "code",
    "fphm": "number",
    "kprq": "day",
    "gfmc": "buyer_name",
    "gfsh": "buyer_id",
    "xfsh": "seller_id",
    "hjje": "sum_amount",
    "hjse": "sum_tax",
    "bz": "remark",
    "zfbz": "void_flag",
    "kpjh": "machine",
    "spmc": "goods",
    "ggxh": "spec",
    "jldw": "unit",
    "spbm": "goods_code",
    "lslbz": "zero_flag",
    "dj": "price",
    "sl": "quantity",
    "je": "amount",
    "slv": "rate",
    "se": "tax",
}
_BUSINESS: Final[Mapping[str, str]] = {
    "fplxdm": "kind",
    "fpdm": "code",
    "fphm": "number",
    "kprq": "day",
    "gfdwmc": "buyer_name",
    "gfmc": "buyer_name",
    "ghdwmc": "buyer_name",
    "gfdwsbh": "buyer_id",
    "ghdwsbh": "buyer_id",
    "ghdwdm": "buyer_id",
    "gfdm": "buyer_id",
    "sfzhm": "buyer_person",
    "xfdm": "car_seller_id",
    "xhdwsbh": "seller_id",
    "jypmdwsbh": "auction_id",
    "escscsbh": "market_id",
    "cllx": "car_type",
    "cpxh": "car_model",
    "clsbdh": "car_frame",
    "jshj": "total",
    "cjhj": "total",
    "zzssl": "rate",
    "zzsse": "tax",
    "bhsj": "amount",
    "spmc": "goods",
    "ggxh": "spec",
    "dw": "tonnage",
    "spsl": "quantity",
    "dj": "price",
    "je": "amount",
    "sl": "rate",
    "se": "tax",
    "hjje": "sum_amount",
    "hjse": "sum_tax",
    "bz": "remark",
    "zfbz": "void_flag",
    "kpjh": "machine",
    "spbm": "goods_code",
    "lslbs": "zero_flag",
}


class _Target(XmlTarget):
    """Collects the elements of one invoice at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[RawInvoice] = []
        self.dialect = ""
        self._elements = 0
        self._head: dict[str, Cell] | None = None
        self._head_place = Place()
        self._line: dict[str, Cell] | None = None
        self._line_place = Place()
        self._lines: list[RawLine] = []
        self._excess = False

    def opened(self, name: str, attributes: Mapping[str, str]) -> None:
        name = name.lower()
        if not self.dialect:
            if name not in {"kp", "business"}:
                raise XmlRefused(f"不认识的 XML（根元素 {name[:30]}）", f"an unknown XML (its root is {name[:30]})")
            self.dialect = name
        elif name == self._container and self._head is None:
            self._head, self._head_place, self._elements = {}, Place(row=self.line), 0
            self._lines, self._excess = [], False
        elif self._head is not None:
            self._elements += 1
            if self._elements > _MAX_ELEMENTS_PER_INVOICE:
                raise XmlRefused("一张发票的内容过多", "one invoice has too many elements")
            if name in _LINE_ELEMENTS:
                self._line, self._line_place = {}, Place(row=self.line)

    def closed(self, name: str, text: str) -> None:
        name = name.lower()
        if self._head is None:
            return
        if self._line is not None and name in _LINE_ELEMENTS:
            if len(self._lines) > MAX_LINES_PER_INVOICE:
                self._excess = True
            else:
                self._lines.append(RawLine(self._line_place, self._line))
            self._line = None
        elif name == self._container:
            self._finish()
        else:
            field = (_KP if self.dialect == "kp" else _BUSINESS).get(name)
            if field is not None:
                (self._head if self._line is None else self._line).setdefault(field, text.strip())

    @property
    def _container(self) -> str:
        return "fp" if self.dialect == "kp" else "body"

    def _finish(self) -> None:
        assert self._head is not None
        found, self._head = self._head, None
        head = {name: cell for name, cell in found.items() if name in HEAD_FIELDS}
        vehicle = not self._lines
        lines = self._lines or [
            RawLine(self._head_place, {name: cell for name, cell in found.items() if name not in HEAD_FIELDS})
        ]
        titles = {name: _TITLES.get(name, name) for name in (*head, *(n for line in lines for n in line.cells))}
        category = ""
        if self.dialect == "business" and vehicle and "car_model" in titles:
            category = "二手车" if "car_seller_id" in titles or "market_id" in titles else "机动车"
        self.done.append(
            RawInvoice(self._head_place, head, titles, lines, category, excess=self._excess, whole_in_row=vehicle)
        )


_TITLES: Final[Mapping[str, str]] = {
    "kind": "Fpzl",
    "code": "Lbdm",
    "number": "Fphm",
    "day": "Kprq",
    "buyer_id": "Gfsh",
    "seller_id": "Xfsh",
    "sum_amount": "Hjje",
    "sum_tax": "Hjse",
    "amount": "Je",
    "rate": "Slv",
    "tax": "Se",
    "total": "jshj",
}


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return detect_encoding(path)
    declared = _DECLARED.search(start)
    name = declared[1].decode().lower() if declared else ""
    if name in {"gbk", "gb2312", "gb18030"}:
        return "gb18030"
    return detect_encoding(path)


def read_xml(path: Path, findings: Findings) -> Iterator[RawInvoice]:
    """Go through the invoices of an XML list.

    Raises:
        ListUnreadable: Not such a list, damaged, with a document type or entities, or out of bounds. Invoices before
            the damage have been yielded.
    """
    target = _Target()
    count = 0
    try:
        # The parser knows no Chinese encoding, so it is given UTF-8, whatever the file declares.
        with path.open(encoding=_encoding(path), newline="") as text:
            for _ in feed(_Utf8(text), target, encoding="utf-8"):
                count += len(target.done)
                yield from target.done
                target.done.clear()
    except ListUnreadable:
        raise
    except XmlRefused as error:
        raise unreadable(path, error.text.zh, error.text.en) from None
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise unreadable(
            path,
            f"XML 已损坏或不允许（{type(error).__name__}）",
            f"the XML is damaged or forbidden ({type(error).__name__})",
        ) from None
    if not count:
        findings.problem(
            Place(),
            Text("文件里没有发票", "the file holds no invoice"),
        )


class _Utf8:
    """A text file, read as UTF-8."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text

    def read(self, size: int, /) -> bytes:
        return self._text.read(size).encode()
