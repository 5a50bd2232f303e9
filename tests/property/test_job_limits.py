"""Whatever a host says and whenever workers ask, its limits hold."""

from __future__ import annotations

import bisect

from hypothesis import given
from hypothesis import strategies as st

from shared.jobs.limits import Circuit, Limits, answered, outage, room, told_to_wait, took, untouched

LIMITS = st.builds(
    Limits,
    at_once=st.integers(1, 8),
    per_second=st.floats(0.1, 50.0),
    burst=st.integers(1, 10),
    outages=st.integers(1, 4),
    pause=st.floats(0.5, 20.0),
    longest_pause=st.floats(20.0, 100.0),
)
SPAN = st.floats(0.0, 5.0)
EVENT = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 12)),
    st.tuples(st.just("answered"), st.just(0)),
    st.tuples(st.just("outage"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 20)),
    st.tuples(st.just("died"), st.just(0)),
)
PROBE_SECONDS = 30.0


@given(LIMITS, st.lists(st.tuples(SPAN, EVENT), max_size=120))
def test_the_limits_of_a_host_hold_in_every_history(limits, history):
    now, running, blocked_until = 1_000_000.0, 0, 0.0
    load = untouched(limits, now)
    starts: list[float] = []
    for span, (what, number) in history:
        now += span
        if what == "ask":
            found = room(limits, load, wanted=number, running=running, now=now)
            assert 0 <= found.count <= number
            assert found.again_at is None or (found.count == 0 and found.again_at >= now)
            if found.count:
                assert now >= blocked_until
                assert running + found.count <= limits.at_once
                assert load.circuit is Circuit.CLOSED or (found.count == 1 and now >= load.until)
            load = took(limits, load, found.count, now=now, probe_seconds=PROBE_SECONDS)
            starts += [now] * found.count
            running += found.count
        elif running:
            running -= 1
            if what == "answered":
                load = answered(load)
                assert load.circuit is Circuit.CLOSED
            elif what == "outage":
                load = outage(limits, load, now=now)
            elif what == "wait":
                load = told_to_wait(answered(load), number, now=now)
                blocked_until = max(blocked_until, now + number)
    for index, first in enumerate(starts):
        for last in {starts[-1], *starts[index : index + 40]}:
            count = bisect.bisect_right(starts, last) - index
            assert count <= limits.burst + limits.per_second * (last - first) + 1e-6


@given(LIMITS, st.lists(st.tuples(SPAN, EVENT), max_size=60))
def test_a_host_that_answers_is_asked_again_in_the_end(limits, history):
    """No history leads to a state from which nothing ever begins."""
    now = 1_000_000.0
    load = untouched(limits, now)
    for span, (what, number) in history:
        now += span
        if what == "ask":
            count = room(limits, load, wanted=number, running=0, now=now).count
            load = took(limits, load, count, now=now, probe_seconds=PROBE_SECONDS)
        elif what == "outage":
            load = outage(limits, load, now=now)
        elif what == "wait":
            load = told_to_wait(load, number, now=now)
    for _ in range(4):
        found = room(limits, load, wanted=1, running=0, now=now)
        if found.count:
            return
        assert found.again_at is not None
        assert found.again_at - now <= 200.0
        now = found.again_at
    raise AssertionError("nothing can begin")
