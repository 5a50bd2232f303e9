"""From what a list says to an invoice that the report can carry: complete, consistent, in fen.

Everything that could not be read with certainty becomes a problem with its row and column; what is only odd becomes
a warning. An invoice with a problem is not handed on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final, TypeVar

from pydantic import ValidationError

from offline_station.ledger.cells import (
    EXEMPT,
    KNOWN_RATES,
    MARGIN,
    MASKED,
    UNTAXED,
    ZERO,
    Cell,
    CellFault,
    amount_of,
    day_of,
    digits_of,
    fen_of,
    has_fractions_of_fen,
    is_blank,
    number_of,
    rate_of,
    text_of,
)
from offline_station.ledger.entries import Entry, ImportContext
from offline_station.ledger.kinds import kinds_of_number, kinds_of_words, resolve_kind, restored_code
from offline_station.ledger.layouts import RawInvoice, RawLine, goods_lines, is_list_summary
from offline_station.ledger.problems import Findings, Place
from shared.model.report import KIND_NAMES, MAX_LINES_PER_INVOICE, Invoice, InvoiceKind, InvoiceStatus
from shared.money import MAX_FEN, format_fen
from shared.text import Text

TAX_TOLERANCE_FEN: Final = 6
"""How far rate × amount and the tax may differ on one line: the devices round in their own ways."""
_V = TypeVar("_V")
_NAMES: Final[Mapping[str, str]] = {
    "digital": "数电号码",
    "code": "发票代码",
    "number": "发票号码",
    "day": "开票日期",
    "buyer_id": "购方税号",
    "buyer_name": "购方名称",
    "seller_id": "销方税号",
    "amount": "金额",
    "tax": "税额",
    "rate": "税率",
    "total": "价税合计",
    "goods": "商品名称",
    "status": "发票状态",
    "void_flag": "作废标志",
    "kind": "票种",
    "machine": "开票机号",
    "sign": "是否正数发票",
    "sum_amount": "合计金额",
    "sum_tax": "合计税额",
    "remark": "备注",
}
_NORMAL_WORDS: Final = frozenset(
    {"", "正常", "正常发票", "有效", "有效发票", "已开具", "开具成功", "未作废", "非作废", "否", "n", "no", "false"}
)
_VOID_WORDS: Final = frozenset(
    {"作废", "已作废", "作废发票", "正废", "负废", "正数作废", "负数作废", "是", "y", "yes", "true"}
)
_BLANK_VOID_WORDS: Final = frozenset({"空白作废", "空白废", "空废", "空白发票作废", "空白作废发票"})
_RED_WORDS: Final = re.compile(
    r"(?:已?(?:全额|部分)?红冲.*|(?:全额|部分)红冲|红字发票|负数发票|正数发票|蓝字发票|被红冲.*|红冲发票)"
)
_DOUBTFUL_WORDS: Final = frozenset({"异常", "失控", "异常发票", "失控发票", "管理异常", "经营异常"})
_DEVICE_STATUS: Final[Mapping[str, str]] = {"0": "", "1": "", "2": "空白作废", "3": "作废", "4": "作废"}


_DAY_TEXT: Final = re.compile(r"\s*20[0-9]{2}([-/.年]?)[01]?[0-9]\1[0-3]?[0-9]日?\s*")


class _Refused(Exception):
    """The invoice has a problem that is noted already."""


@dataclass(frozen=True)
class _Line:
    place: Place
    name: str
    spec: str
    unit: str
    quantity: str | None
    price: str | None
    amount: Decimal
    tax: Decimal
    rate: str
    goods_code: str
    freeform: bool


class Assembler:
    """Makes invoices of one file."""

    def __init__(self, context: ImportContext, findings: Findings) -> None:
        """Take what the station knows."""
        self._context = context
        self._findings = findings
        self._latest = context.today + timedelta(days=1)
        self._ours = context.our_ids

    def assemble(self, raw: RawInvoice) -> Entry | None:
        """Return the invoice, or None after noting at least one problem."""
        before = self._findings.problem_count
        try:
            entry = self._assemble(raw)
        except _Refused:
            entry = None
        if self._findings.problem_count > before:
            return None
        assert entry is not None
        return entry

    # --- one invoice ------------------------------------------------------------------------------------------------

    def _assemble(self, raw: RawInvoice) -> Entry:
        words = text_of(raw.head.get("kind")) or raw.category
        code, number = self._identity(raw, words)
        self._check_seller(raw)
        self._check_machine(raw)
        kind = self._kind(raw, words, code, number)
        void = self._is_void(raw)
        if raw.excess:
            self._problem(
                raw.place,
                f"一张发票最多 {MAX_LINES_PER_INVOICE} 行商品",
                f"an invoice has at most {MAX_LINES_PER_INVOICE} lines",
            )
            raise _Refused
        lines = self._lines(raw, kind, void=void)
        if void and all(not line.amount and not line.tax for line in lines):
            lines = []
        stated = self._stated_sums(raw, lines)
        if not lines:
            if not void or any(stated):
                self._problem(raw.place.at(raw.titles.get("amount", "金额")), "没有金额", "it has no amount")
                raise _Refused
            status: InvoiceStatus = "blank-void"
            amounts, taxes = [], []
        else:
            amounts = self._in_fen(raw, lines, "amount", stated[0])
            taxes = self._in_fen(raw, lines, "tax", stated[1])
            status = self._status(raw, sum(amounts), sum(taxes), void=void)
        self._check_sums(raw, lines, sum(amounts), sum(taxes))
        day = self._day(raw, blank=status == "blank-void")
        return self._entry(raw, kind, code, number, day, status, lines, amounts, taxes)

    def _entry(
        self,
        raw: RawInvoice,
        kind: InvoiceKind,
        code: str,
        number: str,
        day: date,
        status: InvoiceStatus,
        lines: Sequence[_Line],
        amounts: Sequence[int],
        taxes: Sequence[int],
    ) -> Entry:
        remark = text_of(raw.head.get("remark"))
        original_code, original_number = self._original(raw, remark) if status.startswith("negative") else ("", "")
        total, total_tax = sum(amounts), sum(taxes)
        negative = status.startswith("negative")
        if max(map(abs, (total, total_tax, *amounts, *taxes)), default=0) > MAX_FEN:
            self._problem(raw.place, "金额超出范围", "an amount is out of range")
            raise _Refused
        try:
            invoice = Invoice.model_validate(
                {
                    "kind": kind,
                    "code": code,
                    "number": number,
                    "day": day.isoformat(),
                    "status": status,
                    "buyer_name": text_of(raw.head.get("buyer_name")),
                    "buyer_id": self._buyer_id(raw),
                    "amount": format_fen(total),
                    "tax": format_fen(total_tax),
                    "remark": remark,
                    "original_code": original_code,
                    "original_number": original_number,
                    "lines": tuple(
                        {
                            "name": line.name,
                            "spec": line.spec,
                            "unit": line.unit,
                            "quantity": line.quantity,
                            "price": line.price,
                            "amount": format_fen(amount),
                            "rate": line.rate,
                            "tax": format_fen(tax),
                            "goods_code": line.goods_code,
                            "nature": "freeform"
                            if line.freeform
                            else ("discount" if (amount > 0 if negative else amount < 0) else "normal"),
                        }
                        for line, amount, tax in zip(lines, amounts, taxes, strict=True)
                    ),
                }
            )
        except ValidationError as error:
            for found in error.errors(include_url=False, include_input=False, include_context=False)[:3]:
                path = [str(part) for part in found["loc"]]
                self._problem(
                    raw.place,
                    f"内容过长或不合规定（{'.'.join(path)}）",
                    f"too long or not permitted ({'.'.join(path)}: {found['msg'][:80]})",
                )
            raise _Refused from None
        sums = [(line.rate, amount, tax) for line, amount, tax in zip(lines, amounts, taxes, strict=True)]
        return Entry(invoice, raw.place, total, total_tax, sums)

    # --- head -------------------------------------------------------------------------------------------------------

    def _identity(self, raw: RawInvoice, words: str) -> tuple[str, str]:
        digital = self._read(raw, "digital", digits_of) or ""
        code = self._read(raw, "code", digits_of) or ""
        number = self._read(raw, "number", digits_of) or ""
        if not digital and not code and len(number) == 20:
            digital, number = number, ""
        if not digital and len(code) == 12 and len(number) == 8 and re.search("数电|全电", words) and "纸" not in words:
            digital = code + number  # some templates split the twenty digits
        if digital:
            if re.fullmatch(r"[0-9]{20}", digital) is None:
                self._problem(
                    raw.place.at(raw.titles.get("digital", raw.titles.get("number", "数电号码"))),
                    f"数电号码应为 20 位数字：{_shown(digital)}",
                    f"a digital invoice has twenty digits: {_shown(digital)}",
                )
                raise _Refused
            return "", digital
        return self._paper_identity(raw, code, number)

    def _paper_identity(self, raw: RawInvoice, code: str, number: str) -> tuple[str, str]:
        place = raw.place
        if not number:
            self._problem(
                place.at(raw.titles.get("number", "发票号码")),
                "没有发票号码（待开发票的导入文件不是已开发票的清单）",
                "it has no invoice number (a file of invoices to be issued is no list of issued ones)",
            )
            raise _Refused
        if re.fullmatch(r"[0-9]{1,8}", number) is None or not number.strip("0"):
            self._problem(
                place.at(raw.titles.get("number", "发票号码")),
                f"发票号码应为 8 位数字：{_shown(number)}",
                f"an invoice number has eight digits: {_shown(number)}",
            )
            raise _Refused
        if len(number) < 8:
            # Eight digits always, and zeros are what spreadsheets lose: this is certain.
            number = number.zfill(8)
            self._warning(
                place.at(raw.titles.get("number", "发票号码")),
                f"发票号码缺少前导零，已按 8 位补为 {number}",
                f"the number lost its leading zeros and was restored to {number}",
            )
        if code and re.fullmatch(r"[0-9]{10}|[0-9]{12}", code) is None:
            restored = restored_code(code)
            if restored is None:
                self._problem(
                    place.at(raw.titles.get("code", "发票代码")),
                    f"发票代码应为 10 位或 12 位数字：{_shown(code)}（可能丢失了前导零，请按文本格式重新导出）",
                    f"an invoice code has ten or twelve digits: {_shown(code)} (zeros lost? export it as text)",
                )
                raise _Refused
            self._warning(
                place.at(raw.titles.get("code", "发票代码")),
                f"发票代码缺少前导零，已补为 {restored}",
                f"the code lost its leading zero and was restored to {restored}",
            )
            code = restored
        return code, number

    def _check_seller(self, raw: RawInvoice) -> None:
        named = [
            (name, seller) for name in ("seller_id", "auction_id", "market_id") if (seller := self._loose_id(raw, name))
        ]
        # A used car's seller is often a person; whoever issues the invoice is the auctioneer or the market.
        if "car_seller_id" in raw.head and self._loose_id(raw, "car_seller_id") in self._ours:
            return
        if named and not any(seller in self._ours for _, seller in named):
            name, seller = named[0]
            buyer = self._loose_id(raw, "buyer_id")
            place = raw.place.at(raw.titles.get(name, "销方税号"))
            if buyer in self._ours:
                self._problem(
                    place,
                    f"这是取得的（进项）发票，销方 {_shown(seller)} 不是本企业；只能导入本企业开具的发票",
                    f"this is a received (purchase) invoice: its seller is {_shown(seller)}; only our own can be imported",
                )
            else:
                self._problem(
                    place,
                    f"销方税号 {_shown(seller)} 不是本企业（{self._context.taxpayer_id}）",
                    f"the seller {_shown(seller)} is not this taxpayer ({self._context.taxpayer_id})",
                )

    def _loose_id(self, raw: RawInvoice, name: str) -> str:
        try:
            return digits_of(raw.head.get(name)).upper()
        except CellFault:
            return text_of(raw.head.get(name))

    def _check_machine(self, raw: RawInvoice) -> None:
        machine = self._read(raw, "machine", digits_of)
        if not machine:
            return
        if not machine.isdigit() or int(machine) != self._context.machine_no:
            self._problem(
                raw.place.at(raw.titles.get("machine", "开票机号")),
                f"开票机号 {_shown(machine)} 不是本机（{self._context.machine_no}）",
                f"machine {_shown(machine)} is not this one ({self._context.machine_no})",
            )

    def _kind(self, raw: RawInvoice, words: str, code: str, number: str) -> InvoiceKind:
        by_number = kinds_of_number(code, number)
        by_words = kinds_of_words(words)
        if not by_words and raw.category and words != raw.category:
            by_words = kinds_of_words(raw.category)
        if not by_words and "market_id" in raw.titles:
            by_words = ("006",)
        elif not by_words and {"car_model", "car_frame"} <= raw.titles.keys():
            by_words = ("005",)
        kind, contradiction = resolve_kind(by_words, by_number, self._context.kind)
        if kind is None:
            self._problem(
                raw.place.at(raw.titles.get("kind", "票种")),
                "无法判断票种：清单没有说明，发票代码也不能判断；请用票种选项指定",
                "the kind is unknown: neither the list nor the code tells it; name it with the kind option",
            )
            raise _Refused
        if contradiction:
            self._warning(
                raw.place.at(raw.titles.get("kind", "票种")),
                f"清单写明为{KIND_NAMES[kind].zh}，与发票代码规则不符，按清单处理",
                f"the list says {KIND_NAMES[kind].en} and the code's rule says otherwise; the list counts",
            )
        return kind

    def _is_void(self, raw: RawInvoice) -> bool:
        void = False
        for name in ("status", "void_flag"):
            text = unicodedata.normalize("NFKC", text_of(raw.head.get(name))).replace(" ", "").lower()
            if name == "status":
                text = _DEVICE_STATUS.get(text, text)
            elif text in {"0", "1"}:
                text = "是" if text == "1" else ""
            if text in _BLANK_VOID_WORDS or text in _VOID_WORDS:
                void = True
            elif text in _DOUBTFUL_WORDS:
                self._warning(
                    raw.place.at(raw.titles.get(name, "发票状态")),
                    f"发票状态为“{text}”，仍按正常发票计入",
                    f"its status is '{text}'; it is counted as a valid invoice",
                )
            elif (
                text not in _NORMAL_WORDS
                and text not in {"--", "-"}
                and not _RED_WORDS.fullmatch(text.replace("-", ""))
            ):
                self._problem(
                    raw.place.at(raw.titles.get(name, "发票状态")),
                    f"不认识的发票状态：{_shown(text)}",
                    f"an unknown status: {_shown(text)}",
                )
        return void

    def _day(self, raw: RawInvoice, *, blank: bool) -> date:
        day = self._read(raw, "day", day_of)
        place = raw.place.at(raw.titles.get("day", "开票日期"))
        if day is None and blank and raw.interval is not None:
            start, end = raw.interval
            if (start.year, start.month) == (end.year, end.month):
                return end  # a blank void has no day of its own; its month is certain, and nothing else counts
        if day is None:
            self._problem(place, "没有开票日期", "it has no day")
            raise _Refused
        if day > self._latest:
            self._problem(place, f"开票日期 {day} 在将来", f"its day {day} lies in the future")
        if day.year < 1994:
            self._problem(place, f"开票日期 {day} 早于增值税发票的开始", f"its day {day} is before there was VAT")
        return day

    def _status(self, raw: RawInvoice, amount: int, tax: int, *, void: bool) -> InvoiceStatus:
        negative = (amount, tax) < (0, 0)
        if amount * tax < 0:
            # A card and the bureau add positive and negative invoices apart, amounts and taxes alike (REP-21).
            self._problem(
                raw.place.at(raw.titles.get("tax", "税额")),
                "合计金额与合计税额一正一负",
                "its amount and its tax have opposite signs",
            )
            raise _Refused
        said = unicodedata.normalize("NFKC", text_of(raw.head.get("sign"))).lower()
        if said in {"是", "y", "1", "true"} | {"否", "n", "0", "false"}:
            says_negative = said in {"否", "n", "0", "false"}
            if not amount and not tax:
                negative = says_negative
            elif says_negative != negative:
                self._problem(
                    raw.place.at(raw.titles.get("sign", "是否正数发票")),
                    "“是否正数发票”与金额的正负不符",
                    "its sign and its amount contradict each other",
                )
        if not amount and not tax and not void:
            self._warning(
                raw.place.at(raw.titles.get("amount", "金额")),
                "合计金额为 0，请核对",
                "its total is zero; please check",
            )
        if void:
            return "negative-void" if negative else "positive-void"
        return "negative" if negative else "positive"

    def _buyer_id(self, raw: RawInvoice) -> str:
        for name in ("buyer_id", "buyer_person"):
            found = self._read(raw, name, digits_of)
            if found:
                return found
        return ""

    def _original(self, raw: RawInvoice, remark: str) -> tuple[str, str]:
        code = self._read(raw, "original_code", digits_of) or ""
        number = self._read(raw, "original_number", digits_of) or ""
        if re.fullmatch(r"[0-9]{20}", number):
            return "", number
        if re.fullmatch(r"[0-9]{1,8}", number) and re.fullmatch(r"|[0-9]{10}|[0-9]{12}", code):
            return code, number.zfill(8)
        return blue_reference(remark)

    # --- lines ------------------------------------------------------------------------------------------------------

    def _lines(self, raw: RawInvoice, kind: InvoiceKind, *, void: bool) -> list[_Line]:
        remark = text_of(raw.head.get("remark"))
        kept = goods_lines(raw.lines)
        if len(kept) > MAX_LINES_PER_INVOICE:
            self._problem(raw.place, f"一张发票最多 {MAX_LINES_PER_INVOICE} 行商品", "too many lines")
            raise _Refused
        lines = [line for line in (self._line(raw, part, kind, remark, void=void) for part in kept) if line is not None]
        if len(kept) < len(raw.lines):
            self._check_list_summary(raw, lines)
        return lines

    def _check_list_summary(self, raw: RawInvoice, lines: Sequence[_Line]) -> None:
        for part in raw.lines:
            if is_list_summary(text_of(part.cells.get("goods"))):
                stated = self._read_cell(raw, part, "amount", amount_of)
                if stated is not None and fen_of(stated) != fen_of(sum((line.amount for line in lines), Decimal())):
                    self._problem(
                        part.place.at(raw.titles.get("amount", "金额")),
                        "“详见销货清单”的金额与清单明细之和不符",
                        "the amount of the list's summary line differs from the sum of its details",
                    )

    def _line(self, raw: RawInvoice, part: RawLine, kind: InvoiceKind, remark: str, *, void: bool) -> _Line | None:
        cells = part.cells
        amount = self._read_cell(raw, part, "amount", amount_of)
        masked_tax = isinstance(cells.get("tax"), str) and _named_tax(text_of(cells.get("tax")))
        tax = None if masked_tax else self._read_cell(raw, part, "tax", amount_of)
        total = self._read_cell(raw, part, "total", amount_of)
        rate = self._read_cell(raw, part, "rate", rate_of)
        if rate is None and masked_tax:
            rate = rate_of(cells.get("tax"))
        if amount is None and tax is None and total is None:
            if void or is_blank(cells.get("goods")):
                return None
            raise self._no_amount(raw, part)
        if kind == "006" and amount is None and total is not None and not tax:
            amount, tax, rate = total, Decimal(), UNTAXED  # its face says no tax
        if amount is None and total is not None and tax is not None:
            amount = total - tax
        if amount is None and total is not None and rate in {EXEMPT, UNTAXED, ZERO}:
            amount, tax = total, Decimal()
        if amount is None:
            raise self._no_amount(raw, part)
        if tax is None and total is not None and total != 0:
            tax = total - amount
        rate = self._settle_rate(raw, part, rate, amount, tax, remark)
        if tax is None:
            if rate.startswith("0"):
                self._problem(part.place.at(raw.titles.get("tax", "税额")), "没有税额", "it has no tax")
                raise _Refused
            tax = Decimal()
        self._check_tax(raw, part, rate, amount, tax)
        name = text_of(cells.get("goods")) or text_of(cells.get("car_type"))
        spec = text_of(cells.get("spec")) or text_of(cells.get("car_model"))
        unit, quantity, price, freeform = self._quantities(part)
        return _Line(
            part.place,
            name,
            spec,
            unit,
            quantity,
            price,
            amount,
            tax,
            rate,
            _clean_goods_code(cells.get("goods_code")),
            freeform,
        )

    def _no_amount(self, raw: RawInvoice, part: RawLine) -> _Refused:
        self._problem(part.place.at(raw.titles.get("amount", "金额")), "没有金额", "it has no amount")
        return _Refused()

    def _quantities(self, part: RawLine) -> tuple[str, str | None, str | None, bool]:
        unit = text_of(part.cells.get("unit"))
        quantity_cell, price_cell = part.cells.get("quantity"), part.cells.get("price")
        if _looks_like_day(quantity_cell) or _looks_like_day(price_cell):
            quantity = price = None
        else:
            try:
                return unit, number_of(quantity_cell), number_of(price_cell), False
            except CellFault:
                quantity = price = None
        # A toll invoice writes days where quantity and price stand. They are kept as text, unchecked.
        parts = [unit, text_of(quantity_cell), text_of(price_cell)]
        return " ".join(p for p in parts if p)[:100], quantity, price, True

    def _settle_rate(
        self, raw: RawInvoice, part: RawLine, rate: str | None, amount: Decimal, tax: Decimal | None, remark: str
    ) -> str:
        if rate is not None and rate not in {MASKED, ZERO}:
            return rate
        flag = text_of(part.cells.get("zero_flag"))
        flagged = {"0": ZERO, "1": EXEMPT, "2": UNTAXED, "3": ZERO}.get(flag)
        if not tax:
            if "差额征税" in remark or "差额开票" in remark:
                return MARGIN
            if flagged:
                return flagged
            if rate is None:
                self._warning(
                    part.place.at(raw.titles.get("rate", "税率")),
                    "税率为空且税额为 0，按零税率处理",
                    "it has no rate and no tax; it is taken as zero-rated",
                )
            return ZERO
        place = part.place.at(raw.titles.get("rate", "税率"))
        if rate == MASKED:
            return MARGIN
        if rate == ZERO:
            self._problem(place, "税率为 0 而税额不为 0", "the rate is zero and the tax is not")
            raise _Refused
        if "差额征税" in remark:
            return MARGIN
        fitting = [known for known in KNOWN_RATES if abs(amount * known - tax) <= Decimal("0.01")]
        if len(fitting) != 1:
            self._problem(
                place,
                "税率为空，且不能由税额确定（可能有多个税率），需要含明细的清单",
                "it has no rate and the tax does not tell it (several rates?); a list with details is needed",
            )
            raise _Refused
        found = format(fitting[0].normalize(), "f")
        self._warning(place, f"税率为空，按税额推定为 {found}", f"it has no rate; the tax says {found}")
        return found

    def _check_tax(self, raw: RawInvoice, part: RawLine, rate: str, amount: Decimal, tax: Decimal) -> None:
        # 1.5 % is taken on another base; a summary line gathers the roundings of lines that are not here.
        if not rate.startswith("0") or rate == "0.015" or is_list_summary(text_of(part.cells.get("goods"))):
            return
        if raw.whole_in_row and not raw.titles.keys() & {"car_model"}:
            return
        if abs(amount * Decimal(rate) - tax) * 100 > TAX_TOLERANCE_FEN:
            self._warning(
                part.place.at(raw.titles.get("tax", "税额")),
                f"税额与 金额×税率 相差超过 {TAX_TOLERANCE_FEN / 100:.2f} 元，请核对",
                f"the tax differs from amount × rate by more than {TAX_TOLERANCE_FEN / 100:.2f} yuan; please check",
            )

    # --- sums -------------------------------------------------------------------------------------------------------

    def _stated_sums(self, raw: RawInvoice, lines: Sequence[_Line]) -> tuple[Decimal | None, Decimal | None]:
        amount = self._read(raw, "sum_amount", amount_of)
        tax = self._read(raw, "sum_tax", amount_of)
        if raw.subtotal is not None:
            amount = raw.subtotal[1] if amount is None else amount
            tax = raw.subtotal[2] if tax is None else tax
        return amount, tax

    def _in_fen(self, raw: RawInvoice, lines: Sequence[_Line], name: str, stated: Decimal | None) -> list[int]:
        """Return the amounts of the lines in fen; fractions of a fen are settled so that the stated sum holds."""
        exact: list[Decimal] = [getattr(line, name) for line in lines]
        rounded = [fen_of(value) for value in exact]
        if not any(has_fractions_of_fen(value) for value in exact):
            return rounded
        whole = fen_of(sum(exact, Decimal()) if stated is None else stated)
        missing = whole - sum(rounded)
        if abs(sum(exact, Decimal()) * 100 - whole) > Decimal("0.51") or abs(missing) > len(lines):
            return rounded  # the sums really differ: the check says so
        step = 1 if missing > 0 else -1
        by_remainder = sorted(range(len(lines)), key=lambda at: (-(exact[at] * 100 - rounded[at]) * step, at))
        for at in by_remainder[: abs(missing)]:
            rounded[at] += step
        return rounded

    def _check_sums(self, raw: RawInvoice, lines: Sequence[_Line], amount: int, tax: int) -> None:
        for place, name, stated, found in self._statements(raw, amount, tax):
            if stated is not None and fen_of(stated) != found:
                self._problem(
                    place.at(raw.titles.get(name, _NAMES[name])),
                    f"明细之和 {_money(found)} 与所列合计 {_money(fen_of(stated))} 不符",
                    f"the lines add up to {_money(found)}, and the list says {_money(fen_of(stated))}",
                )
        self._check_totals(raw, lines, amount + tax)

    def _statements(self, raw: RawInvoice, amount: int, tax: int) -> Iterator[tuple[Place, str, Decimal | None, int]]:
        yield raw.place, "sum_amount", self._read(raw, "sum_amount", amount_of), amount
        yield raw.place, "sum_tax", self._read(raw, "sum_tax", amount_of), tax
        if raw.subtotal is not None:
            yield raw.subtotal[0], "amount", raw.subtotal[1], amount
            yield raw.subtotal[0], "tax", raw.subtotal[2], tax

    def _check_totals(self, raw: RawInvoice, lines: Sequence[_Line], whole: int) -> None:
        """价税合计 stands for the line or for the invoice, as the list likes."""
        if "total" not in raw.titles:
            return
        kept = {line.place.row: line for line in lines}
        for part in raw.lines:
            line = kept.get(part.place.row)
            total = self._read_cell(raw, part, "total", amount_of)
            if line is None or total is None:
                continue
            if fen_of(total) != whole and abs(fen_of(total) - fen_of(line.amount + line.tax)) > 1:
                self._problem(
                    part.place.at(raw.titles["total"]),
                    "价税合计与金额、税额之和不符",
                    "the total differs from amount plus tax",
                )

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, raw: RawInvoice, name: str, reader: Callable[[Cell], _V]) -> _V | None:
        cell = raw.head.get(name)
        if cell is None:
            return None
        try:
            return reader(cell)
        except CellFault as fault:
            self._findings.problem(raw.place.at(raw.titles.get(name, _NAMES.get(name, name))), fault.text)
            raise _Refused from None

    def _read_cell(self, raw: RawInvoice, part: RawLine, name: str, reader: Callable[[Cell], _V]) -> _V | None:
        cell = part.cells.get(name)
        if cell is None:
            return None
        try:
            return reader(cell)
        except CellFault as fault:
            self._findings.problem(part.place.at(raw.titles.get(name, _NAMES.get(name, name))), fault.text)
            raise _Refused from None

    def _problem(self, place: Place, zh: str, en: str) -> None:
        self._findings.problem(place, Text(zh, en))

    def _warning(self, place: Place, zh: str, en: str) -> None:
        self._findings.warning(place, Text(zh, en))


def _shown(value: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(value))[:40]


def _money(fen: int) -> str:
    return f"{fen / 100:.2f}" if abs(fen) > MAX_FEN else format_fen(fen)


def _named_tax(text: str) -> bool:
    stripped = text.replace(" ", "")
    return bool(re.fullmatch(r"\*+", stripped)) or stripped in {"免税", "不征税", "零税率"}


def _looks_like_day(value: Cell) -> bool:
    if isinstance(value, date):
        return True
    return isinstance(value, str) and _DAY_TEXT.fullmatch(value) is not None


def _clean_goods_code(value: Cell) -> str:
    try:
        return digits_of(value)
    except CellFault:
        return ""  # nineteen digits turned into a number; nothing is decided by them


_KEYWORD: Final = r"(?:对应|正数|蓝字|蓝票|被红冲|红冲|原发票|原蓝票|冲销)"
_TWENTY: Final = re.compile(_KEYWORD + r"[^0-9]{0,24}(?<!编号)[:为]?\s*(?<![0-9])([0-9]{20})(?![0-9])")
_CODE_AND_NUMBER: Final = re.compile(
    _KEYWORD + r"[^0-9]{0,24}(?<![0-9])([0-9]{12}|[0-9]{10})(?![0-9])[^0-9]{0,16}([0-9]{8})(?![0-9])"
)


def blue_reference(remark: str) -> tuple[str, str]:
    """Return code and number of the invoice that a red one cancels, from the wordings that remarks use.

    `对应正数发票代码:…号码:…`, `被红冲蓝字数电票号码：…`, `蓝字发票代码… 号码…`, `红冲发票代码 … 号码 …`, `蓝票 … …`. A number of
    an application form (信息表编号, 确认单编号) is not an invoice. Two empty texts if the remark names none.
    """
    text = unicodedata.normalize("NFKC", remark)
    if match := _CODE_AND_NUMBER.search(text):
        return match[1], match[2]
    for match in _TWENTY.finditer(text):
        if "编号" not in match[0]:
            return "", match[1]
    return "", ""
