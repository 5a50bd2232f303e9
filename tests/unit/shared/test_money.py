"""Amounts of money (FORM-3)."""

from __future__ import annotations

import pytest

from shared.money import MAX_FEN, format_fen, format_yuan, parse_fen


@pytest.mark.parametrize(
    ("text", "fen"),
    [
        ("0.00", 0),
        ("0.01", 1),
        ("-0.01", -1),
        ("1.00", 100),
        ("1234567.89", 123456789),
        ("-1234.50", -123450),
        ("9999999999999.99", MAX_FEN),
    ],
)
def test_amounts_are_read_and_written(text: str, fen: int) -> None:
    assert parse_fen(text) == fen
    assert format_fen(fen) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "1.000",
        "01.00",
        "-0.00",
        "+1.00",
        "1,234.00",
        ".50",
        "1.",
        "1e2",
        "１.00",
        " 1.00",
        "1.00\n",
        "10000000000000.00",
        "NaN",
        "--1.00",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fen(text)


def test_an_amount_out_of_range_is_not_written() -> None:
    for fen in (MAX_FEN + 1, -MAX_FEN - 1):
        with pytest.raises(ValueError, match="range"):
            format_fen(fen)


def test_people_see_a_sign_and_thousands() -> None:
    assert format_yuan(123456789) == "￥1,234,567.89"
    assert format_yuan(-5) == "-￥0.05"
