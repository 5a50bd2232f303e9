"""Canonical JSON, lines, names, amounts and times: docs/spec/canonical.md and docs/spec/names.md, read afresh."""

from __future__ import annotations

import calendar
import json
import re
import unicodedata
from datetime import date, datetime
from typing import Any

from tests.conformance.independent.octets import Refused, need

_AMOUNT = re.compile(r"-?(?:0|[1-9][0-9]{0,12})\.[0-9]{2}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    need(len(found) == len(pairs), "a member stands twice")
    return found


def _no(_: str) -> Any:
    raise Refused("a number that is not an integer")


def _allowed(value: Any, depth: int = 0) -> None:
    need(depth <= 16, "nested too deep")
    if isinstance(value, dict):
        need(all(name.isascii() for name in value), "a member name beyond ASCII")
        for member in value.values():
            _allowed(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _allowed(member, depth + 1)
    elif isinstance(value, int) and not isinstance(value, bool):
        need(abs(value) < 1 << 53, "a number out of range")


def canonical_json(data: bytes) -> dict[str, Any]:
    """Return an object of which `data` is the one spelling (FORM-1, FORM-2)."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_members, parse_float=_no, parse_constant=_no)
        need(isinstance(value, dict), "the top level is no object")
        _allowed(value)
        again = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except (ValueError, RecursionError):
        raise Refused("not JSON") from None
    need(again == data, "JSON in another spelling")
    return value


def fen(text: Any) -> int:
    """Return an amount of money in whole fen (FORM-3)."""
    need(isinstance(text, str) and _AMOUNT.fullmatch(text) and text != "-0.00", "not an amount")
    return int(text.replace(".", ""))


def time(text: str) -> datetime:
    """Return a time in China Standard Time (FORM-3)."""
    need(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+08:00", text), "not a time")
    need(text >= "0001-01-01T08" and text[11:13] < "24", "a time out of range")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Refused("no such time") from None


def day(text: Any) -> date:
    """Return a day (FORM-3)."""
    need(isinstance(text, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text), "not a day")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Refused("no such day") from None


def matching(pattern: str, text: str) -> str:
    """Return the text if all of it matches."""
    need(re.fullmatch(pattern, text), "a value of another form")
    return text


def tax_number(text: str) -> str:
    """Return a 税号 (NAME-2)."""
    return matching("[0-9A-Z]{15}|[0-9A-Z]{17}|[0-9A-Z]{18}|[0-9A-Z]{20}", text)


def machine_number(text: str) -> int:
    """Return a 分机号 (NAME-3)."""
    number = int(matching("0|[1-9][0-9]{0,4}", text))
    need(number <= 65535, "no such machine")
    return number


def copy_time(text: str) -> str:
    """Return a 抄税日期时间 (NAME-4)."""
    matching("[0-9]{12}", text)
    try:
        datetime.strptime(text + "+0800", "%Y%m%d%H%M%z")
    except ValueError:
        raise Refused("no such minute") from None
    need(not text.endswith("0000") or text[6:8] == "01", "a period report on another day than the first")
    return text


def month_before(stamp: str) -> tuple[date, date]:
    """Return the first and the last day that a period report covers."""
    year, month = int(stamp[:4]), int(stamp[4:6]) - 1
    if not month:
        year, month = year - 1, 12
    need(year >= 1, "a month before all months")
    return date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])


_UNSEEN = (
    *((0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200F), (0x2028, 0x202E)),
    *((0x2060, 0x206F), (0xD800, 0xF8FF), (0xFDD0, 0xFDEF), (0xFEFF, 0xFEFF), (0xFFF9, 0xFFFB), (0xE0000, 0xE007F)),
    (0xF0000, 0x10FFFF),
)
_SPACES = {0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000}


def _forbidden(code: int) -> bool:
    return code & 0xFFFE == 0xFFFE or any(first <= code <= last for first, last in _UNSEEN)


def _fit_value(text: str) -> None:
    need(unicodedata.is_normalized("NFC", text), "not in form NFC")
    need(not any(_forbidden(ord(character)) for character in text), "a forbidden character")
    need(not text or (ord(text[0]) not in _SPACES and ord(text[-1]) not in _SPACES), "white space at an end")
    need(not text.startswith("-----"), "a value like a marker line")


def lines(body: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Return the title and the lines of a text that people read (FORM-4, FORM-5)."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    need(text.endswith("\r\n"), "the last line is not ended")
    title, *rest = text[:-2].split("\r\n")
    need(title, "no title")
    _fit_value(title)
    found = []
    for line in rest:
        label, colon, value = line.partition(":")
        need(colon and label, "a line without label")
        if value:
            need(value[0] == " " and len(value) > 1, "no blank before the value, or nothing after it")
            value = value[1:]
        _fit_value(label)
        _fit_value(value)
        found.append((label, value))
    return title, found
