from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from offline_station.ledger.cells import (
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


@pytest.mark.parametrize(
    ("cell", "fen"),
    [
        ("1100.00", 110000),
        ("1,234,567.8", 123456780),
        (" 12.30 ", 1230),
        ("￥1,000.00", 100000),
        ("１２.５０", 1250),
        ("-100", -10000),
        ("−100.00", -10000),
        ("-¥5.00", -500),
        ("(25.00)", -2500),
        ("73700.00元", 7370000),
        (".5", 50),
        (8000, 800000),
        (0.1 + 0.2, 30),
        (1234.5600000000001, 123456),
        (94.339622641509433, 9434),
        (1.005, 101),
        (-1.005, -101),
        (Decimal("9.999"), 1000),
    ],
)
def test_an_amount_is_read_to_the_fen_in_every_spelling(cell: Cell, fen: int) -> None:
    amount = amount_of(cell)
    assert amount is not None
    assert fen_of(amount) == fen


@pytest.mark.parametrize("cell", [None, "", "  ", "-", "--", "\u3000", "—"])
def test_a_cell_with_nothing_in_it_is_no_amount(cell: Cell) -> None:
    assert amount_of(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        "abc",
        "1,23.00",
        "1.2.3",
        "1e5",
        "12万",
        "*",
        True,
        date(2019, 1, 1),
        float("nan"),
        float("inf"),
        "9" * 14,
        1e14,
        timedelta(1),
    ],
)
def test_what_is_no_amount_is_refused(cell: Cell) -> None:
    with pytest.raises(CellFault):
        amount_of(cell)


def test_noise_of_floating_numbers_is_no_fraction_of_a_fen() -> None:
    assert not has_fractions_of_fen(Decimal(repr(0.1 + 0.2)))
    assert not has_fractions_of_fen(Decimal("1100.00"))
    assert has_fractions_of_fen(Decimal("94.339622641509433"))


@pytest.mark.parametrize(
    ("cell", "rate"),
    [
        ("13%", "0.13"),
        ("13", "0.13"),
        (13, "0.13"),
        (13.0, "0.13"),
        ("0.13", "0.13"),
        (0.17, "0.17"),
        (0.13 + 1e-16, "0.13"),
        ("3", "0.03"),
        ("1", "0.01"),
        ("1%", "0.01"),
        ("1.5%", "0.015"),
        (0.015, "0.015"),
        ("0.5", "0.005"),
        ("10%", "0.1"),
        ("１３％", "0.13"),
        ("免税", "exempt"),
        ("不征税", "untaxed"),
        ("不征收", "untaxed"),
        ("0%", "zero"),
        ("0", "zero"),
        (0, "zero"),
        ("普通零税率", "zero"),
        ("***", "***"),
        ("差额征税", "margin"),
        (None, None),
        ("", None),
        ("--", None),
    ],
)
def test_a_rate_is_read_in_every_spelling(cell: Cell, rate: str | None) -> None:
    assert rate_of(cell) == rate


@pytest.mark.parametrize(
    "cell", ["很多", "50%", 0.7, 99, 1e20, -1e20, "-3%", True, float("nan"), "1e-2", date(2019, 1, 1)]
)
def test_what_is_no_rate_is_refused(cell: Cell) -> None:
    with pytest.raises(CellFault):
        rate_of(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "2017-01-07",
        "2017-01-07 10:11:12",
        "2017-01-07T10:11:12",
        "2017-1-7",
        "2017/1/7",
        "2017/01/07 9:05",
        "2017.01.07",
        "2017年1月7日",
        "2017年01月07日 10时",
        "20170107",
        "20170107101112",
        20170107,
        20170107.0,
        42742,
        42742.5,
        date(2017, 1, 7),
        datetime(2017, 1, 7, 23, 59),  # noqa: DTZ001 - workbooks have no time zone
        " 2017-01-07 ",
        "２０１７-０１-０７",
    ],
)
def test_a_day_is_read_in_every_spelling(cell: Cell) -> None:
    assert day_of(cell) == date(2017, 1, 7)


@pytest.mark.parametrize(
    "cell", ["2017-02-30", "20171301", "昨天", "7/1/2017", 12, 1e18, True, "2017", "20170107x", float("nan")]
)
def test_what_is_no_day_is_refused(cell: Cell) -> None:
    with pytest.raises(CellFault):
        day_of(cell)


@pytest.mark.parametrize(
    ("cell", "digits"),
    [
        ("00100144", "00100144"),
        ("\t00100144 ", "00100144"),
        ('="00100144"', "00100144"),
        ("'00100144", "00100144"),
        ("００１００１４４", "00100144"),
        (100144, "100144"),
        (100144.0, "100144"),
        ("100144.0", "100144"),
        ("--", ""),
        (None, ""),
        ("91310000ma1fl1234x", "91310000ma1fl1234x"),
    ],
)
def test_an_identifying_number_keeps_its_characters(cell: Cell, digits: str) -> None:
    assert digits_of(cell) == digits


@pytest.mark.parametrize(
    "cell",
    [
        2.6312000000012345e19,
        26312000000012345678,
        "2.63E+19",
        "2.6312e19",
        1e15,
        12.5,
        -3,
        True,
        float("nan"),
        float("inf"),
    ],
)
def test_a_number_that_lost_digits_is_never_guessed(cell: Cell) -> None:
    with pytest.raises(CellFault):
        digits_of(cell)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("100", "100"),
        ("0.123456789012345678", "0.123456789012345678"),
        ("1,234.50", "1234.50"),
        (3.42, "3.42"),
        (5.0, "5.0"),
        (1e-7, "0.0000001"),
        ("1.5E-05", "0.000015"),
        ("0.1234567890123456789", "0.123456789012345679"),
        ("-2", "-2"),
        ("12345678901234.1234567890123456789", "12345678901234.123456789012345679"),
        ("-0.00000000000000000000001", "0.000000000000000000"),
        (".5", "0.5"),
        ("", None),
        (None, None),
    ],
)
def test_prices_and_quantities_stay_as_written(cell: Cell, number: str | None) -> None:
    assert number_of(cell) == number


@pytest.mark.parametrize("cell", ["20180301", "1" * 16, "2018-03-01", "沪A12345", True, float("inf"), "1e99"])
def test_a_number_beyond_all_invoices_is_refused_or_kept_as_text(cell: Cell) -> None:
    if cell == "20180301":
        assert number_of(cell) == "20180301"
    else:
        with pytest.raises(CellFault):
            number_of(cell)


def test_text_is_cleaned_of_what_cannot_be_printed() -> None:
    assert text_of(" \u3000甲\r\n乙\t丙\ufeff\u200b ") == "甲  乙 丙"
    assert text_of("a\x00b\ud800c") == "a b c"
    assert text_of("'=HYPERLINK(1)") == "=HYPERLINK(1)"
    assert text_of("'tis") == "'tis"
    assert text_of("张\U000323b0 ") == "张\U000323b0"  # not yet assigned in the tables of Python 3.11
    assert text_of(12.0) == "12"
    assert text_of(None) == ""


def test_blank_means_nothing_visible() -> None:
    assert is_blank(None)
    assert is_blank(" \u3000\u00a0\t")
    assert not is_blank(0)
    assert not is_blank("0")
