"""Threads that do what is due."""

from __future__ import annotations

import logging
import threading

import pytest
import sqlalchemy as sa

from shared.jobs import rows
from shared.jobs.database import present
from shared.jobs.limiter import OUTAGE, Heard, Word
from shared.jobs.limits import Circuit, Limits
from shared.jobs.pool import Done, Pool, Queue, wait_longer
from tests.support.databases import until
from tests.support.jobs import PARCEL, bureau, make_tables, put, row

NEVER = 30.0
"""A poll that no test waits for: what happens sooner was woken."""


@pytest.fixture
def jobs(database):
    make_tables(database)
    return database


def finished(database) -> set[str]:
    with database.reading() as connection:
        return set(connection.scalars(sa.select(PARCEL.c.key).where(PARCEL.c.due_at.is_(None))))


def now(database) -> float:
    with database.reading() as connection:
        return present(connection)


def test_each_row_is_done_step_by_step_and_once(jobs):
    seen, guard = [], threading.Lock()

    def handle(task):
        with guard:
            seen.append((task.claim.key, task.claim.step))
        return Done({"step": "ask", "due_at": 0.0} if task.claim.step == "send" else {"step": "none", "due_at": None})

    put(jobs, *(f"k{n}" for n in range(20)))
    with Pool(jobs, [Queue(PARCEL, handle)], poll_seconds=0.05):
        until(lambda: len(finished(jobs)) == 20)
    assert sorted(seen) == sorted((f"k{n}", step) for n in range(20) for step in ("send", "ask"))


def test_a_settlement_is_decided_from_the_row_as_it_is_then(jobs):
    put(jobs, "a")

    def handle(task):
        with jobs.writing() as connection:  # an operator, while the step is under way
            connection.execute(sa.update(PARCEL).values(note="held"))
        return Done(lambda connection, found: {"due_at": None, "note": f"{found.note} and sent"})

    with Pool(jobs, [Queue(PARCEL, handle)]):
        until(lambda: finished(jobs) == {"a"})
    assert row(jobs, "a").note == "held and sent"


def test_a_decision_is_saved_before_its_effect(jobs):
    put(jobs, "a")
    seen = []

    def handle(task):
        assert task.save(lambda connection, found: {"step": "ask", "note": found.step})
        seen.append((row(jobs, "a").step, row(jobs, "a").note, row(jobs, "a").worker))
        return Done({"due_at": None})

    with Pool(jobs, [Queue(PARCEL, handle)], worker="w"):
        until(lambda: finished(jobs) == {"a"})
    assert seen == [("ask", "send", "w")]


def test_a_row_that_another_worker_took_is_lost_to_the_handler(jobs):
    put(jobs, "a")
    lost = []

    def handle(task):
        with jobs.writing() as connection:
            rows.let_go(connection, PARCEL)
            connection.execute(sa.update(PARCEL).values(due_at=None))
        lost.append((task.lost, task.save({"note": "zombie"}), task.lost))
        return Done({"due_at": 0.0, "note": "zombie"})

    with Pool(jobs, [Queue(PARCEL, handle)]):
        until(lambda: lost)
    assert lost == [(False, False, True)]
    assert (row(jobs, "a").note, row(jobs, "a").due_at) == ("", None)


def test_a_handler_that_fails_is_tried_again_later_and_the_others_go_on(jobs, caplog):
    put(jobs, "bad", "good")

    def handle(task):
        if task.claim.key == "bad" and task.claim.tries < 3:
            raise KeyError("defect")
        return Done({"due_at": None})

    with Pool(jobs, [Queue(PARCEL, handle)], poll_seconds=0.02, after_failure=lambda claim: 0.02 * claim.tries):
        until(lambda: finished(jobs) == {"good", "bad"})
    assert [r.message for r in caplog.records if r.levelno == logging.ERROR] == ["bad: step send failed"] * 2


def test_a_result_that_cannot_be_written_postpones_the_row(jobs, caplog):
    put(jobs, "a")
    calls = []

    def handle(task):
        calls.append(task.claim.tries)
        return Done({"due_at": None, "key": None} if task.claim.tries == 1 else {"due_at": None})

    with Pool(jobs, [Queue(PARCEL, handle)], poll_seconds=0.02, after_failure=lambda claim: 0.01):
        until(lambda: finished(jobs) == {"a"})
    assert calls == [1, 2]


def test_the_waiting_after_failures_doubles_and_has_an_end():
    waits = [wait_longer(rows.Claim(PARCEL, "a", n, "send", n, None)) for n in (1, 2, 3, 50)]
    assert waits == [5.0, 10.0, 20.0, 3600.0]


def test_a_pool_wakes_when_the_next_row_is_due(jobs):
    put(jobs, "a", due_at=now(jobs) + 0.4)
    with Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None}))], poll_seconds=NEVER):
        until(lambda: finished(jobs) == {"a"}, seconds=NEVER / 2)


def test_a_pool_can_be_woken(jobs):
    looked = threading.Event()

    def watch(connection, cursor, statement, *_):
        if "parcel" in statement:
            looked.set()

    sa.event.listen(jobs.engine, "after_cursor_execute", watch)
    with Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None}))], poll_seconds=NEVER) as pool:
        assert looked.wait(NEVER)
        put(jobs, "a")
        until(lambda: (pool.wake(), finished(jobs))[1] == {"a"}, seconds=NEVER / 2)


