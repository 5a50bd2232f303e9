"""What a success gives back to the card: the next lock date, the next period, the next upload deadline. Pure.

The days follow the official filing calendar; which day that is in a month is asked of whoever knows the calendar.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from shared.ids import month_end, parse_stamp
from shared.model.report import PublicHeader

FilingDay = Callable[[str], date]
"""Returns the last filing day of a month `YYYY-MM`."""


@dataclass(frozen=True)
class Authority:
    """Days that the card takes over when it clears.

    Attributes:
        lock_date: 锁死日期: the last day on which the card may copy and report.
        next_period_start: 下期起始: from this day on the next period can be copied.
        upload_deadline: 上传截止日期.
    """

    lock_date: date
    next_period_start: date
    upload_deadline: date


def next_month(day: date) -> date:
    """Return the first day of the month after `day`'s."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def month_text(day: date) -> str:
    """Return a day's month as `YYYY-MM`."""
    return f"{day:%Y-%m}"


def after_success(header: PublicHeader, present: Authority, today: date, filing_day: FilingDay) -> Authority:
    """Return the days that a success for this report carries (JUDGE-16).

    A period report (征期) moves them to the month after its copy; if that month's filing day is past already (a late
    report that a person let through), to the next one that is not, for a lock date in the past would lock the card
    that was just cleared. An ad hoc report (非征期) moves nothing.

    Args:
        header: The report.
        present: The days on the card now.
        today: The day of the decision.
        filing_day: The calendar.
    """
    if header.kind != "period":
        return present
    month = next_month(parse_stamp(header.stamp).moment.date())
    while filing_day(month_text(month)) < today:
        month = next_month(month)
    last = filing_day(month_text(month))
    return Authority(lock_date=last, next_period_start=month, upload_deadline=last)


def of_new_card(today: date, filing_day: FilingDay) -> Authority:
    """Return the days of a card issued today that has a period to report this month.

    Its lock date is this month's filing day or, once that is past, the last day of the month: never in the past, and
    never in a later month, for such a card would take this month's report for done.
    """
    last = filing_day(month_text(today))
    if last < today:
        last = month_end(today)
    return Authority(lock_date=last, next_period_start=today.replace(day=1), upload_deadline=last)
