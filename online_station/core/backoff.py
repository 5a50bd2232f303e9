"""When to try again: doubling, capped, spread, and never earlier than the bureau asked for.

Pure. The spread is computed from the report and the number of the attempt, so that two runs of the same history give
the same times, and a thousand reports that failed together do not come back together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MAX_DELAY: Final = timedelta(hours=25)
"""No due time lies further ahead than this; one that does was written before the clock was set back."""


@dataclass(frozen=True)
class Backoff:
    """A series of waiting times.

    Attributes:
        first: Waiting time after the first attempt, in seconds.
        cap: Longest waiting time, in seconds.
    """

    first: float
    cap: float

    def seconds(self, attempt: int, key: str) -> float:
        """Return how long to wait after attempt number `attempt` (from 1) of the thing that `key` names.

        The result lies between 80 % and 120 % of `first · 2^(attempt − 1)`, or of the cap.
        """
        plain = min(self.cap, self.first * 2.0 ** min(max(attempt, 1) - 1, 40))
        return plain * (0.8 + 0.4 * _spread(key, attempt))

    def due(self, now: datetime, attempt: int, key: str, retry_after: float | None = None) -> datetime:
        """Return when to try again; what the bureau asked for wins over the series.

        Args:
            now: The present.
            attempt: How many attempts there were, this one included.
            key: What is retried.
            retry_after: Seconds from `Retry-After` or a receipt, if there was one. Up to a tenth is added, so that
                everybody who was told the same does not come in the same second.
        """
        if retry_after is not None:
            wait = min(max(retry_after, 0.0), MAX_DELAY.total_seconds() * 0.9)
            return now + timedelta(seconds=wait * (1.0 + 0.1 * _spread(key, attempt)))
        return now + timedelta(seconds=self.seconds(attempt, key))


def _spread(key: str, attempt: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{key}:{attempt}".encode()).digest()[:4], "big") / 2**32


def is_due(due_at: datetime | None, now: datetime) -> bool:
    """Return whether something with this due time is to be done now.

    A due time further ahead than any that we write means that the clock was set back since: it counts as due.
    """
    return due_at is not None and (due_at <= now or due_at > now + MAX_DELAY)
