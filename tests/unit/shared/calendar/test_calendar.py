"""Filing deadlines: the published ones, the rule, and what is only a forecast."""

from __future__ import annotations

from datetime import date

import pytest

from shared.calendar import Deadline, computed_deadline, days_left, filing_deadline, is_working_day

PUBLISHED_2026 = (20, 24, 16, 20, 22, 15, 15, 17, 15, 26, 16, 15)


@pytest.mark.parametrize(("month", "day"), list(enumerate(PUBLISHED_2026, 1)))
def test_the_published_deadlines_of_2026_are_given_as_official(month: int, day: int) -> None:
    assert filing_deadline(f"2026-{month:02d}") == Deadline(date(2026, month, day), "official")


@pytest.mark.parametrize(("month", "day"), list(enumerate(PUBLISHED_2026, 1)))
def test_the_rule_agrees_with_every_published_deadline(month: int, day: int) -> None:
    assert computed_deadline(f"2026-{month:02d}").day == date(2026, month, day)


@pytest.mark.parametrize(
    ("year", "days"),
    [
        (2024, (15, 23, 15, 18, 22, 17, 15, 15, 18, 24, 15, 16)),
        (2025, (15, 20, 17, 18, 22, 16, 15, 15, 15, 27, 17, 15)),
    ],
)
def test_years_with_known_holidays_are_computed(year: int, days: tuple[int, ...]) -> None:
    found = [filing_deadline(f"{year}-{month:02d}") for month in range(1, 13)]
    assert tuple(d.day.day for d in found) == days
    assert {d.source for d in found} == {"computed"}
    assert not any(d.certain for d in found)


def test_an_unknown_year_uses_weekends_only_and_says_so() -> None:
    assert filing_deadline("2031-06") == Deadline(date(2031, 6, 16), "forecast")  # the 15th is a Sunday
    assert filing_deadline("2031-10") == Deadline(date(2031, 10, 15), "forecast")


def test_a_bureaus_later_word_wins_over_the_published_table() -> None:
    later = {"2026-02": 28}
    assert filing_deadline("2026-02", later) == Deadline(date(2026, 2, 28), "override")
    assert filing_deadline("2026-03", later).source == "official"


@pytest.mark.parametrize("month", ["2026-13", "2026-00", "2026-1", "202601", "0000-01", "２０２６-01", ""])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(ValueError, match=f"^{month}$"):
        filing_deadline(month)


def test_moved_working_days_are_working_days() -> None:
    assert is_working_day(date(2024, 2, 18))  # a Sunday that was worked for the Spring Festival
    assert not is_working_day(date(2026, 10, 1))
    assert not is_working_day(date(2026, 8, 15))  # an ordinary Saturday


def test_the_deadlines_own_day_still_counts() -> None:
    assert days_left(date(2026, 8, 17), date(2026, 8, 17)) == 0
    assert days_left(date(2026, 8, 17), date(2026, 8, 18)) == -1
