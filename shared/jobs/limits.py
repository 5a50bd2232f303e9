"""How fast one host may be asked, decided from numbers that all nodes share.

Pure: the state comes from a row, the time is an argument, and what is returned is written back by `shared.jobs.limiter`
in the transaction that claims the jobs. Four limits hold together:

- at most so many requests at once;
- a token bucket: in any span of `s` seconds at most `burst + per_second * s` requests begin;
- a time before which the host does not want to be asked (`Retry-After`);
- a circuit: after several outages in a row nobody asks for a while, then one request (the probe) tries, and what
  becomes of it decides for all.

    closed --outages in a row--> open --pause over, probe begun--> probing --answered--> closed
                                  ^                                   |
                                  +------------- outage --------------+
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

LONGEST: Final = 25 * 3600.0
"""No time is kept that lies further ahead than this; one that does was written before a clock was set back."""
SKEW: Final = 60.0
"""How far the last refill may lie ahead without meaning that a clock was set back."""
_ROUNDING: Final = 1e-9


class Circuit(StrEnum):
    """Whether the host is believed to be there."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


@dataclass(frozen=True)
class Limits:
    """What a host is asked to bear.

    Attributes:
        at_once: Requests at the same time, over all nodes.
        per_second: Requests that may begin in a second in the long run.
        burst: Requests that may begin at once after a quiet time; at least 1.
        outages: Outages in a row that open the circuit.
        pause: Seconds for which the circuit is open the first time.
        longest_pause: It doubles with each failed probe, up to this.
    """

    at_once: int = 6
    per_second: float = 5.0
    burst: int = 5
    outages: int = 5
    pause: float = 5.0
    longest_pause: float = 300.0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could ever begin.

        Raises:
            ValueError: Such a limit.
        """
        counts, spans = (self.at_once, self.burst, self.outages), (self.per_second, self.pause)
        if min(counts) < 1 or not all(0.0 < span < math.inf for span in spans) or self.longest_pause < self.pause:
            raise ValueError(self)


@dataclass(frozen=True)
class Load:
    """What is known about a host at a moment.

    Attributes:
        tokens: Requests that may begin at once, as of `filled_at`.
        filled_at: When that was.
        blocked_until: The host does not want to be asked before.
        circuit: Whether it is believed to be there.
        until: While the circuit is open: no probe before this. While one is out: when it counts as lost.
        outages: Outages in a row.
        probes: Failed probes in a row.
    """

    tokens: float
    filled_at: float
    blocked_until: float = 0.0
    circuit: Circuit = Circuit.CLOSED
    until: float = 0.0
    outages: int = 0
    probes: int = 0


@dataclass(frozen=True)
class Room:
    """How many requests may begin now.

    Attributes:
        count: That many.
        again_at: If none: when to ask again; None if a request has to end first.
    """

    count: int
    again_at: float | None = None


def untouched(limits: Limits, now: float) -> Load:
    """Return the state of a host that was never asked."""
    return Load(tokens=float(limits.burst), filled_at=now)


def room(limits: Limits, load: Load, *, wanted: int, running: int, now: float, requests: int = 1) -> Room:
    """Return how many of `wanted` jobs may begin while `running` ones are under way.

    Args:
        limits: The limits.
        load: The present state.
        wanted: How many jobs there are at most.
        running: Jobs under way; each makes one request at a time.
        now: The present.
        requests: How many requests a job makes, one after the other.
    """
    if _ahead(load.blocked_until, now):
        return Room(0, load.blocked_until)
    if load.circuit is not Circuit.CLOSED:
        if _ahead(load.until, now):
            return Room(0, load.until)
        wanted = min(wanted, 1)
    free = limits.at_once - running
    if wanted <= 0 or free <= 0:
        return Room(0)
    filled = _refilled(limits, load, now)
    # A burst smaller than what one job needs is overdrawn by it, and the next one waits until the debt is paid.
    each = min(requests, limits.burst)
    whole = math.floor((filled.tokens + _ROUNDING) / each)
    if whole < 1:
        return Room(0, filled.filled_at + (each - filled.tokens) / limits.per_second)
    return Room(min(wanted, free, whole))


def took(limits: Limits, load: Load, count: int, *, now: float, probe_seconds: float) -> Load:
    """Return the state after `count` requests were begun, as many as `room` allowed or fewer.

    Args:
        limits: The limits.
        load: The state before.
        count: How many.
        now: The present.
        probe_seconds: After this long without a word a probe counts as lost; as long as its lease.
    """
    if count == 0:
        return load
    filled = _refilled(limits, load, now)
    after = replace(filled, tokens=filled.tokens - count)
    if load.circuit is Circuit.CLOSED:
        return after
    return replace(after, circuit=Circuit.PROBING, until=now + probe_seconds)


def answered(load: Load) -> Load:
    """Return the state after the host gave any answer: it is there."""
    return replace(load, circuit=Circuit.CLOSED, until=0.0, outages=0, probes=0)


def told_to_wait(load: Load, seconds: float, *, now: float) -> Load:
    """Return the state after the host said when it wants to be asked again."""
    until = now + min(max(seconds, 0.0), LONGEST)
    earlier = load.blocked_until if _ahead(load.blocked_until, now) else 0.0
    return replace(load, blocked_until=max(until, earlier))


def outage(limits: Limits, load: Load, *, now: float) -> Load:
    """Return the state after a request that reached nobody."""
    match load.circuit:
        case Circuit.CLOSED:
            outages = load.outages + 1
            if outages < limits.outages:
                return replace(load, outages=outages)
            return replace(load, outages=outages, circuit=Circuit.OPEN, until=now + limits.pause)
        case Circuit.OPEN:
            return load  # it began before the circuit opened, and tells nothing new
        case Circuit.PROBING:
            pause = min(limits.longest_pause, limits.pause * 2.0 ** min(load.probes + 1, 40))
            return replace(load, circuit=Circuit.OPEN, until=now + pause, probes=load.probes + 1)


def _ahead(moment: float, now: float) -> bool:
    return now < moment <= now + LONGEST


def _refilled(limits: Limits, load: Load, now: float) -> Load:
    if load.filled_at > now + SKEW:
        return replace(load, filled_at=now)
    # A moment before: the transaction began, and then waited for another one that was later.
    passed = max(0.0, now - load.filled_at)
    tokens = min(float(limits.burst), load.tokens + passed * limits.per_second)
    return replace(load, tokens=tokens, filled_at=max(now, load.filled_at))
