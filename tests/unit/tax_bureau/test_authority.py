"""The days that a success carries."""

from __future__ import annotations

from datetime import date

import pytest

from tax_bureau.authority import Authority, after_success, next_month, of_new_card
from tax_bureau.home import filing_day
from tests.unit.tax_bureau.test_judge import HEADER

PRESENT = Authority(date(2026, 8, 17), date(2026, 8, 1), date(2026, 8, 17))


@pytest.mark.parametrize(
    ("stamp", "today", "lock_date"),
    [
        ("202608010000", date(2026, 8, 5), date(2026, 9, 15)),
        ("202609010000", date(2026, 9, 1), date(2026, 10, 26)),
        ("202612010000", date(2026, 12, 3), date(2027, 1, 20)),
        ("202608010000", date(2026, 9, 15), date(2026, 9, 15)),
        ("202608010000", date(2026, 9, 16), date(2026, 10, 26)),
    ],
    ids=["next month", "holidays", "next year", "last day of the next", "too late for the next"],
)
def test_period_success_moves_to_the_next_filing_day_that_is_not_past(stamp: str, today: date, lock_date: date) -> None:
    year, month = int(stamp[:4]), int(stamp[4:6])
    before = date(year - (month == 1), (month - 2) % 12 + 1, 1)
    header = HEADER.model_copy(update={"stamp": stamp, "period_start": before.isoformat()})
    found = after_success(header, PRESENT, today, lambda m: date(2027, 1, 20) if m == "2027-01" else filing_day(m))
    assert found == Authority(lock_date, lock_date.replace(day=1), lock_date)


def test_adhoc_success_moves_nothing() -> None:
    header = HEADER.model_copy(update={"kind": "adhoc", "stamp": "202608050808"})
    assert after_success(header, PRESENT, date(2026, 8, 5), filing_day) == PRESENT


@pytest.mark.parametrize(
    ("today", "lock_date"),
    [
        (date(2026, 8, 1), date(2026, 8, 17)),
        (date(2026, 8, 17), date(2026, 8, 17)),
        (date(2026, 8, 18), date(2026, 8, 31)),
        (date(2026, 8, 31), date(2026, 8, 31)),
    ],
)
def test_new_card_is_never_locked_and_always_has_this_month_to_report(today: date, lock_date: date) -> None:
    assert of_new_card(today, filing_day) == Authority(lock_date, date(2026, 8, 1), lock_date)


def test_month_after_december_is_january() -> None:
    assert next_month(date(2026, 12, 31)) == date(2027, 1, 1)