def test_the_next_of_a_lane_follows_at_once(jobs):
    put(jobs, "a", "b", "c", lane="card")
    order = []

    def handle(task):
        order.append(task.claim.key)
        return Done({"due_at": None, "lane": None})

    with Pool(jobs, [Queue(PARCEL, handle)], poll_seconds=NEVER):
        until(lambda: len(finished(jobs)) == 3, seconds=NEVER / 2)
    assert order == ["a", "b", "c"]


def test_steps_longer_than_the_lease_stay_with_their_worker(jobs):
    put(jobs, "a")
    calls, release = [], threading.Event()

    def handle(task):
        calls.append(task.claim.token)
        assert release.wait(30)
        return Done({"due_at": None})

    start = now(jobs)
    with (
        Pool(jobs, [Queue(PARCEL, handle)], lease_seconds=0.6, poll_seconds=0.02) as pool,
        Pool(jobs, [Queue(PARCEL, handle)], lease_seconds=0.6, poll_seconds=0.02),
    ):
        until(lambda: now(jobs) > start + 1.5)
        assert [claim.key for claim in pool.running()] in ([], ["a"])
        release.set()
        until(lambda: finished(jobs) == {"a"})
    assert calls == [1]


def test_a_busy_host_is_left_alone_and_an_outage_opens_its_circuit(jobs):
    limiter = bureau(Limits(outages=1, pause=1000.0, longest_pause=1000.0))
    put(jobs, "a", "b")
    words = {"a": OUTAGE, "b": Heard(Word.BUSY, 5)}
    queue = Queue(PARCEL, lambda task: Done({"due_at": None}, words[task.claim.key]), limiter=limiter)
    with Pool(jobs, [queue], threads=1, poll_seconds=0.02):
        until(lambda: finished(jobs) == {"a"})
        with jobs.reading() as connection:
            assert limiter.load(connection).circuit is Circuit.OPEN
    assert finished(jobs) == {"a"}, "nobody asks while the circuit is open"


def test_queues_of_one_pool_do_not_wait_for_each_others_host(jobs):
    limiter = bureau(Limits())
    with jobs.writing() as connection:
        limiter.heard(connection, Heard(Word.BUSY, 1000))
    put(jobs, "send", step="send")
    put(jobs, "stage", step="stage")

    def handle(task):
        return Done({"due_at": None})

    queues = [Queue(PARCEL, handle, {"send"}, limiter), Queue(PARCEL, handle, {"stage"})]
    with Pool(jobs, queues, poll_seconds=0.02):
        until(lambda: finished(jobs) == {"stage"})


def test_stopping_waits_for_what_is_under_way_and_begins_nothing(jobs):
    put(jobs, "a", "b")
    entered, release = threading.Event(), threading.Event()

    def handle(task):
        entered.set()
        assert release.wait(30)
        return Done({"due_at": None})

    pool = Pool(jobs, [Queue(PARCEL, handle)], threads=1)
    pool.start()
    assert entered.wait(30)
    assert not pool.stop(patience=0.01)
    release.set()
    until(lambda: finished(jobs))
    assert len(finished(jobs)) == 1
    until(lambda: not pool.running())


def test_what_is_due_can_be_worked_off_without_threads(jobs):
    put(jobs, "a", "b", "c", lane="card")
    put(jobs, "later", due_at=2000.0)
    done = Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None, "lane": None}))], now=lambda: 1000.0)
    assert done.work_off() == 3
    assert finished(jobs) == {"a", "b", "c"}


def test_a_clock_that_was_set_back_delays_nothing(jobs):
    put(jobs, "a", due_at=now(jobs) + 100_000)
    with Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None}))], horizon_seconds=90_000.0, poll_seconds=NEVER):
        until(lambda: finished(jobs) == {"a"}, seconds=NEVER / 2)


def test_sleeping_rows_cost_a_few_statements_however_many_they_are(jobs):
    """Measured in processor time by benchmarks/jobs.py."""
    put(jobs, *(f"k{n:05}" for n in range(5000)), due_at=now(jobs) + 10_000)
    seen = []
    sa.event.listen(jobs.engine, "before_cursor_execute", lambda *about: seen.append(about[2]))
    start = now(jobs)
    seen.clear()
    with Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None}))], threads=6, poll_seconds=0.1):
        until(lambda: len([s for s in seen if "parcel" in s]) >= 5)
        taken = now(jobs) - start
    looks = len([s for s in seen if "parcel" in s])
    assert looks <= 3 + taken / 0.1, "one thread looks, not six"
    assert not [s for s in seen if s.startswith(("BEGIN IMMEDIATE", "UPDATE"))]


def test_a_pool_outlives_a_defect_of_the_database(jobs, caplog):
    put(jobs, "a", due_at=now(jobs) + 0.3)
    with Pool(jobs, [Queue(PARCEL, lambda task: Done({"due_at": None}))], poll_seconds=0.02):
        with jobs.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE parcel RENAME TO lost")
        until(lambda: "looking for work" in caplog.text)
        with jobs.writing() as connection:
            connection.exec_driver_sql("ALTER TABLE lost RENAME TO parcel")
        until(lambda: finished(jobs) == {"a"})
