"""Threads that do what is due: claim a row, do its step, write what became of it.

One idle thread at a time looks for work and the others wait for their turn, so a pool without work costs one small query
per `poll_seconds`, however many rows sleep. A thread of its own renews the leases. An error of the database is waited
out; what was done meanwhile is written as soon as the database is back, unless another worker has the row by then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.jobs import rows
from shared.jobs.database import Database
from shared.jobs.limiter import Heard, Limiter
from shared.jobs.rows import Claim

LOGGER: Final = logging.getLogger("taxferry.jobs")
_TRANSIENT: Final = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
"""Errors of a database that is away, busy or full; anything else is a defect."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
_SHORTEST_WAIT: Final = 0.001

Values = Mapping[str, object]
Decide = Callable[[Connection, Row[Any]], Values]
"""Given the row as it is now, in the transaction that settles it, returns what is written; other rows may be too."""


@dataclass(frozen=True)
class Done:
    """What became of a step.

    Attributes:
        write: Columns to write, `due_at` among them, or what decides about them; None if the handler gave the row back
            itself.
        heard: What the step showed about the host, if it spoke to one.
    """

    write: Values | Decide | None
    heard: Heard | None = None


class Task:
    """A claimed row in the hands of a handler."""

    def __init__(self, database: Database, claim: Claim) -> None:
        """Work on a claim."""
        self.database = database
        self.claim = claim
        self._lost = threading.Event()

    @property
    def lost(self) -> bool:
        """Whether another worker is known to have the row: what is under way is better left."""
        return self._lost.is_set()

    def give_up(self) -> None:
        """Note that another worker has the row."""
        self._lost.set()

    def save(self, write: Values | Decide) -> bool:
        """Commit a decision and keep the row: always before its effect.

        Returns:
            False if the row was lost: nothing changed, and the effect must not be begun.
        """
        with self.database.writing() as connection:
            if not callable(write):
                kept = rows.save(connection, self.claim, write)
            else:
                row = rows.current(connection, self.claim)
                kept = row is not None and rows.save(connection, self.claim, write(connection, row))
        if not kept:
            self.give_up()
        return kept


@dataclass(frozen=True)
class Queue:
    """Rows of one table, and who does their steps.

    Attributes:
        table: With the columns of `job_columns`.
        handle: Does a step. It may be called twice for the same step, and in several threads.
        steps: Which steps; None for all.
        limiter: The limits of the host that the steps speak to.
        in_order: Whether the order of a lane is kept.
    """

    table: sa.Table
    handle: Callable[[Task], Done]
    steps: Collection[str] | None = None
    limiter: Limiter | None = None
    in_order: bool = True


def wait_longer(claim: Claim) -> float:
    """Return how many seconds a row waits whose handler failed: doubling, up to an hour."""
    return float(min(3600.0, 5.0 * 2.0 ** min(claim.tries - 1, 20)))


def _say_nothing(_error: Exception) -> None:
    """Leave it to the log."""


def database_clock() -> float | None:
    """Leave telling the time to the database."""
    return None


