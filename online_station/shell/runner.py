"""The station at work: takes what arrived, does what is due, and can be killed anywhere.

One pass does what is due, one thing after the other (`once`, `results`, `upload`); the service has a pool of workers for
the same steps (`shared.jobs`). Both take a report by a lease before they touch it, so that they can work beside each
other, and several nodes before one database.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from online_station.core.backoff import MAX_DELAY, Backoff
from online_station.core.decide import AskNow, Step
from online_station.core.stability import StabilityTracker
from online_station.shell.home import Home
from online_station.shell.intake import Checkpoint, Harvest, Inboxes, Intake
from online_station.shell.keyring import Keyring
from online_station.shell.log import LOGGER
from online_station.shell.meter import NO_METER, Meter
from online_station.shell.schema import ACK, HOST_LIMIT, REPORT
from online_station.shell.steps import ASKING, Pass, Steps
from online_station.shell.store import LeaseLost, Store
from online_station.shell.trust import Trust
from online_station.shell.watcher import InboxWatcher
from shared.clock import Clock
from shared.durable import sweep
from shared.errors import ConfigurationError, FileMissing, TaxferryError
from shared.ids import recognise_name
from shared.jobs.limiter import Asking, Limiter
from shared.jobs.limits import Limits
from shared.jobs.pool import Done, Pool, Queue, Task, wait_longer
from shared.jobs.rows import Claim, worker_name
from shared.text import Text
from shared.text.system import os_reason

SETTLE_SECONDS: Final = 2.0
RESCAN_SECONDS: Final = 10.0
TICK_SECONDS: Final = 1.0
DEBOUNCE_SECONDS: Final = 0.2
THREADS: Final = 4
_PATIENCE_SECONDS: Final = 20.0
LEASE_SECONDS: Final = 60.0
"""How long what a dead node was doing waits for another one; renewed while it lives."""
_PASS_LEASE_SECONDS: Final = 600.0
"""A pass renews no lease: this is longer than any upload takes."""
POLL_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 20.0
_MOST_STEPS: Final = 8
"""Steps of one report in one pass: found to accepted takes three; more than this is a loop."""
_TRUST_BACKOFF: Final = Backoff(10, 600)


def _nowhere(_point: str) -> None:
    """Do not crash."""


class Station:
    """One online station, owned by this process; or one node of a station that has several."""

    meter: Meter = NO_METER

    def __init__(
        self,
        home: Home,
        store: Store,
        trust: Trust,
        keyring: Keyring,
        clock: Clock,
        *,
        inboxes: Inboxes,
        outbox: Path,
        limits: Limits | None = None,
        node: str = "",
        checkpoint: Checkpoint = _nowhere,
        settle: float = SETTLE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        notify: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        """Work in `home`, whose lock the caller holds.

        Args:
            home: The folders.
            store: The database.
            trust: What is believed.
            keyring: The ways to the bureau.
            clock: The time.
            inboxes: Where files arrive.
            outbox: Where results go.
            limits: What the service asks the bureau to bear, over all nodes.
            node: This node's name, if there are several.
            checkpoint: Told where a crash would be interesting.
            settle: Seconds for which a file must not change before it is judged to be finished.
            monotonic: For waiting.
            notify: Told about everything that happens, for `--json`.
        """
        self.home = home
        self.store = store
        self.trust = trust
        self.keyring = keyring
        self.outbox = outbox
        self._clock = clock
        self._limits = limits or Limits()
        self._worker = node or worker_name()
        self._monotonic = monotonic
        self._notify = notify
        self._telling = threading.Lock()
        self._tracker = StabilityTracker(settle)
        self.intake = Intake(home, inboxes, store, trust, self._tracker, checkpoint=checkpoint)
        self.steps = Steps(
            home,
            store,
            trust,
            keyring,
            clock,
            outbox=outbox,
            checkpoint=checkpoint,
            tell=self._tell,
            trust_asked=f"trust_asked_at {node}" if node else "trust_asked_at",
        )

    # Passes

    def recover(self) -> None:
        """Find out what a crash left: half-written files go, and what was under way here is due again."""
        for folder in (self.home.spool, self.home.results, self.home.quarantine, self.home.trust, self.outbox):
            sweep(folder)
        # Who holds the lock of this home knows that all who worked here before are dead.
        self.store.end_leases(self._worker if self.store.is_shared else None)
        self._adopt_orphans(self._clock.now())

    def _adopt_orphans(self, now: datetime) -> None:
        """Note reports that were kept in the spool when the process died before noting them."""
        known = {facts.digest for facts in self.store.files().values()}
        for path in sorted(self.home.spool.glob("*.dat")):
            if path.stem not in known:
                try:
                    self.intake.take_report(path, now, named=None, remove=False)
                except (TaxferryError, OSError) as error:
                    LOGGER.warning("spool/%s: %s", path.name, error)

    def once(self, *, patient: bool = True) -> Pass:
        """Take what is in the inbox and do what is due.

        Args:
            patient: Wait (up to some seconds) for files that are still being written.
        """
        done = Pass()
        self._take(done, patient=patient)
        self._work(done)
        return done

    def ask_now(self) -> Pass:
        """Ask about every open report before its due time, and do what follows from the answers."""
        done = Pass()
        now = self._clock.now()
        for row in self.store.open_reports():
            self.store.apply(row.digest, AskNow(), now)
        self._work(done)
        return done

    def upload(self, path: Path) -> tuple[str, Pass]:
        """Take one named file, whatever its folder, and send it; the file stays where it is.

        Raises:
            TaxferryError: It is no acceptable report. Nothing was taken.
        """
        recognised = recognise_name(path.name)
        if not path.is_file():
            raise FileMissing(what=path)
        try:
            digest, _, warnings = self.intake.take_report(
                path, self._clock.now(), named=None if recognised is None else recognised[0], remove=False
            )
        except OSError as error:
            raise ConfigurationError(
                reason=Text(f"{path} 读不了（{os_reason(error).zh}）", f"{path}: {os_reason(error).en}")
            ) from None
        done = Pass()
        done.warnings.extend(warnings)
        self.store.apply(digest, AskNow(), self._clock.now())
        # The earlier reports of the card go first, if there are any that are to go.
        self._work(done, only={digest, *self.store.earlier(digest)})
        return digest, done

    def _work(self, done: Pass, *, only: Collection[str] | None = None) -> None:
        self.store.mend_clock(MAX_DELAY.total_seconds(), self._job_time())
        self.steps.refresh_trust(done)
        # Clear receipts first: a delivered one may make a report's result due, which another station fetched before.
        for sha256 in self.store.due_acks(self._clock.now()):
            # One whose outcome is unknown is asked about first, and sent again under a second lease.
            for _ in range(2):
                if not done.offline:
                    claim = self.store.claim_ack(sha256, self._worker, _PASS_LEASE_SECONDS, self._job_time())
                    self._do(claim, self.steps.ack, done)
        steps: dict[str, int] = {}
        progress = True
        while progress:
            progress = False
            for digest in self.store.due(self._clock.now()):
                if (only is not None and digest not in only) or steps.get(digest, 0) >= _MOST_STEPS:
                    continue
                steps[digest] = steps.get(digest, 0) + 1
                kinds = {Step.STAGE} if done.offline else {Step.STAGE, *ASKING}
                claim = self.store.claim_report(digest, self._worker, _PASS_LEASE_SECONDS, self._job_time(), kinds)
                progress = self._do(claim, self.steps.report, done) or progress

    def _do(self, claim: Claim | None, step: Callable[[Claim, Pass], None], done: Pass) -> bool:
        """Do a step in a pass; return whether there was one to do."""
        if claim is None:
            return False
        try:
            step(claim, done)
        except LeaseLost:
            LOGGER.warning("%s: another worker has it", str(claim.key)[:12])
        except BaseException:
            with contextlib.suppress(DBAPIError):
                self.store.give_back(claim)
            raise
        return True

    def _job_time(self) -> float | None:
        """Return the present for leases and due times: the database's where nodes share one."""
        return None if self.store.is_shared else self._clock.now().timestamp()

    # The service

    def run(self, stop: threading.Event, wake: threading.Event, *, threads: int = THREADS) -> None:
        """Work until `stop` is set. Every `wake` is looked into at once.

        Args:
            stop: Ends it: nothing more is begun, and what is under way has some seconds.
            wake: Something may have arrived.
            threads: How many steps are done at once.
        """
        host = self.keyring.own.gateway.name
        asking = {step.value for step in ASKING}
        all_asking = [Asking(REPORT, asking), Asking(ACK)]
        limiter = Limiter(HOST_LIMIT, host, self._limits, all_asking)
        # A report that passes its check is sent under the same lease: that is a second request.
        twice = Limiter(HOST_LIMIT, host, self._limits, all_asking, requests=2)
        check = {Step.CHECK.value}
        pool = Pool(
            self.store.database,
            [
                Queue(REPORT, self._work_on(self.steps.report), steps={Step.STAGE.value}),
                Queue(REPORT, self._work_on(self.steps.report), steps=check, limiter=twice),
                Queue(REPORT, self._work_on(self.steps.report), steps=asking - check, limiter=limiter),
                Queue(ACK, self._work_on(self.steps.ack), limiter=limiter),
            ],
            threads=threads,
            worker=self._worker,
            lease_seconds=LEASE_SECONDS,
            poll_seconds=POLL_SECONDS,
            horizon_seconds=MAX_DELAY.total_seconds(),
            now=self._job_time,
            complain=self._trouble,
        )
        trusting = threading.Thread(target=self._mind_trust, args=(stop,), name="trust", daemon=True)
        watcher = InboxWatcher(self.intake.inboxes.root, wake)
        next_scan = self._monotonic()
        pool.start()
        trusting.start()
        try:
            while not stop.is_set():
                self.meter.turned()
                watcher.ensure()
                if wake.is_set() or self._monotonic() >= next_scan:
                    wake.clear()
                    self._guarded_take()
                    pool.wake()
                    settling = 0.0 if self.intake.inboxes.more else self._tracker.wait(self._monotonic())
                    pause = RESCAN_SECONDS if settling is None else min(RESCAN_SECONDS, max(DEBOUNCE_SECONDS, settling))
                    next_scan = self._monotonic() + pause
                wake.wait(max(0.0, min(TICK_SECONDS, next_scan - self._monotonic())))
                if wake.is_set():
                    stop.wait(DEBOUNCE_SECONDS)
        finally:
            stop.set()
            watcher.close()
            if not pool.stop(_STOP_SECONDS):
                LOGGER.warning("a request was still under way; what became of it is asked at the next start")
            trusting.join(POLL_SECONDS)

    def _work_on(self, step: Callable[[Claim, Pass], None]) -> Callable[[Task], Done]:
        def handle(task: Task) -> Done:
            done = Pass()
            try:
                step(task.claim, done)
            except LeaseLost:
                task.give_up()
            except (TaxferryError, OSError, DBAPIError) as error:
                # The service outlives a full disk or a missing folder; what is not done stays due.
                self._trouble(error)
                later = self._clock.now().timestamp() + wait_longer(task.claim)
                return Done({"due_at": later, "tries": task.claim.tries}, done.heard)
            return Done(None, done.heard)

        return handle

    def _mind_trust(self, stop: threading.Event) -> None:
        """Fetch the trust file when it is time, beside all that waits for it."""
        failures = 0
        while not stop.is_set():
            done = Pass()
            try:
                self.steps.refresh_trust(done)
            except (TaxferryError, OSError, DBAPIError) as error:
                self._trouble(error)
            failures = failures + 1 if done.problems else 0
            pause = RESCAN_SECONDS if not failures else _TRUST_BACKOFF.seconds(failures, self._worker)
            stop.wait(pause)

    def _guarded_take(self) -> None:
        try:
            self._take(Pass(), patient=False, whole=False)
        except (TaxferryError, OSError, DBAPIError) as error:
            self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        # What a database's driver says itself; the statement that failed helps nobody here.
        message = str(error.orig if isinstance(error, DBAPIError) else error)
        LOGGER.error("%s", message)
        self._tell("trouble", message=message, code=error.code if isinstance(error, TaxferryError) else "")

    # Inbox

    def _take(self, done: Pass, *, patient: bool, whole: bool = True) -> None:
        last = self._monotonic() + _PATIENCE_SECONDS
        while True:
            found = self.intake.run(self._clock.now(), self._monotonic())
            _merge(done.harvest, found)
            for digest in found.reports:
                self._tell("taken", report_digest=digest)
            for row in found.quarantined:
                self._tell("quarantined", file=row.name, code=row.code, stored_name=row.stored_name)
            if whole and self.intake.inboxes.more:
                continue
            wait = self._tracker.wait(self._monotonic())
            if not found.waiting or not patient or wait is None or self._monotonic() + wait > last:
                return
            time.sleep(max(0.05, min(wait, 1.0)))

    def _tell(self, event: str, **facts: object) -> None:
        if self._notify is not None:
            with self._telling:
                self._notify({"event": event, "at": self._clock.now().isoformat(), **facts})


def _merge(into: Harvest, found: Harvest) -> None:
    into.reports.extend(d for d in found.reports if d not in into.reports)
    into.acks.extend(found.acks)
    into.known += found.known
    into.quarantined.extend(found.quarantined)
    into.rejected.extend(found.rejected)
    into.warnings.extend(found.warnings)
    into.waiting = list(found.waiting)
    into.foreign = found.foreign
