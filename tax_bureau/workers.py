"""The judges: threads that take the report whose turn it is, and say every few seconds how fast they are.

They run inside `serve`, or as a process of their own (`work`) beside several of those. All that must survive is in the
store: whoever dies with a report in hand has it taken over when his lease runs out, or at once if he is seen to be dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from platform import node
from typing import Final

from shared.clock import Clock
from shared.jobs.pool import Done, Pool, Queue, Task, wait_longer
from shared.jobs.rows import Claim, worker_name
from tax_bureau.desk import Desk
from tax_bureau.pace import smoothed
from tax_bureau.store import JUDGE, REPORTS, Store, Worker

LEASE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.2
"""How often the store is asked for due work: other processes of this bureau put some there as well."""
_SAY_SECONDS: Final = 2.0
_FORGOTTEN_SECONDS: Final = 86400.0
_log: Final = logging.getLogger("taxferry.bureau")


class _Tally:
    """How much was judged here, counted by all threads."""

    def __init__(self, worker: Worker) -> None:
        self._guard = threading.Lock()
        self._worker = worker
        self._said = worker

    def add(self, seconds: float) -> None:
        with self._guard:
            judged, busy = self._worker.judged + 1, self._worker.busy_seconds + seconds
            self._worker = replace(self._worker, judged=judged, busy_seconds=busy)

    def word(self, now: float) -> Worker:
        """Return what there is to say now."""
        with self._guard:
            judged = self._worker.judged - self._said.judged
            busy = self._worker.busy_seconds - self._said.busy_seconds
            if judged and busy > 0:
                pace = smoothed(self._worker.pace, self._worker.threads * judged / busy)
                self._worker = replace(self._worker, pace=pace)
            self._worker = self._said = replace(self._worker, seen_at=now)
            return self._worker


@contextlib.contextmanager
def judging(
    desk: Desk,
    store: Store,
    clock: Clock,
    *,
    threads: int = 1,
    lease_seconds: float = LEASE_SECONDS,
    after_failure: Callable[[Claim], float] = wait_longer,
) -> Iterator[None]:
    """Judge what is due while the block runs; at its end, what is being read is given back undone.

    Args:
        desk: Who judges.
        store: Where the reports stand in line.
        clock: The bureau's time. Leases of a database server follow that server's clock instead.
        threads: How many reports are judged at once.
        lease_seconds: For how long a report stays in the hands of a process that died on another machine.
        after_failure: Seconds until a report is tried again over which the program itself failed.
    """
    name = worker_name()
    now = clock.now().timestamp()
    with store.write() as tx:
        for dead in (each for each in tx.leasing() if is_dead(each)):
            _log.warning("%s is dead: its reports are due again", dead)
            tx.let_go(dead)
        tx.fold_workers(now - _FORGOTTEN_SECONDS)
    stop = threading.Event()
    tally = _Tally(Worker(name, threads, started_at=now, seen_at=now))

    def judge(task: Task) -> Done:
        began = time.monotonic()
        if desk.judge(task.claim, lambda: stop.is_set() or task.lost):
            tally.add(time.monotonic() - began)
        return Done(None)

    def tell() -> None:
        while True:
            try:
                with store.write() as tx:
                    tx.keep_worker(tally.word(clock.now().timestamp()))
            except Exception as error:  # noqa: BLE001  it says so again in a moment
                _log.warning("%s", type(error).__name__)
            if stop.wait(_SAY_SECONDS):
                return

    pool = Pool(
        store.database,
        [Queue(REPORTS, judge, steps=(JUDGE,), in_order=False)],
        threads=threads,
        worker=name,
        lease_seconds=lease_seconds,
        poll_seconds=_LOOK_SECONDS,
        after_failure=after_failure,
        now=desk.lease_clock,
    )
    teller = threading.Thread(target=tell, name="pace", daemon=True)
    teller.start()
    pool.start()
    try:
        yield
    finally:
        stop.set()
        pool.stop()
        teller.join()
        with contextlib.suppress(Exception), store.write() as tx:
            tx.keep_worker(replace(tally.word(clock.now().timestamp()), seen_at=0.0))


def is_dead(worker: str) -> bool:
    """Return whether a worker is certainly dead: it ran on this machine, and its process is gone."""
    machine, _, rest = worker.rpartition(":")[0].rpartition(":")
    if machine != node() or not rest.isdigit() or os.name == "nt":
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
