"""Durable jobs: how many per second, what sleeping ones cost, and how late they wake.

    python benchmarks/jobs.py [--url postgresql://user@host/database] [--sleepers 20000] [--jobs 3000]

Without a URL the database is a SQLite file in the system's folder for temporary files. The table is made in the database
and dropped at the end. Every transaction waits for the disk, so the numbers are as much the disk's as ours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shared.jobs.database import Database, open_database, present
from shared.jobs.pool import Done, Pool, Queue, Task
from shared.jobs.rows import job_columns, job_indexes

JOB = sa.Table("benchmark_job", sa.MetaData(), sa.Column("key", sa.Integer, primary_key=True), *job_columns())
job_indexes(JOB)
LANES = 500


def megabytes() -> float:
    """Return the memory that this process has now."""
    return psutil.Process().memory_info().rss / 1e6


def now(database: Database) -> float:
    """Return the database's time."""
    with database.reading() as connection:
        return present(connection)


def fill(
    database: Database, first: int, count: int, due_at: float, spread: float = 0.0, *, lanes: bool = False
) -> None:
    """Add rows."""
    with database.writing() as connection:
        rows = [
            {
                "key": key,
                "step": "send",
                "due_at": due_at + spread * (key - first) / count,
                "lane": f"card {key % LANES}" if lanes else None,
                "lane_seq": key if lanes else None,
            }
            for key in range(first, first + count)
        ]
        connection.execute(sa.insert(JOB), rows)


def idle(database: Database, seconds: float) -> None:
    """Show what a pool costs that has nothing to do."""
    with Pool(database, [Queue(JOB, lambda task: Done({"due_at": None}))], threads=8):
        time.sleep(1.0)
        memory, cpu, start = megabytes(), time.process_time(), time.monotonic()
        time.sleep(seconds)
        share = (time.process_time() - cpu) / (time.monotonic() - start)
        print(f"  idle: {100 * share:.2f} % of a processor, {memory:.0f} MB, then {megabytes():.0f} MB")


def work(database: Database, count: int, threads: int) -> None:
    """Show how many jobs of one step are done in a second: each one claim, one settlement, both committed."""
    done, finished = [0], threading.Event()
    guard = threading.Lock()

    def handle(_task: Task) -> Done:
        with guard:
            done[0] += 1
            if done[0] == count:
                finished.set()
        return Done({"due_at": None, "lane": None})

    fill(database, 10_000_000, count, now(database) - 1, lanes=True)
    memory, cpu, start = megabytes(), time.process_time(), time.monotonic()
    with Pool(database, [Queue(JOB, handle)], threads=threads):
        finished.wait(600)
    took, each = time.monotonic() - start, (time.process_time() - cpu) / count
    print(f"  {threads} threads: {count / took:.0f} jobs/s, {1000 * each:.1f} ms of a processor for each,", end=" ")
    print(f"{memory:.0f} MB, then {megabytes():.0f} MB")
    with database.writing() as connection:
        connection.execute(sa.delete(JOB).where(JOB.c.key >= 10_000_000))


def wake(database: Database, count: int) -> None:
    """Show how late rows are taken that come due one after the other, a hundred in a second."""
    late: list[float] = []
    finished = threading.Event()

    def handle(task: Task) -> Done:
        late.append(task.claim.row.lease_until - 60.0 - task.claim.row.due_at)
        if len(late) == count:
            finished.set()
        return Done({"due_at": None})

    fill(database, 20_000_000, count, now(database) + 2.0, count / 100.0)
    with Pool(database, [Queue(JOB, handle)], threads=4):
        finished.wait(600)
    late.sort()
    print(
        f"  woken late by {1000 * statistics.median(late):.0f} ms (median), {1000 * late[int(0.99 * count)]:.0f} ms (p99)"
    )


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--sleepers", type=int, default=20_000)
    parser.add_argument("--jobs", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(options.url or os.path.join(folder, "jobs.db"))
        with database.writing() as connection:
            JOB.create(connection)
        try:
            print(f"{database.engine.dialect.name}, {options.sleepers} sleeping rows:")
            fill(database, 0, options.sleepers, now(database) + 86_400, lanes=False)
            idle(database, options.seconds)
            wake(database, 500)
            for threads in (1, 4):
                work(database, options.jobs, threads)
        finally:
            with database.writing() as connection:
                JOB.drop(connection)
            database.close()


if __name__ == "__main__":
    main()
