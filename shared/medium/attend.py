"""Attends to sticks by itself: one that is plugged in is visited, and visited again when there is something new.

What to do is decided by `Attendance`, which does no input or output; `attend` is the loop round it. Nobody has to
choose anything: every stick of ours that is in is visited, each in its turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final, Protocol

from shared.medium.find import FoundStick, MediumState

POLL_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 30.0
"""How long a stick that failed is left alone, unless it is plugged in anew."""
_USABLE: Final = frozenset({MediumState.EMPTY, MediumState.WORK, MediumState.FULL, MediumState.READ_ONLY})


class Wake(Protocol):
    """Waits for mounts to change."""

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait, and return whether something changed."""
        ...


@dataclass
class Attendance:
    """Which sticks are in, and what was done about them.

    Attributes:
        retry_seconds: How long a stick that failed is left alone.
    """

    retry_seconds: float = RETRY_SECONDS
    _done: dict[str, _State] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)
    _noticed: dict[str, MediumState] = field(default_factory=dict)

    def useless(self, found: Sequence[FoundStick]) -> list[FoundStick]:
        """Return the media that cannot be visited and about which nobody was told yet: not ours, damaged, pulled."""
        now = {_key(one): one for one in found if one.identity is None or one.state not in _USABLE}
        news = [one for key, one in now.items() if self._noticed.get(key) is not one.state]
        self._noticed = {key: one.state for key, one in now.items()}
        return news

    def due(self, found: Sequence[FoundStick], outgoing: AbstractSet[Hashable], at: float) -> list[FoundStick]:
        """Return the sticks to visit now.

        Args:
            found: What is in.
            outgoing: What waits to go out, in any words.
            at: Seconds of a clock that only goes forward.
        """
        here = {_key(one) for one in found}
        for memory in (self._done, self._failed):
            for gone in memory.keys() - here:
                del memory[gone]  # plugged in again, it is visited again
        return [
            one
            for one in found
            if one.identity is not None
            and one.state in _USABLE
            and self._is_news(one, outgoing)
            and self._failed.get(_key(one), at - self.retry_seconds) <= at - self.retry_seconds
        ]

    def _is_news(self, one: FoundStick, outgoing: AbstractSet[Hashable]) -> bool:
        """Return whether there is more to do than after the last visit; that something is done with is no reason."""
        before, now = self._done.get(_key(one)), _State.of(one, outgoing)
        if before is None or now.locked != before.locked or now.work - before.work or now.outgoing - before.outgoing:
            return True
        self._done[_key(one)] = now
        return False

    def visited(self, now_found: FoundStick | None, outgoing: AbstractSet[Hashable]) -> None:
        """Note a visit that succeeded, with how the stick and what waits look after it."""
        if now_found is not None:
            self._done[_key(now_found)] = _State.of(now_found, outgoing)
            self._failed.pop(_key(now_found), None)

    def failed(self, found: FoundStick, at: float) -> None:
        """Note a visit that failed."""
        self._failed[_key(found)] = at
        self._done.pop(_key(found), None)


@dataclass(frozen=True)
class _State:
    """What there is to do about a stick.

    Attributes:
        work: What lies on it for this station.
        outgoing: What waits to be put on it.
        locked: Whether it cannot be written.
    """

    work: AbstractSet[Hashable]
    outgoing: AbstractSet[Hashable]
    locked: bool

    @classmethod
    def of(cls, found: FoundStick, outgoing: AbstractSet[Hashable]) -> _State:
        return cls(found.work, outgoing, found.state is MediumState.READ_ONLY)


def _key(found: FoundStick) -> str:
    return f"{'' if found.identity is None else found.identity.id}@{found.path}"


def attend(
    *,
    survey: Callable[[], tuple[Sequence[FoundStick], AbstractSet[Hashable]]],
    visit: Callable[[FoundStick], bool | None],
    notice: Callable[[FoundStick], None],
    wake: Wake,
    stop: threading.Event,
    poll_seconds: float = POLL_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Visit sticks until `stop` is set.

    Args:
        survey: Returns what is in and what waits to go out; must not raise for a bad stick.
        visit: Visits one and tells people; returns whether all went well, or None if it could not even begin (another
            program of the station is at work). Raises for nothing that concerns the stick.
        notice: Tells people of a medium that cannot be visited.
        wake: Waits for mounts to change.
        stop: Ends the loop, after the visit that is under way.
        poll_seconds: How often to look without being woken.
        monotonic: A clock that only goes forward.
    """
    attendance = Attendance()
    while not stop.is_set():
        found, outgoing = survey()
        for one in attendance.useless(found):
            notice(one)
        for one in attendance.due(found, outgoing, monotonic()):
            if stop.is_set():
                return
            went_well = visit(one)
            if went_well:
                again, left = survey()
                attendance.visited(next((o for o in again if _key(o) == _key(one)), None), left)
            elif went_well is not None:
                attendance.failed(one, monotonic())
        wake.wait(poll_seconds, stop)
