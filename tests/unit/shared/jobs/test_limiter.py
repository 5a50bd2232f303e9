"""The limits of a host, shared by all who use its row."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from shared.jobs import rows
from shared.jobs.limiter import ANSWERED, OUTAGE, Asking, Heard, Limiter, Word
from shared.jobs.limits import Circuit, Limits, Room
from tests.support.jobs import HOST, PARCEL, bureau, make_tables, put

NOW = 1_000_000.0


@pytest.fixture
def jobs(database):
    make_tables(database)
    return database


def take(database, limiter, limit=10, now=NOW, worker="a"):
    with database.writing() as connection:
        return rows.claim(connection, PARCEL, worker, lease_seconds=60, limit=limit, now=now, limiter=limiter)


def hear(database, limiter, heard, now=NOW):
    with database.writing() as connection:
        limiter.heard(connection, heard, now)


def test_nothing_is_claimed_that_may_not_begin(jobs):
    limiter = bureau(Limits(at_once=3, per_second=1.0, burst=100))
    put(jobs, *"abcdef")
    claims = take(jobs, limiter)
    assert len(claims) == 3
    assert take(jobs, limiter, worker="b") == []
    with jobs.writing() as connection:
        rows.settle(connection, claims[0], {"due_at": None})
    assert len(take(jobs, limiter, worker="b")) == 1


def test_the_requests_of_a_dead_worker_are_under_way_until_its_lease_runs_out(jobs):
    limiter = bureau(Limits(at_once=2, per_second=1.0, burst=100))
    put(jobs, *"abcd")
    assert len(take(jobs, limiter)) == 2
    assert take(jobs, limiter, now=NOW + 59, worker="b") == []
    assert len(take(jobs, limiter, now=NOW + 60, worker="b")) == 2


def test_what_was_not_claimed_costs_no_token(jobs):
    limiter = bureau(Limits(at_once=10, per_second=1.0, burst=5))
    put(jobs, "a", "b")
    assert len(take(jobs, limiter)) == 2
    put(jobs, *"cdefgh")
    assert len(take(jobs, limiter)) == 3
    with jobs.reading() as connection:
        assert limiter.room(connection, 1, NOW) == Room(0, NOW + 1)


def test_only_steps_that_speak_to_the_host_are_counted(jobs):
    limiter = Limiter(HOST, "bureau", Limits(at_once=1), [Asking(PARCEL, {"ask"})])
    put(jobs, "a", step="stage")
    with jobs.writing() as connection:
        assert len(rows.claim(connection, PARCEL, "a", lease_seconds=60, now=NOW, steps={"stage"})) == 1
        assert limiter.running(connection, NOW) == 0
    put(jobs, "b", step="ask")
    assert len(take(jobs, limiter)) == 1


def test_outages_of_different_workers_open_the_circuit_for_all_and_one_probe_closes_it(jobs):
    limits = Limits(at_once=9, burst=9, outages=3, pause=10.0)
    put(jobs, *"abcdef")
    for worker in "xyz":
        other = bureau(limits)
        (claim,) = take(jobs, other, 1, worker=worker)
        with jobs.writing() as connection:
            rows.settle(connection, claim, {"due_at": NOW})
            other.heard(connection, OUTAGE, NOW)
    limiter = bureau(limits)
    assert take(jobs, limiter) == []
    (probe,) = take(jobs, limiter, now=NOW + 10)
    assert take(jobs, bureau(limits), now=NOW + 11, worker="b") == []
    with jobs.writing() as connection:
        rows.settle(connection, probe, {"due_at": None})
        limiter.heard(connection, ANSWERED, NOW + 12)
        assert limiter.load(connection).circuit is Circuit.CLOSED
    assert len(take(jobs, limiter, now=NOW + 12)) == 5


def test_one_worker_is_told_to_wait_and_all_wait(jobs):
    put(jobs, "a", "b")
    limiter = bureau(Limits())
    take(jobs, limiter, 1)
    hear(jobs, limiter, Heard(Word.BUSY, retry_after=120))
    assert take(jobs, bureau(Limits()), now=NOW + 119, worker="b") == []
    assert len(take(jobs, bureau(Limits()), now=NOW + 120, worker="b")) == 2


def test_hosts_do_not_share_their_limits(jobs):
    hear(jobs, bureau(Limits(), "one"), Heard(Word.BUSY, retry_after=120))
    put(jobs, "a")
    assert len(take(jobs, bureau(Limits(), "two"))) == 1


def test_an_answer_that_is_no_news_writes_nothing(jobs):
    limiter = bureau(Limits())
    hear(jobs, limiter, ANSWERED)
    statements = []
    sa.event.listen(jobs.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    hear(jobs, limiter, ANSWERED, NOW + 5)
    assert not [s for s in statements if s.startswith(("INSERT", "UPDATE")) or "FOR UPDATE" in s]


def test_workers_at_once_stay_within_the_limits_together(jobs):
    limits = Limits(at_once=4, per_second=0.001, burst=20)
    put(jobs, *(f"k{n:02}" for n in range(40)))
    most, taken, guard, under_way = [], [], threading.Lock(), set()
    start = threading.Barrier(4)

    def work(name):
        limiter = bureau(limits)
        start.wait()
        for _ in range(40):
            for claim in take(jobs, limiter, 3, worker=name):
                with guard:
                    under_way.add(claim.key)
                    taken.append(claim.key)
                    most.append(len(under_way))
                with guard:
                    under_way.discard(claim.key)
                with jobs.writing() as connection:
                    assert rows.settle(connection, claim, {"due_at": None})

    workers = [threading.Thread(target=work, args=(str(n),), daemon=True) for n in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(60)
    assert len(taken) == len(set(taken)) == 20
    assert max(most) <= 4
