"""The time, as something that can be handed in.

Times that people and files see are China Standard Time, which has no summer time. Cores take `now` as an argument;
only shells own a `Clock`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Final, Protocol

CHINA: Final = timezone(timedelta(hours=8))


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the present, aware, in China Standard Time, to the second."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present, aware, in China Standard Time, to the second."""
        return datetime.now(CHINA).replace(microsecond=0)


class FixedClock:
    """A clock that stands where it was put: for tests, simulations and reproducible files."""

    def __init__(self, moment: datetime) -> None:
        """Stand at `moment`."""
        self.moment = moment

    def now(self) -> datetime:
        """Return the moment."""
        return self.moment

    def advance(self, **span: float) -> None:
        """Go on by `timedelta(**span)`."""
        self.moment += timedelta(**span)


def format_time(moment: datetime) -> str:
    """Return `2008-07-18T08:23:11+08:00`, the one spelling of a time in our formats."""
    return moment.astimezone(CHINA).replace(microsecond=0).isoformat()


def readable_time(moment: datetime) -> str:
    """Return `2008-07-18 08:23:11`, China time: a time as people read it. Formats and `--json` use `format_time`."""
    return f"{moment.astimezone(CHINA):%Y-%m-%d %H:%M:%S}"


def parse_time(text: str) -> datetime:
    """Read the one spelling of a time.

    Raises:
        ValueError: Any other spelling, or a time before the year 1 begins in UTC (FORM-3).
    """
    moment = datetime.fromisoformat(text)
    try:
        again = format_time(moment) if moment.tzinfo is not None else ""
    except OverflowError:
        again = ""
    if again != text:
        raise ValueError(text)
    return moment
