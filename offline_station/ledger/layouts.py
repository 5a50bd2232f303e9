"""From rows to invoices as the list writes them: blocks, continuation rows, subtotals, footers.

A list has preamble rows, one header or several (each `发票类别：` block repeats it), invoices whose fields stand in
their first row only or in every row, `小计` rows and a `份数：` footer. This module puts together what belongs together
and knows nothing of what the cells mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from offline_station.ledger.cells import Cell, CellFault, amount_of, day_of, digits_of, fen_of, is_blank, text_of
from offline_station.ledger.headers import HEAD_FIELDS, Columns, recognise_header
from offline_station.ledger.problems import Findings, Place
from offline_station.ledger.sheets import Row
from shared.model.report import MAX_LINES_PER_INVOICE
from shared.text import Text

HEADER_WITHIN: Final = 60
"""A header stands in the first rows of a sheet, or the sheet is not a list."""
_TOTAL_WORDS: Final = frozenset({"合计", "合计行", "总计", "本页合计", "本页小计", "累计", "合计金额", "汇总"})
_CATEGORY: Final = re.compile(r"(?:发票类别|发票种类|发票类型|票种)[:：]\s*(.+)")
_INTERVAL: Final = re.compile(
    r"(?:资料区间|开票区间|所属区间|日期区间|数据区间|区间)[:：]\s*(.+?)\s*(?:~|至|—+|--| - )\s*(.+)"
)
_FOOTER: Final = re.compile(r"份数[:：]\s*(\d+)")
_FOOTER_AMOUNT: Final = re.compile(r"金额[:：]\s*(-?[\d,]+\.?\d*)")
_FOOTER_TAX: Final = re.compile(r"税额[:：]\s*(-?[\d,]+\.?\d*)")


@dataclass
class RawLine:
    """One goods line.

    Attributes:
        place: Its row.
        cells: By field.
    """

    place: Place
    cells: Mapping[str, Cell]


@dataclass
class RawInvoice:
    """One invoice as its list writes it.

    Attributes:
        place: Its first row.
        head: The cells of the invoice, by field.
        titles: The headings, for messages.
        lines: Its goods lines.
        category: 票种 as the block or the sheet's title says.
        interval: First and last day that the list says it covers.
        subtotal: Amount and tax of its 小计 row, with its place.
        excess: It has more lines than an invoice can have.
        whole_in_row: Its one row carries the sums of the invoice, not of a line.
    """

    place: Place
    head: dict[str, Cell]
    titles: Mapping[str, str]
    lines: list[RawLine]
    category: str = ""
    interval: tuple[date, date] | None = None
    subtotal: tuple[Place, Decimal | None, Decimal | None] | None = None
    excess: bool = False
    whole_in_row: bool = False


_LIST_SUMMARY: Final = re.compile(r"[（(]?详见(?:销货)?清单[)）]?")


def is_list_summary(goods: str) -> bool:
    """Return whether a goods name is the line that stands for a whole printed list: the whole name, not a part."""
    return "详见" in goods and _LIST_SUMMARY.fullmatch("".join(goods.split())) is not None


def goods_lines(lines: Sequence[RawLine]) -> Sequence[RawLine]:
    """Return the lines that count: where the details of a list are there, its summary line would double them."""
    if len(lines) < 2:
        return lines
    details = [line for line in lines if not is_list_summary(text_of(line.cells.get("goods")))]
    return details or lines


def key_of(head: Mapping[str, Cell]) -> tuple[str, str, str]:
    """Return the identifying cells of a row as texts, for comparing rows; not checked."""
    return tuple(_loose(head.get(name)) for name in ("digital", "code", "number"))  # type: ignore[return-value]


def _loose(value: Cell) -> str:
    try:
        return digits_of(value)
    except CellFault:
        return text_of(value)


@dataclass
class SheetLayout:
    """Takes the rows of one sheet and gives out its invoices.

    Attributes:
        sheet: The sheet's name.
        findings: Where problems go.
        columns: The header in force.
    """

    sheet: str
    findings: Findings
    columns: Columns | None = None
    _category: str = ""
    _interval: tuple[date, date] | None = None
    _official: bool = False
    _current: RawInvoice | None = None
    _key: tuple[str, str, str] = ("", "", "")
    _block: list[int] = field(default_factory=lambda: [0, 0, 0])

    def invoices(self, rows: Iterator[Row]) -> Iterator[RawInvoice]:
        """Go through the invoices of the sheet; nothing if it has no header where a list has one."""
        for number, cells in rows:
            if self.columns is None and number > HEADER_WITHIN:
                return
            done = self._take(number, cells)
            if done is not None:
                yield done
        last = self._flush()
        if last is not None:
            yield last

    def _take(self, number: int, cells: Sequence[Cell]) -> RawInvoice | None:
        present = [cell for cell in cells if not is_blank(cell)]
        if not present:
            return None
        first = present[0]
        if isinstance(first, str) and len(present) <= 6 and not self._begins_with_goods(cells):
            text = unicodedata.normalize("NFKC", first).strip()
            if any(pattern.match(text) for pattern in (_CATEGORY, _INTERVAL, _FOOTER)):
                done = self._flush()
                self._take_marker(text, Place(self.sheet, number), present)
                return done
            if self.columns is None and len(present) == 1 and "发票" in text and len(text) <= 40:
                self._category = text
                return None
        header = recognise_header(cells) if self._may_be_header(cells) else None
        if header is not None:
            self.columns = header
            return self._flush()
        if self.columns is None:
            return None
        return self._take_data(number, present, self.columns.pick(cells), self.columns)

    def _begins_with_goods(self, cells: Sequence[Cell]) -> bool:
        """Return whether the row's first text stands under the goods: then it is their name, whatever it says."""
        goods = self.columns.at.get("goods") if self.columns is not None else None
        return goods is not None and next(at for at, cell in enumerate(cells) if not is_blank(cell)) == goods

    def _may_be_header(self, cells: Sequence[Cell]) -> bool:
        """Return whether it is worth looking: where a header is in force, only a number column without digits is."""
        if self.columns is None:
            return True
        at = self.columns.at
        for name in ("number", "digital"):
            index = at.get(name)
            if index is not None and index < len(cells):
                cell = cells[index]
                if not isinstance(cell, str | None) or (cell and any(c.isdigit() for c in cell)):
                    return False
        return True

    def _take_marker(self, text: str, place: Place, present: Sequence[Cell]) -> None:
        if match := _CATEGORY.match(text):
            self._category, self._official = match[1].strip(), True
            self._block = [0, 0, 0]
        elif match := _INTERVAL.match(text):
            self._official = True
            try:
                start, end = day_of(match[1]), day_of(match[2])
            except CellFault:
                return
            self._interval = (start, end) if start and end and start <= end else None
        elif match := _FOOTER.match(text):
            whole = " ".join(text_of(cell) for cell in present)
            self._check_footer(place, int(match[1]), unicodedata.normalize("NFKC", whole))
            self._block = [0, 0, 0]

    def _check_footer(self, place: Place, count: int, text: str) -> None:
        found_count, amount, tax = self._block
        stated = []
        for pattern in (_FOOTER_AMOUNT, _FOOTER_TAX):
            match = pattern.search(text)
            try:
                value = amount_of(match[1]) if match else None
            except CellFault:
                value = None
            stated.append(None if value is None else fen_of(value))
        if count != found_count or stated[0] not in {None, amount} or stated[1] not in {None, tax}:
            self.findings.warning(
                place,
                Text(
                    f"页脚所列份数或金额与清单内容不符（页脚 {count} 份，实有 {found_count} 份），请核对清单是否完整",
                    f"the footer's count or sums differ from the rows above ({count} stated, {found_count} found); "
                    "is the list complete?",
                ),
            )

    def _take_data(
        self, number: int, present: Sequence[Cell], cells: dict[str, Cell], columns: Columns
    ) -> RawInvoice | None:
        place = Place(self.sheet, number)
        key = key_of(cells)
        if not any(key) or not any(c.isdigit() for part in key for c in part):
            return self._take_keyless(place, present, cells, key)
        head = {name: cell for name, cell in cells.items() if name in HEAD_FIELDS}
        line = RawLine(place, {name: cell for name, cell in cells.items() if name not in HEAD_FIELDS})
        # In the official layout a filled number begins an invoice; elsewhere every row repeats it.
        repeats = not self._official and not columns.is_whole_in_row
        if self._current is not None and repeats and key == self._key and self._current.subtotal is None:
            self._append(line)
            return None
        done = self._flush()
        self._key = key
        self._current = RawInvoice(
            place,
            head,
            columns.titles,
            [line],
            self._category,
            self._interval,
            whole_in_row=columns.is_whole_in_row,
        )
        return done

    def _take_keyless(
        self, place: Place, present: Sequence[Cell], cells: dict[str, Cell], key: tuple[str, str, str]
    ) -> RawInvoice | None:
        words = {re.sub(r"[\s:：]", "", text_of(cell)) for cell in (*present[:3], cells.get("goods"))}
        amount, tax = cells.get("amount"), cells.get("tax")
        # A total says nothing but amounts: a row with a rate, a quantity or a price is goods, whatever their name.
        is_goods = any(not is_blank(cells.get(name)) for name in ("rate", "quantity", "price"))
        if "小计" in words and not is_goods:
            if self._current is not None and self._current.subtotal is None:
                try:
                    self._current.subtotal = (place, amount_of(amount), amount_of(tax))
                except CellFault as fault:
                    self.findings.problem(place, fault.text)
            return self._flush()
        if words & _TOTAL_WORDS and not is_goods:
            return self._flush()
        if is_blank(amount) and is_blank(tax) and (is_blank(cells.get("goods")) or len(present) <= 2):
            if len(present) > 3:
                self._refuse(place)
            return None
        if self._current is None or any(key):
            self._refuse(place)
            return None
        line = RawLine(place, {name: cell for name, cell in cells.items() if name not in HEAD_FIELDS})
        self._append(line)
        return None

    def _refuse(self, place: Place) -> None:
        self.findings.problem(
            place,
            Text("这一行没有发票号码，也不属于上面的发票", "this row has no invoice number and continues no invoice"),
        )

    def _append(self, line: RawLine) -> None:
        assert self._current is not None
        if len(self._current.lines) >= MAX_LINES_PER_INVOICE + 1:  # one more: a list summary line may be dropped
            self._current.excess = True
            return
        self._current.lines.append(line)

    def _flush(self) -> RawInvoice | None:
        done, self._current = self._current, None
        if done is not None:
            self._block[0] += 1
            for line in goods_lines(done.lines):
                for at, name in ((1, "amount"), (2, "tax")):
                    try:
                        value = amount_of(line.cells.get(name))
                    except CellFault:
                        value = None
                    self._block[at] += fen_of(value) if value is not None else 0
        return done
