"""What one cell means: texts, numbers, days, rates and amounts in every spelling that exports use.

A cell is what a reader found: text, a number, a day, or nothing. These functions are pure; what they cannot read with
certainty they refuse, because a guessed digit in a tax report is worse than a question.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import lru_cache
from typing import Final

from shared.text import Text

Cell = str | int | float | bool | date | Decimal | timedelta | None
"""What a reader finds in a cell; `datetime` is a `date`. Times and durations are not expected and refused."""

PLACEHOLDERS: Final = frozenset({"", "-", "--", "---", "/", "—", "——", "无", "null", "NULL", "None"})
_EXACT_DIGITS: Final = 15
"""A spreadsheet's number is exact up to fifteen digits; longer ones have lost some."""
MAX_YUAN: Final = Decimal(10) ** 13
_FEN: Final = Decimal("0.01")
_NOISE: Final = Decimal("0.000001")
_EIGHTEEN_DECIMALS: Final = Decimal(1).scaleb(-18)
_WIDE: Final = Context(prec=100)
"""Fifteen digits before the point and eighteen behind it do not fit the usual twenty-eight."""


# The spellings of nearly all cells; the others take the longer way below.
_PLAIN_AMOUNT: Final = re.compile(r"-?[0-9]{1,13}(?:\.[0-9]{1,4})?", re.ASCII)
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,18})?", re.ASCII)


class CellFault(ValueError):
    """A cell that cannot be read with certainty."""

    def __init__(self, text: Text) -> None:
        """Say why, in both languages."""
        super().__init__(text.en)
        self.text = text


def _fault(zh: str, en: str) -> CellFault:
    return CellFault(Text(zh, en))


def _shown(value: object) -> str:
    return "".join(c if c.isprintable() else "?" for c in str(value))[:40]


def is_blank(value: Cell) -> bool:
    """Return whether a cell holds nothing but blanks."""
    return value is None or (isinstance(value, str) and not value.strip(" \t\r\n\0\u00a0\u3000\ufeff\u200b"))


