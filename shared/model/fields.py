"""Reading the signed texts: exactly the expected labels in exactly their order, one spelling for every value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Final

from shared.canonical import MAX_SAFE_INTEGER, parse_lines
from shared.clock import CHINA, parse_time
from shared.errors import FormatError, NameInvalid, NotCanonical
from shared.ids import (
    Nonce,
    ReportDigest,
    ReportName,
    parse_machine_no,
    parse_nonce,
    parse_report_digest,
    parse_stamp,
    parse_taxpayer_id,
)
from shared.text import Text

MAX_TEXT_BYTES: Final = 65536
"""The largest result, receipt or clear receipt, signature included."""

L_TAXPAYER, L_MACHINE, L_CARD, L_STAMP, L_DIGEST = "税号", "分机号", "卡号", "抄税时间", "报告摘要"
_CARD_NO: Final = re.compile(r"[0-9A-Za-z-]{1,40}", re.ASCII)
_RECEIPT_NO: Final = re.compile(r"[0-9A-Za-z._-]{1,64}", re.ASCII)


class Lines:
    """The lines of a text body, taken one after the other."""

    def __init__(self, body: bytes, title: str, error: Callable[..., FormatError]) -> None:
        """Read the body.

        Args:
            body: Canonical text, without its signature.
            title: The only title accepted.
            error: The error class of this kind of file; it is given `reason`.

        Raises:
            FormatError: Of the given class: not a canonical text, or another title.
        """
        self._error = error
        try:
            found, pairs = parse_lines(body)
        except NotCanonical as fault:
            raise error(reason=fault.context["reason"]) from None
        if found != title:
            raise error(reason=Text(f"第 1 行应为“{title}”", f"line 1 must be '{title}'"))
        self._pairs: Sequence[tuple[str, str]] = pairs
        self._next = 0

    def take(self, label: str) -> str:
        """Return the value of the next line, whose label must be `label`."""
        if self._next >= len(self._pairs) or self._pairs[self._next][0] != label:
            raise self._error(
                reason=Text(f"第 {self._next + 2} 行应为“{label}”", f"line {self._next + 2} must be '{label}'")
            )
        value = self._pairs[self._next][1]
        self._next += 1
        return value

    def take_series(self, prefix: str, limit: int) -> Iterator[tuple[str, str]]:
        """Yield what follows the prefix and a blank in the label, and the value, of the next lines of that kind."""
        taken = 0
        while self._next < len(self._pairs) and self._pairs[self._next][0].startswith(prefix + " "):
            taken += 1
            if taken > limit:
                raise self._error(reason=Text(f"“{prefix}”多于 {limit} 行", f"more than {limit} lines '{prefix}'"))
            label, value = self._pairs[self._next]
            self._next += 1
            yield label[len(prefix) + 1 :], value

    def end(self) -> None:
        """Check that no line is left."""
        if self._next != len(self._pairs):
            raise self._error(
                reason=Text(f"第 {self._next + 2} 行是多余的", f"line {self._next + 2} should not be there")
            )

    @contextmanager
    def values(self) -> Iterator[None]:
        """Turn what the value parsers raise inside the block into this file's error class."""
        try:
            yield
        except NameInvalid as fault:
            raise self._error(reason=fault.text) from None
        except (ValueError, OverflowError) as fault:
            raise self._error(reason=Text("有一行的值不符合规定", f"a value is invalid ({fault})")) from None


def take_name_and_card(lines: Lines) -> tuple[ReportName, str]:
    """Return the report's identity and the card, from the four lines that results and clear receipts begin with."""
    taxpayer_id = parse_taxpayer_id(lines.take(L_TAXPAYER))
    machine_no = parse_machine_no(lines.take(L_MACHINE))
    card_no = parse_card_no(lines.take(L_CARD))
    return ReportName(taxpayer_id, machine_no, parse_stamp(lines.take(L_STAMP))), card_no


def take_digest(lines: Lines) -> ReportDigest:
    """Return the report digest on the next line."""
    return parse_report_digest(lines.take(L_DIGEST))


def take_nonce(lines: Lines, label: str) -> Nonce:
    """Return the nonce on the next line."""
    return parse_nonce(lines.take(label))


def name_lines(name: ReportName, card_no: str | None) -> Iterator[tuple[str, str]]:
    """Yield the identity lines of a text."""
    yield L_TAXPAYER, name.taxpayer_id
    yield L_MACHINE, str(name.machine_no)
    if card_no is not None:
        yield L_CARD, card_no
    yield L_STAMP, name.stamp.text


def parse_card_no(text: str) -> str:
    """Return a card number: up to 40 letters, digits and hyphens.

    Raises:
        ValueError: Anything else.
    """
    if _CARD_NO.fullmatch(text) is None:
        raise ValueError(f"card number {text[:50]!r}")
    return text


def parse_receipt_no(text: str) -> str:
    """Return the number of an upload receipt: up to 64 letters, digits, dots, hyphens and underscores.

    Raises:
        ValueError: Anything else.
    """
    if _RECEIPT_NO.fullmatch(text) is None:
        raise ValueError(f"receipt number {text[:70]!r}")
    return text


def parse_count(text: str, *, least: int = 0) -> int:
    """Return a whole number without sign and leading zeros, at most 2⁵³−1.

    Raises:
        ValueError: Anything else.
    """
    if re.fullmatch(r"0|[1-9][0-9]{0,15}", text, re.ASCII) is None or not least <= int(text) <= MAX_SAFE_INTEGER:
        raise ValueError(f"number {text[:20]!r}")
    return int(text)


def parse_sha256(text: str) -> str:
    """Return 64 lower-case hex digits.

    Raises:
        ValueError: Anything else.
    """
    if re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII) is None:
        raise ValueError(f"digest {text[:70]!r}")
    return text


def parse_day(text: str) -> date:
    """Return a day written `2008-08-15`.

    Raises:
        ValueError: Any other spelling, or no such day.
    """
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII) is None:
        raise ValueError(f"day {text[:20]!r}")
    return date.fromisoformat(text)


def parse_optional_day(text: str) -> date | None:
    """Return a day, or None for an empty value."""
    return parse_day(text) if text else None


def parse_moment(text: str) -> datetime:
    """Return a time in its one spelling."""
    return parse_time(text)


def whole_seconds(moment: datetime) -> datetime:
    """Return the moment as texts can carry it: China Standard Time, whole seconds.

    Raises:
        ValueError: It is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("a time without zone")
    return moment.astimezone(CHINA).replace(microsecond=0)


def day_text(day: date | None) -> str:
    """Return the spelling of a day, or an empty value."""
    return day.isoformat() if day is not None else ""


def number_text(number: int | None) -> str:
    """Return the spelling of a number, or an empty value."""
    return str(number) if number is not None else ""