class Pool:
    """Some threads and the queues they serve.

    with Pool(database, [Queue(table, handle)]) as pool: ...
    """

    def __init__(
        self,
        database: Database,
        queues: Sequence[Queue],
        *,
        threads: int = 4,
        worker: str | None = None,
        lease_seconds: float = 60.0,
        poll_seconds: float = 0.5,
        horizon_seconds: float | None = None,
        after_failure: Callable[[Claim], float] = wait_longer,
        now: Callable[[], float | None] = database_clock,
        complain: Callable[[Exception], None] = _say_nothing,
    ) -> None:
        """Prepare a pool.

        Args:
            database: Where the rows are.
            queues: What is served, in turn.
            threads: How many steps are done at once.
            worker: This pool's name; by default one that no other has.
            lease_seconds: How long a row stays taken if the pool dies. Renewed at a third of it, so a step may take longer.
            poll_seconds: How soon a row is noticed that somebody else has made due.
            horizon_seconds: A due time further ahead than this was written before the clock was set back, and counts as
                due; None if the clock cannot be set back.
            after_failure: Seconds until a row is tried again whose handler raised.
            now: The present; None for the database's clock, which all nodes share.
            complain: Told when the database cannot be asked for work, once until it can be again.
        """
        self.worker = worker or rows.worker_name()
        self._database = database
        self._queues = list(queues)
        self._lease = lease_seconds
        self._poll = poll_seconds
        self._horizon = horizon_seconds
        self._after_failure = after_failure
        self._now = now
        self._complain = complain
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._running: list[Task] = []
        self._threads = [
            threading.Thread(target=self._work, name=f"jobs-{number}", daemon=True) for number in range(threads)
        ]
        self._keeper = threading.Thread(target=self._keep, name="jobs-leases", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, waiting a while for the steps that are under way."""
        self.stop()

    def start(self) -> None:
        """Begin to work; once."""
        for thread in (self._keeper, *self._threads):
            thread.start()

    def stop(self, patience: float = 30.0) -> bool:
        """Claim nothing more, and wait for the steps under way.

        Returns:
            False if some go on after `patience` seconds. Their leases are renewed no more, so that others take over.
        """
        self._stop.set()
        self._wake.set()
        last = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, last - time.monotonic()))
        self._ended.set()
        self._keeper.join()
        return not any(thread.is_alive() for thread in self._threads)

    def work_off(self) -> int:
        """Do what is due, in this thread and once, instead of `start`; return how many steps that were.

        A step that makes itself due again at once never ends it: handlers wait for something.
        """
        self._keeper.start()
        count = 0
        try:
            while True:
                found, _ = self._look()
                if found is None:
                    return count
                self._do(*found)
                count += 1
        finally:
            self._ended.set()
            self._keeper.join()

    def wake(self) -> None:
        """Look for work at once: something has become due."""
        self._wake.set()

    def running(self) -> list[Claim]:
        """Return the claims whose steps are under way here."""
        return [task.claim for task in self._tasks()]

    def _tasks(self) -> list[Task]:
        with self._guard:
            return list(self._running)

    # Working

    def _work(self) -> None:
        while True:
            with self._turn:
                found = self._next()
            if found is None:
                return
            self._do(*found)

    def _do(self, queue: Queue, task: Task) -> None:
        try:
            self._finish(queue, task, self._done(queue, task))
        finally:
            with self._guard:
                self._running.remove(task)
            self._wake.set()  # its lane is free, or a place at its host

    def _next(self) -> tuple[Queue, Task] | None:
        """Wait for something to do; None when the pool stops."""
        pause = 0.0
        while True:
            self._wake.clear()
            if self._stop.is_set():
                return None
            failing = pause > 0.0
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            try:
                found, wait = self._look()
                pause = 0.0
            except Exception as error:  # whatever it is, the pool must be there when it is mended
                if isinstance(error, _TRANSIENT):
                    LOGGER.warning("looking for work: %s", _short(error))
                else:
                    LOGGER.exception("looking for work")
                if not failing:
                    self._complain(error)
                found, wait = None, pause
            if found is not None:
                return found
            self._wake.wait(wait)

    def _look(self) -> tuple[tuple[Queue, Task] | None, float]:
        """Claim one row of the next queue that has one; otherwise say for how long nothing is to be expected."""
        wait = self._poll
        self._queues.append(self._queues.pop(0))
        for queue in self._queues:
            with self._database.reading() as connection:
                seen = rows.outlook(
                    connection, queue.table, now=self._now(), steps=queue.steps, in_order=queue.in_order
                )
                if seen.next_due is None:
                    continue
                again_at: float | None = seen.next_due
                if seen.next_due <= seen.now and queue.limiter is not None:
                    room = queue.limiter.room(connection, 1, seen.now)
                    again_at = seen.now if room.count else room.again_at
            if again_at is None or again_at > seen.now:
                wait = min(wait, self._poll if again_at is None else max(again_at - seen.now, _SHORTEST_WAIT))
                continue
            task = self._claim(queue)
            if task is not None:
                return (queue, task), 0.0
        return None, wait

    def _claim(self, queue: Queue) -> Task | None:
        # A power cut ends all leases, and with it what this transaction notes; on a server it is durable.
        with self._database.writing(durable=False) as connection:
            claims = rows.claim(
                connection,
                queue.table,
                self.worker,
                lease_seconds=self._lease,
                now=self._now(),
                steps=queue.steps,
                limiter=queue.limiter,
                in_order=queue.in_order,
            )
        if not claims:
            return None
        task = Task(self._database, claims[0])
        with self._guard:
            self._running.append(task)
        return task

    def _done(self, queue: Queue, task: Task) -> Done | None:
        try:
            return queue.handle(task)
        except Exception:  # a defect in one step must not end the others
            LOGGER.exception("%s: step %s failed", task.claim.key, task.claim.step)
            return None

    def _finish(self, queue: Queue, task: Task, done: Done | None) -> None:
        """Write what became of a step, however long the database is away."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if done is not None and done.write is None and self._is_old_news(queue, done):
                    return
                with self._database.writing() as connection:
                    kept = self._write(connection, queue, task, done)
            except _TRANSIENT as error:
                LOGGER.warning("%s: not written yet: %s", task.claim.key, _short(error))
                if self._ended.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE)
            except Exception:
                LOGGER.exception("%s: what became of step %s cannot be written", task.claim.key, task.claim.step)
                if done is None:
                    return  # not even that it failed: it is due again when its lease has run out
                done = None
            else:
                if not kept:
                    task.give_up()
                    LOGGER.warning("%s: step %s was taken over meanwhile", task.claim.key, task.claim.step)
                return

    def _is_old_news(self, queue: Queue, done: Done) -> bool:
        if done.heard is None or queue.limiter is None:
            return True
        with self._database.reading() as connection:
            return not queue.limiter.is_news(connection, done.heard, self._now())

    def _write(self, connection: Connection, queue: Queue, task: Task, done: Done | None) -> bool:
        claim = task.claim
        if done is None:
            return rows.postpone(connection, claim, self._after_failure(claim), self._now())
        kept = True
        if callable(done.write):
            row = rows.current(connection, claim)
            kept = row is not None and rows.settle(connection, claim, done.write(connection, row))
        elif done.write is not None:
            kept = rows.settle(connection, claim, done.write)
        if done.heard is not None and queue.limiter is not None:
            queue.limiter.heard(connection, done.heard, self._now())
        return kept

    # Leases

    def _keep(self) -> None:
        wait = 0.0
        while not self._ended.wait(wait):
            wait = self._lease / 3
            try:
                self._renew()
                self._mend_clock()
            except _TRANSIENT as error:
                LOGGER.warning("renewing leases: %s", _short(error))
                wait = min(wait, 1.0)
            except Exception:
                LOGGER.exception("renewing leases")
                wait = min(wait, 1.0)

    def _renew(self) -> None:
        tasks = self._tasks()
        if tasks:
            with self._database.writing(durable=False) as connection:
                for task in tasks:
                    if not rows.hold(connection, task.claim, self._lease, self._now()):
                        task.give_up()

    def _mend_clock(self) -> None:
        if self._horizon is None:
            return
        for table in {queue.table for queue in self._queues}:
            with self._database.reading() as connection:
                wrong = rows.are_beyond(connection, table, self._horizon, self._now())
            if wrong:
                with self._database.writing() as connection:
                    rows.pull_in(connection, table, self._horizon, self._now())
                self._wake.set()


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