def text_of(value: Cell) -> str:
    """Return a cell as clean text: no control characters, no blanks at the ends, numbers without `.0`.

    `="00100144"` and a leading apostrophe are how spreadsheets are told to keep text; they are taken off.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        if value.isprintable() and value[:1] not in "=' \u3000" and value[-1:] not in " \u3000":
            return value
        kept = "".join(
            " " if (c.isspace() or _unprintable(c)) else c for c in value if c not in "\ufeff\u200b\u200c\u200d"
        )
        kept = kept.strip()
        if kept.startswith('="') and kept.endswith('"') and len(kept) > 2:
            kept = kept[2:-1].strip()
        return kept[1:] if re.match(r"'[0-9=+\-@]", kept) else kept
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**_EXACT_DIGITS:
        return str(int(value))
    if isinstance(value, datetime) and (value.hour, value.minute, value.second) == (0, 0, 0):
        return value.date().isoformat()
    return str(value)


def _unprintable(character: str) -> bool:
    # Not the unassigned ones: in a later version they may be somebody's name.
    return unicodedata.category(character) in {"Cc", "Cs", "Co", "Zl", "Zp"}


def digits_of(value: Cell) -> str:
    """Return the characters of an identifying number (code, number, tax id), empty if there is none.

    Raises:
        CellFault: A spreadsheet turned the number into a floating one: its last digits are lost.
    """
    if isinstance(value, bool):
        raise _fault("不是号码", "it is not a number")
    if isinstance(value, int | float | Decimal):
        number = Decimal(value)
        if not number.is_finite() or abs(number) >= 10**_EXACT_DIGITS:
            raise _fault(
                "长号码被表格软件变成了数值，末几位已丢失；请按文本格式重新导出",
                "a spreadsheet turned this long number into a value and lost its last digits; export it as text",
            )
        if number < 0 or number != int(number):
            raise _fault(f"不是号码：{_shown(value)}", f"it is not a number of an invoice: {_shown(value)}")
        return str(int(number))
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return value
    text = unicodedata.normalize("NFKC", text_of(value)).replace(" ", "")
    if text in PLACEHOLDERS:
        return ""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?[eE]\+?[0-9]+", text):
        raise _fault(
            f"号码成了科学计数法 {_shown(text)}，末几位已丢失；请按文本格式重新导出",
            f"the number became {_shown(text)} and lost its last digits; export it as text",
        )
    match = re.fullmatch(r"([0-9]{1,15})\.0+", text)
    return match[1] if match else text


def amount_of(value: Cell) -> Decimal | None:
    """Return an amount of yuan, exactly as given, or None for an empty cell.

    Raises:
        CellFault: Not an amount, or one of more than thirteen digits.
    """
    if value is None:
        return None
    if isinstance(value, str) and _PLAIN_AMOUNT.fullmatch(value):
        return Decimal(value)
    if isinstance(value, bool | date | timedelta):
        raise _fault(f"不是金额：{_shown(value)}", f"it is not an amount: {_shown(value)}")
    if isinstance(value, int | Decimal):
        found = Decimal(value)
    elif isinstance(value, float):
        # The shortest spelling of a float is what was typed; noise beyond it is cut off by `fen_of`.
        found = Decimal(repr(value))
    else:
        text = unicodedata.normalize("NFKC", text_of(value)).replace("\u2212", "-").replace(" ", "")
        if text in PLACEHOLDERS:
            return None
        text = re.sub(r"^(-?)(?:[¥$]|RMB|CNY)(?=[0-9.-])", r"\1", text).removesuffix("元")
        if bracketed := re.fullmatch(r"\(([0-9.,]+)\)", text):
            text = "-" + bracketed[1]
        if not re.fullmatch(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,25})?(\.[0-9]{0,30})?", text) or not re.search(
            r"[0-9]", text
        ):
            raise _fault(f"不是金额：{_shown(text)}", f"it is not an amount: {_shown(text)}")
        found = Decimal(text.replace(",", ""))
    if not found.is_finite() or abs(found) >= MAX_YUAN:
        raise _fault("金额超出范围", "the amount is out of range")
    return found


def fen_of(amount: Decimal) -> int:
    """Return an amount in whole fen, the half rounded away from zero."""
    whole = amount * 100
    return int(whole if whole == whole.to_integral_value() else amount.quantize(_FEN, ROUND_HALF_UP) * 100)


def has_fractions_of_fen(amount: Decimal) -> bool:
    """Return whether an amount says more than two decimals, the noise of floating numbers left aside."""
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent < -2 and abs(amount - amount.quantize(_FEN, ROUND_HALF_UP)) > _NOISE


def number_of(value: Cell) -> str | None:
    """Return a price or quantity as written, in plain digits with at most eighteen decimals, or None for nothing.

    Raises:
        CellFault: Not a number (the days and plates of a toll invoice, for example).
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and _PLAIN_NUMBER.fullmatch(value):
        return value
    if isinstance(value, bool | date | timedelta):
        raise _fault(f"不是数字：{_shown(value)}", f"it is not a number: {_shown(value)}")
    if isinstance(value, int | float | Decimal):
        text = repr(value) if isinstance(value, float) else str(value)
    else:
        text = unicodedata.normalize("NFKC", text_of(value)).replace("\u2212", "-").replace(" ", "")
        if text in PLACEHOLDERS:
            return None
        if not re.fullmatch(r"[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]{1,25})?(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?", text):
            raise _fault(f"不是数字：{_shown(text)}", f"it is not a number: {_shown(text)}")
        text = text.replace(",", "")
    try:
        found = Decimal(text)
    except ArithmeticError:
        raise _fault(f"不是数字：{_shown(text)}", f"it is not a number: {_shown(text)}") from None
    if not found.is_finite() or abs(found) >= Decimal(10) ** 15:
        raise _fault("数字超出范围", "the number is out of range")
    if _PLAIN_NUMBER.fullmatch(text):
        return text
    exponent = found.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -18:
        found = found.quantize(_EIGHTEEN_DECIMALS, context=_WIDE)
    plain = format(found, "f")
    return plain if abs(found) or not plain.startswith("-") else plain[1:]


_DAY: Final = re.compile(
    r"(?P<y>[12][0-9]{3})(?:-|/|\.|年)(?P<m>[0-9]{1,2})(?:-|/|\.|月)(?P<d>[0-9]{1,2})日?(?:[ T]*[0-9]{1,2}[:时].*)?"
)
_COMPACT_DAY: Final = re.compile(
    r"(?P<y>[12][0-9]{3})(?P<m>[0-9]{2})(?P<d>[0-9]{2})(?:[ T]*[0-9]{2}:?[0-9]{2}(:?[0-9]{2})?)?"
)
_SERIAL_DAYS: Final = (29_000, 80_000)
"""Day numbers of spreadsheets from 1979 to 2119, in the calendar that begins in 1900."""


