"""What the station at work is counted by: hooks that cost nothing while nobody counts.

`Meter` is the hook and does nothing; `metrics.PrometheusMeter` counts for `/metrics`, `Reach` remembers since when the
bureau cannot be reached, `LifeSign` when the work moved last.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy.exc import DBAPIError

from online_station.shell.store import Store
from shared.clock import Clock

Kind = Literal["upload", "status", "result", "ack", "standing", "trust", "clock"]
"""What the bureau was asked."""
Outcome = Literal["ok", "refused", "busy", "unknown", "unreachable", "failed"]
"""How that ended: a yes, a no, a later, no believable answer, no connection, or a trouble of our own."""
_DOWN_SINCE: Final = "bureau_down_since"


class Meter:
    """Counts nothing; whoever counts overrides what it is interested in. Nothing here may raise or wait."""

    def turned(self) -> None:
        """The service's loop came round."""

    def asked(self, kind: Kind, outcome: Outcome) -> None:
        """A request to the bureau ended."""

    def sent(self, size: int) -> None:
        """The bureau has so many more bytes of a report."""

    def visited(self, outcome: str) -> None:
        """A stick was visited: `safe` or `failed`."""

    def told(self, robot: str, outcome: str) -> None:
        """An alarm was sent to a robot of some kind: `ok` or `failed`."""


NO_METER: Final = Meter()


class Meters(Meter):
    """Several at once."""

    def __init__(self, *meters: Meter) -> None:
        """Pass everything on to each of `meters`."""
        self._meters = meters

    def add(self, meter: Meter) -> None:
        """Pass everything on to one more."""
        self._meters = (*self._meters, meter)

    def turned(self) -> None:
        """Pass it on."""
        for meter in self._meters:
            meter.turned()

    def asked(self, kind: Kind, outcome: Outcome) -> None:
        """Pass it on."""
        for meter in self._meters:
            meter.asked(kind, outcome)

    def sent(self, size: int) -> None:
        """Pass it on."""
        for meter in self._meters:
            meter.sent(size)

    def visited(self, outcome: str) -> None:
        """Pass it on."""
        for meter in self._meters:
            meter.visited(outcome)

    def told(self, robot: str, outcome: str) -> None:
        """Pass it on."""
        for meter in self._meters:
            meter.told(robot, outcome)


class LifeSign(Meter):
    """Remembers when the work moved last. A long upload moves too: each part of it is a sign of life."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Count from now."""
        self._monotonic = monotonic
        self._last = monotonic()

    def turned(self) -> None:
        """It moved."""
        self._last = self._monotonic()

    def asked(self, kind: Kind, outcome: Outcome) -> None:
        """It moved."""
        self._last = self._monotonic()

    def sent(self, size: int) -> None:
        """It moved."""
        self._last = self._monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last sign."""
        return self._monotonic() - self._last


def place_of(node: str) -> str:
    """Return what people call this machine, for what concerns it alone: its name as a node if it has one."""
    return node or platform.node() or "localhost"


class Reach(Meter):
    """Since when the bureau cannot be reached from this machine: kept in the database, so that a restart forgets nothing."""

    def __init__(self, store: Store, clock: Clock, place: str) -> None:
        """Remember in `store` for a machine; one row, written only when the answer changes."""
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._name = f"{_DOWN_SINCE} {place}"
        self._since = _time(store.setting(self._name))

    @property
    def down_since(self) -> datetime | None:
        """Since when there is no connection; None while there is one, as far as is known."""
        return self._since

    def down_for(self, now: datetime) -> timedelta:
        """Return for how long there has been no connection."""
        since = self._since
        return timedelta() if since is None else max(timedelta(), now - since)

    def asked(self, kind: Kind, outcome: Outcome) -> None:
        """Learn from a request. One that was begun and lost its reply says nothing about the way to the bureau."""
        if outcome in ("unknown", "failed"):
            return
        down = outcome == "unreachable"
        with self._lock:
            if down == (self._since is not None):
                return
            self._since = self._clock.now() if down else None
            # Told again after the next change if the database does not take it now.
            with contextlib.suppress(DBAPIError):
                self._store.set(**{self._name: "" if self._since is None else self._since.isoformat()})


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
