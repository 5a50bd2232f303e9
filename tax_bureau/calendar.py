"""The bureau's own filing calendar: the official rule, and the days that a person has published since."""

from __future__ import annotations

from datetime import date
from typing import Final

from shared.calendar import Deadline, filing_deadline
from shared.text import Text
from tax_bureau.store import Store, Transaction

_PREFIX: Final = "calendar "


class FilingCalendar:
    """Answers until when a month's report can be filed, and how sure that is."""

    def __init__(self, store: Store) -> None:
        """Read the published days from here."""
        self._store = store

    def __call__(self, month: str) -> date:
        """Return the last filing day of a month `YYYY-MM`."""
        return self.deadline(month).day

    def deadline(self, month: str) -> Deadline:
        """Return the last filing day of a month `YYYY-MM`, with its source."""
        with self._store.read() as tx:
            return filing_deadline(month, overrides(tx))

    def doubt(self, day: date | None) -> Text | None:
        """Return what a person has to know about a lock date that nobody has published; None if there is nothing.

        A date that is not its month's filing day was set by a person and is as sure as that person was.
        """
        if day is None:
            return None
        found = self.deadline(f"{day:%Y-%m}")
        if found.certain or found.day != day:
            return None
        return _DOUBT.fill(day=day, year=day.year)


_DOUBT: Final = Text(
    "锁死日期 {day} 是预测：{year} 年的征期日历尚未公布，以税务机关公布的为准",
    "the lock date {day} is a forecast: the calendar of {year} is not published yet, and what the bureau publishes counts",
)


def overrides(tx: Transaction) -> dict[str, int]:
    """Return the published days by month."""
    return {month: int(day) for month, day in tx.settings_with(_PREFIX).items()}


def publish_day(tx: Transaction, day: date) -> None:
    """Keep the last filing day of its month."""
    tx.set_setting(f"{_PREFIX}{day:%Y-%m}", str(day.day))
