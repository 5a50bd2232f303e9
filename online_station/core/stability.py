"""Has a file stopped changing? Asked only for politeness.

Whether a file is complete is decided by its signature: one that proves is taken at once. This tracker answers the
other question, how long to be patient with a file that does not prove yet before a person is told.
Pure: what was seen and the time are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Fingerprint(NamedTuple):
    """What changes when a file changes."""

    size: int
    mtime_ns: int
    inode: int


@dataclass
class StabilityTracker:
    """Remembers since when each file looks as it does.

    Attributes:
        settle: Seconds without a change after which a file counts as finished.
    """

    settle: float
    _seen: dict[str, tuple[Fingerprint, float]] = field(default_factory=dict)

    def observe(self, name: str, looks: Fingerprint, now: float) -> None:
        """Note how a file looks at `now` (monotonic seconds)."""
        known = self._seen.get(name)
        if known is None or known[0] != looks or known[1] > now:
            self._seen[name] = (looks, now)

    def touch(self, name: str, now: float) -> None:
        """Note that somebody is writing the file, however it looks."""
        known = self._seen.get(name)
        if known is not None:
            self._seen[name] = (known[0], now)

    def is_stable(self, name: str, now: float) -> bool:
        """Return whether the file has looked the same for `settle` seconds."""
        known = self._seen.get(name)
        return known is not None and now - known[1] >= self.settle

    def wait(self, now: float) -> float | None:
        """Return in how many seconds the next file will be stable if nothing changes; None if none is watched."""
        waits = [max(0.0, self.settle - (now - since)) for _, since in self._seen.values()]
        return min(waits, default=None)

    def keep_only(self, names: Iterable[str], *, of: Callable[[str], bool]) -> None:
        """Forget every file of a folder that is not among `names`: it is gone, or was dealt with.

        Args:
            names: The files that are there.
            of: Whether a file is one of that folder.
        """
        kept = set(names)
        for name in [name for name in self._seen if name not in kept and of(name)]:
            del self._seen[name]

    def forget(self, name: str) -> None:
        """Forget one file."""
        self._seen.pop(name, None)
