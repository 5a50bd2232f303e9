"""Amounts of money: integer fen inside, two-decimal strings outside, never floats."""

from __future__ import annotations

import re
from typing import Final

_AMOUNT: Final = re.compile(r"(-?)(0|[1-9][0-9]{0,12})\.([0-9]{2})", re.ASCII)
MAX_FEN: Final = 10**15 - 1


def parse_fen(text: str) -> int:
    """Return the fen of a canonical amount such as `-1234.50`.

    Args:
        text: Optional minus, no leading zeros, exactly two decimals, at most thirteen digits before the point.

    Raises:
        ValueError: Any other spelling, negative zero included.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"not an amount with two decimals: {text[:40]!r}")
    fen = int(match[2]) * 100 + int(match[3])
    if match[1]:
        if fen == 0:
            raise ValueError("negative zero")
        return -fen
    return fen


def format_fen(fen: int) -> str:
    """Return the canonical spelling of `fen`: the inverse of `parse_fen`.

    Raises:
        ValueError: More than thirteen digits before the point.
    """
    if abs(fen) > MAX_FEN:
        raise ValueError(f"amount out of range: {fen}")
    sign = "-" if fen < 0 else ""
    yuan, rest = divmod(abs(fen), 100)
    return f"{sign}{yuan}.{rest:02d}"


def format_yuan(fen: int) -> str:
    """Return an amount for people: `￥1,234.50` (the full-width sign exists in every Chinese code page)."""
    sign = "-" if fen < 0 else ""
    yuan, rest = divmod(abs(fen), 100)
    return f"{sign}￥{yuan:,}.{rest:02d}"
