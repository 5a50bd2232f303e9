"""How fast the queue gets shorter, and so when it makes sense to ask again. Pure: numbers in, seconds out.

The judging processes say every few seconds how many reports they judge in a second while there is work. Their sum is
the speed of the office, whoever serves HTTP; without a word from any, nothing is promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from tax_bureau.store import Line, Worker

_UNMEASURED: Final = 20.0
"""Judgements per second and thread of a process that has judged nothing yet."""
_LONGEST_SECONDS: Final = 3600.0
_NOBODY_SECONDS: Final = 60.0
_WEIGHT: Final = 0.2


@dataclass(frozen=True)
class Pace:
    """The speed of the office.

    Attributes:
        per_second: Judgements; 0 if nobody judges.
    """

    HEARD_SECONDS: ClassVar[float] = 30.0
    """A judging process that has not been heard of for so long is not counted on."""

    per_second: float = 0.0

    @classmethod
    def of(cls, workers: Iterable[Worker]) -> Pace:
        """Return the speed of all judging processes together."""
        return cls(sum(worker.pace or _UNMEASURED * worker.threads for worker in workers))


def seconds_until_judged(line: Line, pace: Pace, behind: int = 0) -> float:
    """Return how long a report has still to wait in the queue.

    The taxpayers take turns: before a report with `behind` others of its own before it, each taxpayer has at most
    `behind + 1` turns, and no more reports than there are.

    Args:
        line: The queue.
        pace: How fast it gets shorter.
        behind: How many reports of its own taxpayer are before it.
    """
    before = min(line.ready, line.taxpayers * (behind + 1))
    if not before:
        return 0.0
    if not pace.per_second:
        return _NOBODY_SECONDS
    return min(_LONGEST_SECONDS, before / pace.per_second)


def smoothed(before: float, measured: float) -> float:
    """Return a speed that follows the measured one and does not jump."""
    return measured if not before else (1 - _WEIGHT) * before + _WEIGHT * measured
