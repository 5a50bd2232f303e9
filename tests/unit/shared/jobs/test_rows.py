"""Claims, leases, fences and lanes, on both kinds of database."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from shared.jobs import rows
from shared.jobs.database import open_database, present
from shared.jobs.rows import Count
from tests.support.jobs import PARCEL, make_tables, put, row

NOW = 1_000_000.0


@pytest.fixture
def jobs(database):
    make_tables(database)
    return database


def take(database, worker="a", now=NOW, limit=10, lease=60.0, **options):
    with database.writing() as connection:
        return rows.claim(connection, PARCEL, worker, lease_seconds=lease, limit=limit, now=now, **options)


def keys(claims):
    return [claim.key for claim in claims]


def settle(database, claim, **values):
    with database.writing() as connection:
        return rows.settle(connection, claim, values)


def test_what_is_due_is_taken_the_longest_overdue_first(jobs):
    put(jobs, "late", due_at=NOW - 1)
    put(jobs, "later", due_at=NOW)
    put(jobs, "latest", due_at=NOW - 9)
    put(jobs, "tomorrow", due_at=NOW + 1)
    put(jobs, "never", due_at=None)
    assert keys(take(jobs)) == ["latest", "late", "later"]


def test_no_more_is_taken_than_was_asked_for(jobs):
    put(jobs, *"abcdef")
    assert keys(take(jobs, limit=4)) == list("abcd")
    assert keys(take(jobs, limit=4)) == list("ef")
    assert take(jobs, limit=0) == []


def test_a_claim_tells_the_step_and_carries_the_row(jobs):
    put(jobs, "a", step="ask")
    (claim,) = take(jobs)
    assert (claim.key, claim.step, claim.token, claim.tries) == ("a", "ask", 1, 1)
    assert claim.row.worker == "a"
    assert claim.row.lease_until == NOW + 60


def test_a_taken_row_is_nobody_elses_until_its_lease_has_run_out(jobs):
    put(jobs, "a")
    (first,) = take(jobs)
    assert take(jobs, "b", NOW + 59) == []
    (second,) = take(jobs, "b", NOW + 60)
    assert (second.token, second.tries) == (first.token + 1, 2)


def test_only_rows_of_the_wanted_steps_are_taken(jobs):
    put(jobs, "a", step="send")
    put(jobs, "b", step="stage")
    assert keys(take(jobs, steps={"stage"})) == ["b"]


def test_settling_writes_everything_at_once_and_gives_the_row_back(jobs):
    put(jobs, "a")
    (claim,) = take(jobs)
    assert settle(jobs, claim, step="ask", due_at=NOW + 5, note="taken")
    after = row(jobs, "a")
    assert (after.step, after.due_at, after.note, after.lease_until, after.worker, after.tries) == (
        "ask",
        NOW + 5,
        "taken",
        None,
        "",
        0,
    )
    assert keys(take(jobs, now=NOW + 5)) == ["a"]


def test_settling_needs_a_due_time(jobs):
    put(jobs, "a")
    (claim,) = take(jobs)
    with pytest.raises(ValueError, match="due next"):
        settle(jobs, claim, step="ask")


def test_what_a_zombie_writes_matches_no_row(jobs):
    put(jobs, "a")
    (zombie,) = take(jobs, "zombie")
    (heir,) = take(jobs, "heir", NOW + 60)
    before = row(jobs, "a")
    with jobs.writing() as connection:
        assert not rows.hold(connection, zombie, 60, NOW + 61)
        assert not rows.save(connection, zombie, {"note": "x"})
        assert not rows.settle(connection, zombie, {"due_at": None})
        assert not rows.postpone(connection, zombie, 5, NOW + 61)
        assert rows.current(connection, zombie) is None
    assert row(jobs, "a") == before
    assert settle(jobs, heir, due_at=None)


def test_a_claim_is_settled_once(jobs):
    """The answer to a commit may be lost: the second attempt must not undo what was written in between."""
    put(jobs, "a")
    (claim,) = take(jobs)
    assert settle(jobs, claim, due_at=None, note="first")
    assert not settle(jobs, claim, due_at=NOW, note="second")
    assert row(jobs, "a").note == "first"


def test_a_lease_that_ran_out_and_that_nobody_took_still_counts(jobs):
    put(jobs, "a")
    (claim,) = take(jobs)
    with jobs.writing() as connection:
        assert rows.hold(connection, claim, 60, NOW + 500)
    assert take(jobs, "b", NOW + 559) == []
    assert settle(jobs, claim, due_at=None)


def test_a_saved_decision_keeps_the_row_and_is_what_an_heir_goes_on_with(jobs):
    put(jobs, "a", step="send")
    (claim,) = take(jobs)
    with jobs.writing() as connection:
        assert rows.current(connection, claim).step == "send"
        assert rows.save(connection, claim, {"step": "ask", "note": "sending"})
    assert take(jobs, "b", NOW + 59) == []
    (heir,) = take(jobs, "b", NOW + 60)
    assert (heir.step, heir.row.note) == ("ask", "sending")


def test_a_postponed_row_counts_on_its_tries(jobs):
    put(jobs, "a")
    for number in (1, 2, 3):
        (claim,) = take(jobs, now=NOW + 10 * number)
        assert claim.tries == number
        with jobs.writing() as connection:
            assert rows.postpone(connection, claim, 10, NOW + 10 * number)
        assert row(jobs, "a").due_at == NOW + 10 * number + 10


def test_the_leases_of_a_dead_worker_end_at_once_and_its_ghost_writes_nothing(jobs):
    put(jobs, "a", "b")
    (ghost,) = take(jobs, "dead", limit=1)
    (living,) = take(jobs, "living", limit=1)
    with jobs.writing() as connection:
        assert rows.let_go(connection, PARCEL, "dead") == 1
    assert not settle(jobs, ghost, due_at=None), "before somebody else has taken it, too"
    assert keys(take(jobs, "heir")) == [ghost.key]
    assert settle(jobs, living, due_at=None)


def test_the_owner_of_the_only_lock_ends_all_leases(jobs):
    put(jobs, "a", "b", "c")
    take(jobs, "one", limit=1)
    take(jobs, "two", limit=1)
    with jobs.writing() as connection:
        assert rows.let_go(connection, PARCEL) == 2
    assert keys(take(jobs)) == ["a", "b", "c"]


# Lanes


def test_a_lane_goes_on_when_the_earlier_row_leaves_it(jobs):
    put(jobs, "second-by-name", "a-later-one", lane="card", due_at=NOW)
    (first,) = take(jobs)
    assert first.key == "second-by-name"
    assert take(jobs) == []
    settle(jobs, first, due_at=NOW + 100, step="ask")
    assert take(jobs) == [], "it is answered later, and bars the lane until then"
    (again,) = take(jobs, now=NOW + 100)
    settle(jobs, again, due_at=NOW + 86400, step="ack", lane=None)
    assert keys(take(jobs, now=NOW + 100)) == ["a-later-one"]


def test_a_failed_row_bars_its_lane_on_purpose(jobs):
    put(jobs, "a", "b", lane="card")
    (first,) = take(jobs)
    settle(jobs, first, due_at=None, step="none")
    assert take(jobs) == []


def test_two_lanes_and_rows_without_one_do_not_wait_for_each_other(jobs):
    put(jobs, "a1", "a2", lane="a", due_at=NOW - 3)
    put(jobs, "b1", "b2", lane="b", due_at=NOW - 2)
    put(jobs, "x", "y", due_at=NOW - 1)
    assert keys(take(jobs)) == ["a1", "b1", "x", "y"]


def test_an_earlier_row_that_arrives_late_waits_for_the_one_under_way(jobs):
    put(jobs, "x5", lane="card", due_at=NOW)
    (later,) = take(jobs)
    with jobs.writing() as connection:
        connection.execute(sa.insert(PARCEL).values(key="x0", step="send", due_at=NOW - 9, lane="card", lane_seq=0))
    assert take(jobs) == []
    settle(jobs, later, due_at=NOW)
    assert keys(take(jobs)) == ["x0"]


def test_without_order_a_lane_still_has_one_row_under_way(jobs):
    put(jobs, "a", "b", "c", lane="card")
    (first,) = take(jobs, in_order=False)
    assert take(jobs, in_order=False) == []
    settle(jobs, first, due_at=None)
    assert len(take(jobs, in_order=False)) == 1, "although an earlier one is unfinished"


def test_equal_places_in_a_lane_go_by_their_key(jobs):
    put(jobs, "b", lane="card")
    put(jobs, "a", lane="card")
    (first,) = take(jobs)
    assert first.key == "a"


def test_two_workers_at_once_never_share_a_row_or_a_lane(jobs):
    for lane in range(10):
        put(jobs, *(f"{lane}-{n}" for n in range(4)), lane=str(lane))
    put(jobs, *(f"free-{n}" for n in range(20)))
    under_way: dict[str, str] = {}
    done, trouble, guard = [], [], threading.Lock()
    start = threading.Barrier(4)

    def work(name):
        start.wait()
        while True:
            claims = take(jobs, name, limit=3)
            if not claims and len(done) == 60:
                return
            with guard:
                for claim in claims:
                    if claim.row.lane in under_way.values() and claim.row.lane is not None:
                        trouble.append(("lane", claim.key))
                    if claim.key in under_way:
                        trouble.append(("row", claim.key))
                    under_way[claim.key] = claim.row.lane
            for claim in claims:
                with guard:
                    del under_way[claim.key]
                    done.append(claim.key)
                assert settle(jobs, claim, due_at=None, lane=None)

    workers = [threading.Thread(target=work, args=(str(n),), daemon=True) for n in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(60)
    assert trouble == []
    assert len(done) == len(set(done)) == 60
    for lane in range(10):
        assert [key for key in done if key.startswith(f"{lane}-")] == [f"{lane}-{n}" for n in range(4)]


def test_a_lane_taken_by_a_node_that_has_not_committed_is_left_alone(postgresql):
    jobs = open_database(postgresql)
    make_tables(jobs)
    put(jobs, "x5", lane="card", due_at=NOW)
    with jobs.writing() as first:
        assert keys(rows.claim(first, PARCEL, "a", lease_seconds=60, now=NOW)) == ["x5"]
        with jobs.writing() as other:
            other.execute(sa.insert(PARCEL).values(key="x0", step="send", due_at=NOW, lane="card", lane_seq=0))
        assert take(jobs, "b") == [], "the lease of x5 cannot be seen yet"
    assert take(jobs, "b") == []
    jobs.close()


def test_nodes_pass_over_each_others_rows_without_waiting(postgresql):
    jobs = open_database(postgresql)
    make_tables(jobs)
    put(jobs, "a", "b")
    with jobs.writing() as first:
        assert keys(rows.claim(first, PARCEL, "a", lease_seconds=60, now=NOW)) == ["a"]
        with jobs.writing() as other:
            other.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            assert keys(rows.claim(other, PARCEL, "b", lease_seconds=60, now=NOW)) == ["b"]
    jobs.close()


# Looking ahead


def test_the_next_due_time_is_that_of_a_row_that_can_be_taken(jobs):
    def next_due(now=NOW, **options):
        with jobs.reading() as connection:
            return rows.next_due(connection, PARCEL, now=now, **options)

    assert next_due() is None
    put(jobs, "a1", "a2", lane="a", due_at=NOW + 50)
    put(jobs, "b", due_at=NOW + 70, step="stage")
    assert next_due() == NOW + 50
    assert next_due(steps={"stage"}) == NOW + 70
    (first,) = take(jobs, now=NOW + 50)
    assert next_due(NOW + 50) == NOW + 70, "a2 waits for a1"
    assert next_due(NOW + 50, steps={"nothing"}) == NOW + 110, "when the lease runs out"
    settle(jobs, first, due_at=None, lane=None)
    assert next_due(NOW + 50) == NOW + 50


def test_counts_tell_what_waits_and_what_runs(jobs):
    put(jobs, "a", "b", "c", due_at=NOW)
    put(jobs, "d", due_at=NOW + 1)
    put(jobs, "e", due_at=None, step="none")
    take(jobs, limit=1)
    with jobs.reading() as connection:
        assert rows.counts(connection, PARCEL, NOW) == {
            "none": Count(waiting=0, due=0, running=0, idle=1),
            "send": Count(waiting=1, due=2, running=1, idle=0),
        }


def test_due_times_from_before_the_clock_was_set_back_come_due(jobs):
    put(jobs, "a", due_at=NOW + 3600)
    put(jobs, "b", due_at=NOW + 90_000)
    with jobs.reading() as connection:
        assert rows.are_beyond(connection, PARCEL, 86_400, NOW)
        assert not rows.are_beyond(connection, PARCEL, 90_000, NOW)
    with jobs.writing() as connection:
        assert rows.pull_in(connection, PARCEL, 86_400, NOW) == 1
    assert keys(take(jobs)) == ["b"]


def test_the_databases_own_clock_is_used_when_no_time_is_given(jobs):
    with jobs.reading() as connection:
        now = present(connection)
    put(jobs, "past", due_at=now - 5)
    put(jobs, "future", due_at=now + 500)
    with jobs.writing() as connection:
        (claim,) = rows.claim(connection, PARCEL, "a", lease_seconds=60)
        assert isinstance(claim.row.lease_until, float)
        assert 59 < claim.row.lease_until - now < 120
        assert rows.hold(connection, claim, 600)
    assert row(jobs, "past").lease_until > now + 590


def test_workers_have_different_names():
    assert rows.worker_name() != rows.worker_name()
