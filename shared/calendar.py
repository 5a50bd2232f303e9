"""Until when a month's report is due: a forecast for people, never a decision.

The lock date is written on the card by the bureau and is read from there; what is computed here only tells people what
to expect, and says how sure it is.

The rule: the 15th. If public holidays of three days and more in a row lie within the 1st to the 15th, the deadline
moves by as many working days; otherwise a 15th that is no working day moves to the next one. Every published date of
2026 agrees with it. A year whose holidays are not known yet gets weekends only, and is marked as a forecast.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Final, Literal

Source = Literal["override", "official", "computed", "forecast"]

_LAST_DAY: Final = 15
_SHORTEST_RUN: Final = 3


@dataclass(frozen=True)
class Deadline:
    """The last day on which a month's declaration and report are in time.

    Attributes:
        day: The day, included.
        source: `override` (a bureau's later word), `official` (published for the year), `computed` (by the rule, from
            the year's published holidays), `forecast` (by the rule with weekends only).
    """

    day: date
    source: Source

    @property
    def certain(self) -> bool:
        """Whether a bureau has said so."""
        return self.source in ("override", "official")


# The published deadlines, month by month.
_OFFICIAL: Final[Mapping[int, tuple[int, ...]]] = MappingProxyType(
    {2026: (20, 24, 16, 20, 22, 15, 15, 17, 15, 26, 16, 15)}
)

# Public holidays as published, each run with its moved rest days; and the weekend days that became working days.
_HOLIDAYS: Final[Mapping[int, tuple[tuple[str, str], ...]]] = MappingProxyType(
    {
        2024: (
            ("01-01", "01-01"),
            ("02-10", "02-17"),
            ("04-04", "04-06"),
            ("05-01", "05-05"),
            ("06-10", "06-10"),
            ("09-15", "09-17"),
            ("10-01", "10-07"),
        ),
        2025: (
            ("01-01", "01-01"),
            ("01-28", "02-04"),
            ("04-04", "04-06"),
            ("05-01", "05-05"),
            ("05-31", "06-02"),
            ("10-01", "10-08"),
        ),
        2026: (
            ("01-01", "01-03"),
            ("02-15", "02-23"),
            ("04-04", "04-06"),
            ("05-01", "05-05"),
            ("06-19", "06-21"),
            ("09-25", "09-27"),
            ("10-01", "10-07"),
        ),
    }
)
_WORKING_WEEKENDS: Final = frozenset(
    date.fromisoformat(day)
    for day in (
        *(
            "2024-02-04",
            "2024-02-18",
            "2024-04-07",
            "2024-04-28",
            "2024-05-11",
            "2024-09-14",
            "2024-09-29",
            "2024-10-12",
        ),
        *("2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11"),
        *("2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"),
    )
)


def filing_deadline(month: str, overrides: Mapping[str, int] | None = None) -> Deadline:
    """Return until when the report that is due in a month can be filed.

    Args:
        month: `YYYY-MM`, the month in which it is due; it covers the month before.
        overrides: Days that a bureau has published since, by month (the trust file's calendar); they win.

    Raises:
        ValueError: `month` is not a month, or an override is none of its days.
    """
    if re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month, re.ASCII) is None or month.startswith("0000"):
        raise ValueError(month)
    year, number = int(month[:4]), int(month[5:])
    if overrides and month in overrides:
        return Deadline(date(year, number, overrides[month]), "override")
    if year in _OFFICIAL:
        return Deadline(date(year, number, _OFFICIAL[year][number - 1]), "official")
    return computed_deadline(month)


def computed_deadline(month: str) -> Deadline:
    """Return what the rule alone says for a month `YYYY-MM`."""
    year, number = int(month[:4]), int(month[5:])
    day = date(year, number, _LAST_DAY)
    extension = sum(length for length in _runs(date(year, number, 1), day) if length >= _SHORTEST_RUN)
    if extension == 0:
        while not is_working_day(day):
            day += timedelta(days=1)
    while extension:
        day += timedelta(days=1)
        extension -= is_working_day(day)
    return Deadline(day, "computed" if year in _HOLIDAYS else "forecast")


def is_working_day(day: date) -> bool:
    """Return whether a day is a working day, as far as its year's holidays are known."""
    if any(first <= day <= last for first, last in _holidays(day.year)):
        return False
    return day.weekday() < 5 or day in _WORKING_WEEKENDS


def days_left(deadline: date, today: date) -> int:
    """Return how many days are left, the deadline's own day counted as zero; negative if it has passed."""
    return (deadline - today).days


def _holidays(year: int) -> Iterator[tuple[date, date]]:
    for first, last in _HOLIDAYS.get(year, ()):
        yield date.fromisoformat(f"{year}-{first}"), date.fromisoformat(f"{year}-{last}")


def _runs(first: date, last: date) -> Iterator[int]:
    """Yield the length of each run of holidays, as far as it lies between two days."""
    for start, end in _holidays(first.year):
        yield max((min(end, last) - max(start, first)).days + 1, 0)
