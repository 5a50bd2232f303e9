"""Jobs on nodes that are killed, stopped or cut off from their database: none is lost, none takes effect twice."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter

import pytest
import sqlalchemy as sa

from shared.jobs.database import open_database, present
from shared.jobs.limits import Limits
from tests.support.databases import cluster, postgresql, until
from tests.support.job_nodes import PATIENCE, Kills, is_alive, playground
from tests.support.jobs import EFFECT, PARCEL, make_tables, put

__all__ = ["cluster", "postgresql"]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="platform: processes are forked and stopped by signal")


@contextlib.contextmanager
def prepared(url, lanes, each):
    """Have a database with jobs in lanes."""
    with contextlib.closing(open_database(url)) as database:
        make_tables(database)
        for lane in range(lanes):
            put(database, *(f"{lane:02}-{number:02}" for number in range(each)), lane=f"card {lane}")
        yield database


def unfinished(database):
    with database.reading() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(PARCEL).where(PARCEL.c.due_at.is_not(None)))


def effects(database):
    with database.reading() as connection:
        return connection.execute(sa.select(EFFECT).order_by(EFFECT.c.id)).all()


def at_work(database):
    """Return the names of the nodes that are connected."""
    with database.reading() as connection:
        query = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
        return {name.split()[0] for name in connection.exec_driver_sql(query).scalars() if name}


def now(database):
    with database.reading() as connection:
        return present(connection)


def check(database, host, jobs, *, kills):
    """Every step of every job was noted once, in the order of its lane; what was sent was asked about first."""
    noted = effects(database)
    assert Counter((e.key, e.step) for e in noted) == Counter(
        {(key, step): 1 for key in host.puts for step in ("send", "poll")}
    )
    assert len(host.puts) == jobs
    for step in ("send", "poll"):
        for lane in {e.key[:2] for e in noted}:
            order = [e.key for e in noted if e.step == step and e.key[:2] == lane]
            assert order == sorted(order)
    # A request of a killed node may still be on its way when the heir asks about it.
    assert host.puts.total() <= jobs + kills


def one_pc(tmp_path, seed, jobs, kills):
    """One program on one PC, killed and started again; it holds the only lock, so leases end at its start."""
    url = str(tmp_path / "jobs.db")
    with prepared(url, jobs // 5, 5) as database, playground(url, tmp_path) as (host, nodes):
        moments, count = Kills(seed, host), 0
        while count < kills:
            pid = nodes.start(f"run {count}", lease=600.0, alone=True)
            if not moments.await_moment(lambda: not unfinished(database)):
                break
            nodes.kill(pid)
            host.release()
            count += 1
        if not nodes.alive:
            nodes.start("last", lease=600.0, alone=True)
        until(lambda: not unfinished(database), PATIENCE, "the rest of the jobs")
        assert count >= kills // 2
        check(database, host, jobs, kills=count)
        with database.writing() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        return count, host.puts.total()


def several_nodes(url, tmp_path, seed, jobs, kills):
    """Nodes before one database; one is killed, another takes over, and a new one joins."""
    with prepared(url, jobs // 5, 5) as database, playground(url, tmp_path) as (host, nodes):
        moments, count = Kills(seed, host), 0
        for number in range(2):
            nodes.start(f"node {number}", lease=0.6)
        while count < kills and moments.await_moment(lambda: not unfinished(database)):
            nodes.kill(nodes.alive[0])
            host.release()
            count += 1
            nodes.start(f"node {count + 1}", lease=0.6)
        until(lambda: not unfinished(database), PATIENCE, "the rest of the jobs")
        assert count >= kills // 2
        check(database, host, jobs, kills=count)
        return count, host.puts.total()


def test_a_program_that_is_killed_again_and_again_loses_nothing_and_notes_nothing_twice(tmp_path):
    one_pc(tmp_path, seed=20080718, jobs=60, kills=8)


def test_nodes_that_are_killed_again_and_again_lose_nothing_and_note_nothing_twice(postgresql, tmp_path):
    several_nodes(postgresql, tmp_path, seed=20080718, jobs=60, kills=6)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_a_long_campaign_on_one_pc(tmp_path, seed):
    count, sent = one_pc(tmp_path, seed, jobs=400, kills=60)
    print(f"one PC, seed {seed}: {count} kills, 400 jobs, {sent} requests")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_a_long_campaign_on_several_nodes(postgresql, tmp_path, seed):
    count, sent = several_nodes(postgresql, tmp_path, seed, jobs=400, kills=40)
    print(f"several nodes, seed {seed}: {count} kills, 400 jobs, {sent} requests")


def test_a_node_that_was_stopped_longer_than_its_lease_writes_nothing_when_it_wakes(postgresql, tmp_path):
    with prepared(postgresql, 1, 1) as database, playground(postgresql, tmp_path) as (host, nodes):
        host.hold = lambda key: True
        zombie = nodes.start("zombie", lease=0.6)
        until(lambda: host.held, PATIENCE, "the request")
        os.kill(zombie, signal.SIGSTOP)
        nodes.start("heir", lease=0.6)
        until(lambda: not unfinished(database), PATIENCE, "the heir")
        before = effects(database)
        os.kill(zombie, signal.SIGCONT)
        host.release()
        until(lambda: "was taken over meanwhile" in nodes.log.read_text(), PATIENCE, "the zombie's attempt")
        assert effects(database) == before
        assert [(e.step, e.worker) for e in before] == [("send", "heir"), ("poll", "heir")]
        assert host.puts.total() == 1, "the heir asked before it sent"
        assert is_alive(zombie)


def test_what_a_killed_node_had_is_taken_over_when_its_lease_ends(postgresql, tmp_path):
    lease = 1.0
    with prepared(postgresql, 2, 1) as database, playground(postgresql, tmp_path) as (host, nodes):
        host.hold = lambda key: True
        first = nodes.start("first", lease=lease)
        until(lambda: len(host.held) == 2, PATIENCE, "the requests")
        for name in ("second", "third"):
            nodes.start(name, lease=lease)
            until(lambda name=name: name in at_work(database), PATIENCE, "the node")
        nodes.kill(first)
        killed = now(database)
        host.release()
        until(lambda: not unfinished(database), PATIENCE, "the others")
        taken = [e for e in effects(database) if e.step == "send"]
        assert {e.worker for e in taken} <= {"second", "third"}
        # The lease was renewed at most a moment before; the rest is what a busy machine may add.
        assert max(e.at for e in taken) - killed <= lease + 5.0
        assert host.puts.total() == 2


def test_nodes_survive_a_crash_of_their_server(postgresql, cluster, tmp_path):
    with prepared(postgresql, 12, 5) as database, playground(postgresql, tmp_path) as (host, nodes):
        for name in ("first", "second"):
            nodes.start(name, lease=2.0)
        for count in (10, 35):
            until(lambda count=count: len(host.order) >= count, PATIENCE, "requests")
            cluster.crash()
        until(lambda: not unfinished(database), PATIENCE, "the rest of the jobs")
        assert all(is_alive(pid) for pid in nodes.alive)
        check(database, host, 60, kills=0)


def test_nodes_keep_the_limits_of_a_host_together(postgresql, tmp_path):
    limits = Limits(at_once=3, per_second=40.0, burst=4)
    with prepared(postgresql, 60, 1) as database, playground(postgresql, tmp_path) as (host, nodes):
        host.takes = 0.06
        for name in ("first", "second", "third"):
            nodes.start(name, lease=5.0, limits=limits)
        until(lambda: not unfinished(database), PATIENCE, "the jobs")
        # A lease begins before its request and ends after it.
        assert host.most_at_once <= 3
        assert {e.worker for e in effects(database)} == {"first", "second", "third"}
        for index, start in enumerate(host.starts):
            within = [t for t in host.starts[index:] if t <= start + 0.5]
            assert len(within) <= limits.burst + 0.5 * limits.per_second + limits.at_once