def day_of(value: Cell) -> date | None:
    """Return a day in any spelling, its time left aside, or None for an empty cell.

    Raises:
        CellFault: Not a day, or no such day.
    """
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    if isinstance(value, bool | timedelta):
        raise _fault(f"不是日期：{_shown(value)}", f"it is not a day: {_shown(value)}")
    if isinstance(value, int | float | Decimal):
        if _SERIAL_DAYS[0] <= value < _SERIAL_DAYS[1]:
            return date(1899, 12, 30) + timedelta(days=int(value))
        text = text_of(value)
    else:
        text = " ".join(unicodedata.normalize("NFKC", text_of(value)).split())
        if text in PLACEHOLDERS:
            return None
    match = _DAY.fullmatch(text) or _COMPACT_DAY.fullmatch(text)
    if match is None:
        raise _fault(f"不是日期：{_shown(text)}", f"it is not a day: {_shown(text)}")
    try:
        return date(int(match["y"]), int(match["m"]), int(match["d"]))
    except ValueError:
        raise _fault(f"没有这一天：{_shown(text)}", f"there is no such day: {_shown(text)}") from None


MASKED: Final = "***"
"""What `rate_of` returns for a rate printed as asterisks: margin taxation, or a zero rate of old invoices."""
EXEMPT: Final = "exempt"
UNTAXED: Final = "untaxed"
ZERO: Final = "zero"
MARGIN: Final = "margin"
_NAMED_RATES: Final = {
    "免税": EXEMPT,
    "免征": EXEMPT,
    "免征增值税": EXEMPT,
    "不征税": UNTAXED,
    "不征收": UNTAXED,
    "不征收增值税": UNTAXED,
    "零税率": ZERO,
    "普通零税率": ZERO,
    "出口零税率": ZERO,
    "出口退税": ZERO,
    "差额": MARGIN,
    "差额征税": MARGIN,
    "差额征收": MARGIN,
}
KNOWN_RATES: Final = frozenset(
    Decimal(percent) / 100
    for percent in ("17", "16", "13", "11", "10", "9", "6", "5", "4", "3", "2", "1.5", "1", "0.5")
)
"""Every rate and levy rate since 1994; used where a spelling alone does not tell."""


def rate_of(value: Cell) -> str | None:
    """Return a tax rate as a decimal fraction, a named one, `MASKED`, or None for an empty cell.

    `13%`, `13`, `0.13` and `0.17000000000000001` are told apart by the rates that exist.

    Raises:
        CellFault: Neither.
    """
    if isinstance(value, bool | date | timedelta):
        raise _fault(f"不是税率：{_shown(value)}", f"it is not a rate: {_shown(value)}")
    return None if value is None else _rate_of(value)


@lru_cache(maxsize=256)
def _rate_of(value: str | float | Decimal) -> str | None:
    if isinstance(value, int | float | Decimal):
        text, percent = str(value), False
    else:
        text = unicodedata.normalize("NFKC", text_of(value)).replace(" ", "")
        if text in PLACEHOLDERS:
            return None
        if re.fullmatch(r"\*+%?", text):
            return MASKED
        if text in _NAMED_RATES:
            return _NAMED_RATES[text]
        percent = text.endswith("%")
        text = text.removesuffix("%")
        if not re.fullmatch(r"[0-9]{0,3}(\.[0-9]{0,25})?", text) or not re.search(r"[0-9]", text):
            raise _fault(f"不是税率：{_shown(value)}", f"it is not a rate: {_shown(value)}")
    number = Decimal(text)
    if not number.is_finite():
        raise _fault("不是税率", "it is not a rate")
    if abs(number) >= 1000:
        raise _fault(f"不是税率：{_shown(value)}", f"it is not a rate: {_shown(value)}")
    number = round(number, 8)
    if number == 0:
        return ZERO
    if percent or (number not in KNOWN_RATES and (number / 100 in KNOWN_RATES or number >= 1)):
        number /= 100
    number = round(number, 6)
    if not 0 < number < Decimal("0.3"):
        raise _fault(f"不是税率：{_shown(value)}", f"it is not a rate: {_shown(value)}")
    return format(number.normalize(), "f")
