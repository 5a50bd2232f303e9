"""The rules of a host's limits, without a database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.jobs.limits import (
    LONGEST,
    Circuit,
    Limits,
    Load,
    Room,
    answered,
    outage,
    room,
    told_to_wait,
    took,
    untouched,
)

NOW = 1_000_000.0
LIMITS = Limits(at_once=3, per_second=2.0, burst=4, outages=3, pause=10.0, longest_pause=35.0)


def ask(load: Load, wanted: int = 10, running: int = 0, now: float = NOW) -> Room:
    return room(LIMITS, load, wanted=wanted, running=running, now=now)


def begin(load: Load, count: int, now: float = NOW) -> Load:
    return took(LIMITS, load, count, now=now, probe_seconds=60.0)


def opened(now: float = NOW) -> Load:
    load = untouched(LIMITS, now)
    for _ in range(LIMITS.outages):
        load = outage(LIMITS, load, now=now)
    assert load.circuit is Circuit.OPEN
    return load


def test_no_more_run_at_once_than_the_host_bears():
    load = untouched(LIMITS, NOW)
    assert ask(load) == Room(3)
    assert ask(load, running=2) == Room(1)
    assert ask(load, running=3) == Room(0), "one has to end first"
    assert ask(load, wanted=2) == Room(2)


def test_a_burst_empties_the_bucket_and_time_fills_it():
    load = begin(begin(untouched(LIMITS, NOW), 3), 1)
    assert ask(load) == Room(0, NOW + 0.5)
    assert ask(load, now=NOW + 0.5) == Room(1)
    assert ask(load, now=NOW + 1.25) == Room(2)
    assert ask(load, now=NOW + 900) == Room(3)
    assert begin(load, 1, NOW + 900).tokens == 3.0, "no more than a burst is saved up"


def test_nobody_asks_before_the_time_that_the_host_named():
    load = told_to_wait(untouched(LIMITS, NOW), 30, now=NOW)
    assert ask(load, now=NOW + 29.9) == Room(0, NOW + 30)
    assert ask(load, now=NOW + 30) == Room(3)


def test_of_two_named_times_the_later_one_counts():
    load = told_to_wait(told_to_wait(untouched(LIMITS, NOW), 30, now=NOW), 5, now=NOW + 1)
    assert load.blocked_until == NOW + 30
    assert told_to_wait(load, 60, now=NOW + 1).blocked_until == NOW + 61


def test_an_absurd_time_to_wait_is_cut():
    assert told_to_wait(untouched(LIMITS, NOW), 1e12, now=NOW).blocked_until == NOW + LONGEST
    assert told_to_wait(untouched(LIMITS, NOW), -5, now=NOW).blocked_until == NOW


def test_outages_in_a_row_open_the_circuit_and_an_answer_between_them_does_not():
    load = untouched(LIMITS, NOW)
    for _ in range(5):
        load = answered(outage(LIMITS, outage(LIMITS, load, now=NOW), now=NOW))
    assert load.circuit is Circuit.CLOSED
    assert ask(opened()) == Room(0, NOW + 10)


def test_one_probe_goes_out_and_an_answer_closes_the_circuit():
    load = opened()
    assert ask(load, now=NOW + 10) == Room(1)
    probing = begin(load, 1, NOW + 10)
    assert probing.circuit is Circuit.PROBING
    assert ask(probing, now=NOW + 11) == Room(0, NOW + 70)
    assert ask(answered(probing), now=NOW + 11) == Room(3)


def test_failed_probes_wait_longer_and_longer():
    load, now, pauses = opened(), NOW, []
    for _ in range(4):
        pauses.append(load.until - now)
        now = load.until
        load = outage(LIMITS, begin(load, 1, now), now=now)
    assert pauses == [10.0, 20.0, 35.0, 35.0]


def test_a_probe_that_died_with_its_worker_is_replaced():
    probing = begin(opened(), 1, NOW + 10)
    assert ask(probing, now=NOW + 70) == Room(1)


def test_requests_from_before_the_circuit_opened_do_not_keep_it_open_longer():
    load = opened()
    assert outage(LIMITS, load, now=NOW + 5) == load
    assert answered(load).circuit is Circuit.CLOSED, "an answer proves that it is there"


def test_a_clock_that_is_set_back_stops_nobody_for_long():
    ahead = NOW + LONGEST + 1
    far = Load(tokens=0.0, filled_at=ahead, blocked_until=ahead, circuit=Circuit.OPEN, until=ahead)
    assert ask(far) == Room(0, NOW + 0.5)
    after = begin(replace(far, tokens=1.0), 1)
    assert after.filled_at == NOW
    assert ask(answered(after), now=NOW + 0.5) == Room(1)


def test_a_moment_that_is_a_little_older_gives_no_second_refill():
    load = begin(untouched(LIMITS, NOW), 4)
    earlier = took(LIMITS, load, 0, now=NOW - 1, probe_seconds=60)
    assert earlier.filled_at == NOW
    assert ask(load, now=NOW - 1) == Room(0, NOW + 0.5)


@pytest.mark.parametrize(
    "wrong",
    [{"at_once": 0}, {"burst": 0}, {"per_second": 0.0}, {"outages": 0}, {"pause": 0.0}, {"longest_pause": 1.0}],
)
def test_limits_under_which_nothing_can_begin_are_refused(wrong):
    with pytest.raises(ValueError):
        Limits(**wrong)
