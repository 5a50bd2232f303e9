"""The station at work: takes what arrived, does what is due, and can be killed anywhere.

Decide, save, then act: `Store.apply` commits a decision before anything is done about it, and whatever is done can be
done twice. The points where a crash would be interesting are told to `checkpoint`, through which tests kill the
process (GW-6, GW-7).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from online_station.core.backoff import Backoff
from online_station.core.decide import (
    AckDelivered,
    AskNow,
    Checked,
    Event,
    HoldReason,
    NeverSeen,
    NoAnswer,
    NotTaken,
    Refused,
    ReplyLost,
    Resend,
    ResultProven,
    SendDue,
    Snapshot,
    Staged,
    Step,
    StillProcessing,
    Taken,
    next_step,
)
from online_station.core.stability import StabilityTracker
from online_station.core.story import ARRIVED_IN_PART, ENDED_WHILE_SENDING
from online_station.shell.gateway import Gateway, Processing
from online_station.shell.home import Home
from online_station.shell.intake import Checkpoint, Harvest, Inboxes, Intake
from online_station.shell.keyring import Keyring
from online_station.shell.log import LOGGER
from online_station.shell.quarantine import keep_copy
from online_station.shell.staging import stage
from online_station.shell.store import (
    ACK_DELIVERED,
    ACK_REFUSED,
    ACK_SENDING,
    ACK_UNKNOWN,
    ACK_WAITING,
    AckRow,
    ReportRow,
    ResultRow,
    Store,
)
from online_station.shell.trust import Trust
from online_station.shell.watcher import InboxWatcher
from shared import faults
from shared.clock import Clock
from shared.durable import sweep, write_durably
from shared.envelope.cms import RecipientId
from shared.errors import (
    BureauBusy,
    BureauError,
    BureauRefused,
    BureauUnreachable,
    ClockSkew,
    ConfigurationError,
    FileMissing,
    FormatError,
    KeyUnavailable,
    OtherReport,
    OutcomeUnknown,
    ReportInvalid,
    TaxferryError,
    TrustError,
)
from shared.ids import parse_stem, recognise_name
from shared.model.receipt import Receipt, prove_receipt
from shared.model.result import ProvenResult, prove_result
from shared.states import IllegalTransition, OnlineState
from shared.text import Text
from shared.text.system import os_reason

SETTLE_SECONDS: Final = 2.0
RESCAN_SECONDS: Final = 10.0
TICK_SECONDS: Final = 1.0
DEBOUNCE_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 20.0
_TRUST_EVERY: Final = timedelta(hours=12)
_TRUST_AT_LEAST: Final = timedelta(seconds=30)
_UNREADABLE: Final = -2
_MOST_STEPS: Final = 8
"""Steps of one report in one pass: found to accepted takes three; more than this is a loop."""
_ACK_BACKOFF: Final = Backoff(5, 3600)
_ABOUT_THE_REQUEST: Final = (400, 401, 408)
"""Refusals that say nothing about what was sent (GW-15)."""


def _nowhere(_point: str) -> None:
    """Do not crash."""


@dataclass
class Pass:
    """What one pass came to.

    Attributes:
        harvest: What was taken from the inbox.
        moved: Reports whose state changed, by digest: first and last state.
        answers: What the bureau said about each report it was asked about: `success`, `failure` or `processing`.
        staged: Results that were put into the outbox.
        acks: Digests whose clear receipts were delivered.
        problems: What went wrong for the station as a whole, or with one report, without ending the pass.
        warnings: What a person should know.
    """

    harvest: Harvest = field(default_factory=Harvest)
    moved: dict[str, tuple[OnlineState, OnlineState]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    staged: list[Path] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    problems: list[TaxferryError] = field(default_factory=list)
    warnings: list[Text] = field(default_factory=list)


class Station:
    """One online station, owned by this process."""

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
        self._checkpoint = checkpoint
        self._monotonic = monotonic
        self._notify = notify
        self._tracker = StabilityTracker(settle)
        self.intake = Intake(home, inboxes, store, trust, self._tracker, checkpoint=checkpoint)
        self._offline_until = 0.0
        self._failures = 0
        self._readable = True
        self._broke_off = False
        self._arrived_of: dict[str, int] = {}
        self._moved_on: set[str] = set()

    # Passes

    def recover(self) -> None:
        """Find out what a crash left: half-written files go, unanswered requests become questions."""
        for folder in (self.home.spool, self.home.results, self.home.quarantine, self.home.trust, self.outbox):
            sweep(folder)
        self._question_what_was_sent()
        self._adopt_orphans(self._clock.now())

    def _question_what_was_sent(self) -> None:
        """Let every request whose answer was not kept be asked about: nobody sends while this is called (GW-6)."""
        for row in self.store.reports():
            if row.state is OnlineState.SENDING:
                self._apply(row.digest, ReplyLost(), Pass(), note=ENDED_WHILE_SENDING)
        for ack in self.store.acks():
            if ack.state == ACK_SENDING:
                self.store.set_ack(ack.sha256, ACK_UNKNOWN, attempts=ack.attempts, due_at=self._clock.now())

    def _adopt_orphans(self, now: datetime) -> None:
        """Note reports that were kept in the spool when the process died before noting them."""
        known = {row.digest for row in self.store.reports()}
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
        self._offline_until = 0.0
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
        self._work(done, only=digest)
        return digest, done

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Work until `stop` is set. Every `wake` is looked into at once."""
        watcher = InboxWatcher(self.intake.inboxes.root, wake)
        next_scan = self._monotonic()
        seen = -1
        try:
            while not stop.is_set():
                watcher.ensure()
                counter, due = self._look_at_the_store()
                if counter != seen:
                    wake.set()  # another process held, released or retried something
                seen = counter
                hurry = due is not None and due <= self._clock.now() and self._monotonic() >= self._offline_until
                if wake.is_set() or hurry or self._monotonic() >= next_scan:
                    wake.clear()
                    self._guarded_pass(stop)
                    seen, _ = self._look_at_the_store()
                    settling = self._tracker.wait(self._monotonic())
                    pause = RESCAN_SECONDS if settling is None else min(RESCAN_SECONDS, max(DEBOUNCE_SECONDS, settling))
                    next_scan = self._monotonic() + pause
                wake.wait(max(0.0, min(TICK_SECONDS, next_scan - self._monotonic())))
                if wake.is_set():
                    stop.wait(DEBOUNCE_SECONDS)
        finally:
            watcher.close()

    def _look_at_the_store(self) -> tuple[int, datetime | None]:
        """Return who wrote last and what is due next; nothing, and one complaint, while the database cannot be read."""
        try:
            found = self.store.change_counter(), self.store.next_due()
        except DBAPIError as error:
            if self._readable:
                self._trouble(error)
            self._readable = False
            return _UNREADABLE, None
        self._readable = True
        return found

    def _guarded_pass(self, stop: threading.Event) -> None:
        done = Pass()
        try:
            self._take(done, patient=False)
        except (TaxferryError, OSError, DBAPIError) as error:
            self._trouble(error)
        try:
            if self._broke_off:
                self._question_what_was_sent()
                self._broke_off = False
            self._work(done, stop=stop)
        except (TaxferryError, OSError, DBAPIError) as error:
            # Perhaps between a request and its answer.
            self._broke_off = True
            self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        # The service outlives a full disk or a missing folder; what is not done stays due.
        LOGGER.error("%s", error)
        self._tell("trouble", message=str(error), code=getattr(error, "code", ""))

    # Inbox

    def _take(self, done: Pass, *, patient: bool) -> None:
        last = self._monotonic() + _PATIENCE_SECONDS
        while True:
            found = self.intake.run(self._clock.now(), self._monotonic())
            _merge(done.harvest, found)
            for digest in found.reports:
                self._tell("taken", report_digest=digest)
            for row in found.quarantined:
                self._tell("quarantined", file=row.name, code=row.code, stored_name=row.stored_name)
            wait = self._tracker.wait(self._monotonic())
            if not found.waiting or not patient or wait is None or self._monotonic() + wait > last:
                return
            time.sleep(max(0.05, min(wait, 1.0)))

    # Work

    def _work(self, done: Pass, *, only: str | None = None, stop: threading.Event | None = None) -> None:
        self._refresh_trust(done)
        # Clear receipts first: a delivered one may make a report's result due, which another station fetched before.
        for ack in self.store.due_acks(self._clock.now()):
            if stop is not None and stop.is_set():
                return
            self._deliver(ack, done)
        steps: dict[str, int] = {}
        progress = True
        while progress and not (stop is not None and stop.is_set()):
            progress = False
            for digest in self.store.due(self._clock.now()):
                if (only is not None and digest != only) or steps.get(digest, 0) >= _MOST_STEPS:
                    continue
                if stop is not None and stop.is_set():
                    return
                steps[digest] = steps.get(digest, 0) + 1
                progress = self._step(digest, done) or progress

    @property
    def _offline(self) -> bool:
        return self._monotonic() < self._offline_until

    def _step(self, digest: str, done: Pass) -> bool:
        """Do the next step of one report; return whether something was done."""
        row = self.store.report(digest)
        assert row is not None
        step = next_step(row.snapshot)
        if step is Step.STAGE:
            self._stage(row, done)
            return True
        if step is Step.NONE or self._offline:
            return False
        if step is Step.CHECK:
            event: Event = self._check(row, done)
            obstacle = event.obstacle if isinstance(event, Checked) else None
            self._apply(digest, event, done, note="" if obstacle is None else obstacle.value)
        elif step is Step.SEND:
            self._apply(digest, SendDue(), done)
        elif step is Step.ASK_STATUS:
            event = self._ask_status(row, done)
            partly = isinstance(event, NeverSeen) and event.partly
            self._apply(digest, event, done, note=ARRIVED_IN_PART if partly else "")
        else:
            self._ask_result(row, done)
        return True

    def _apply(
        self, digest: str, event: Event, done: Pass, *, note: str = "", result: ResultRow | None = None
    ) -> Snapshot:
        if isinstance(event, Refused):
            note = event.code
        try:
            before, after, send = self.store.apply(digest, event, self._clock.now(), note=note, result=result)
        except IllegalTransition as error:
            # An operator's verb in another process was faster: the answer was to a question of before.
            LOGGER.warning("%s: %s came too late (%s)", digest[:12], type(event).__name__, error)
            row = self.store.report(digest)
            assert row is not None
            return row.snapshot
        if before.state is not after.state:
            first = done.moved.get(digest, (before.state, before.state))[0]
            done.moved[digest] = (first, after.state)
            LOGGER.info("%s: %s -> %s %s", digest[:12], before.state, after.state, after.code)
            self._tell(
                "state",
                report_digest=digest,
                **{"from": before.state.value, "to": after.state.value, "code": after.code},
            )
        self._checkpoint(f"decided {type(event).__name__}")
        return self._upload(digest, done) if send else after

    def _upload(self, digest: str, done: Pass) -> Snapshot:
        row = self.store.report(digest)
        assert row is not None
        try:
            gateway = self.keyring.voice(row.header.taxpayer_id).gateway
            data = gateway.put_report(
                digest, self.home.report_file(digest), row.file_sha256, progress=lambda n, of: self._part(digest, n, of)
            )
            self._checkpoint("upload answered")
            receipt = self._receipt(data, row)
            write_durably(self.home.receipt_file(digest), data)
            self._online()
            event: Event = Taken(receipt.receipt_no, receipt.ask_after_seconds)
        except OutcomeUnknown as error:
            done.problems.append(OutcomeUnknown(report=row.header.name.stem))
            event = ReplyLost(_retry_after(error))
        except ClockSkew as error:
            done.problems.append(error)
            event = NotTaken()
        except BureauRefused as error:
            done.problems.append(error)
            # 400 and 401 are about this request, not about the report: damaged on its way, or not signed in time.
            event = NotTaken() if error.context.get("status") in _ABOUT_THE_REQUEST else _refused(error)
        except (BureauUnreachable, BureauBusy) as error:
            self._went_wrong(error, done)
            event = NotTaken(_retry_after(error), moved_on=self._has_moved_on(digest))
        except KeyUnavailable as error:
            done.problems.append(error)
            event = NotTaken()
        except ReportInvalid as error:
            done.problems.append(error)
            event = Refused(error.code, str(error.text))
        except (TaxferryError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError):
                missing = ReportInvalid(reason=Text("上网机保存的副本不见了", "this PC's copy is gone"))
                done.problems.append(missing)
                event = Refused(missing.code, str(missing.text))
            else:
                # A yes that nobody signed: perhaps it was not the bureau. Only asking tells.
                done.problems.append(error)
                event = ReplyLost(60.0)
        if isinstance(event, Taken | Refused):
            self._arrived_of.pop(digest, None)
            self._moved_on.discard(digest)
        return self._apply(digest, event, done)

    def _part(self, digest: str, arrived: int, size: int) -> None:
        """Note that the bureau has more of a large report than before."""
        self._checkpoint("part arrived")
        self._online()
        if arrived > self._arrived_of.get(digest, 0):
            self._arrived_of[digest] = arrived
            self._moved_on.add(digest)
        LOGGER.info("%s: %d of %d bytes have arrived", digest[:12], arrived, size)

    def _has_moved_on(self, digest: str) -> bool:
        """Return whether more has arrived of a large report since this was asked last."""
        moved_on = digest in self._moved_on
        self._moved_on.discard(digest)
        return moved_on

    def _receipt(self, data: bytes, row: ReportRow) -> Receipt:
        receipt = prove_receipt(data, self.trust.store, at=self._clock.now()).receipt
        if (receipt.report_digest, receipt.name) != (row.digest, row.header.name):
            raise OtherReport(
                field=Text("受理回执", "receipt"), theirs=receipt.name.in_words, ours=row.header.name.in_words
            )
        return receipt

    def _check(self, row: ReportRow, done: Pass) -> Event:
        """Look at everything that could stop the upload."""
        header = row.header
        if not self._sealed_to_current_key(row):
            # The invoicing PC may have a newer trust file than we: look before blaming the report.
            self._refresh_trust(done, every=_TRUST_AT_LEAST)
            if not self._sealed_to_current_key(row):
                return Checked(HoldReason.ENVELOPE_OUTDATED)
        try:
            voice = self.keyring.voice(header.taxpayer_id)
        except KeyUnavailable as error:
            done.problems.append(error)
            return Checked(HoldReason.KEY_MISSING, message=str(error.text))
        try:
            standing = voice.gateway.standing(header.taxpayer_id, header.period)
        except ClockSkew as error:
            done.problems.append(error)
            return NoAnswer()
        except BureauRefused as error:
            self._online()
            code = str(error.context.get("bureau_code", ""))
            message = str(error.context.get("bureau_message", ""))
            reason = {"2735": HoldReason.NOT_ENROLLED, "2734": HoldReason.KEY_NOT_ON_FILE}.get(code)
            if reason is None and error.context.get("status") == 403:
                reason = HoldReason.NOT_OURS
            if reason is None:
                done.problems.append(error)
                return NoAnswer()
            return Checked(reason, code, message)
        except (BureauError, KeyUnavailable) as error:
            return self._went_wrong(error, done)
        self._online()
        self.store.set_standing(
            header.taxpayer_id, header.period, json.dumps(standing.model_dump(mode="json")), self._clock.now()
        )
        if not standing.enrolled:
            return Checked(HoldReason.NOT_ENROLLED, "2735")
        if voice.keyid not in standing.key_fingerprints:
            return Checked(HoldReason.KEY_NOT_ON_FILE, "2734")
        if row.snapshot.period_report and not standing.declared:
            return Checked(HoldReason.NOT_DECLARED, "271D")
        return Checked(None)

    def _sealed_to_current_key(self, row: ReportRow) -> bool:
        current = self.trust.current
        if current is None:
            return True  # nothing is known about the bureau's keys yet; the bureau decides
        certificates = current.envelope_certificates(self._clock.now())
        recipients = [RecipientId(bytes.fromhex(issuer), int(serial)) for issuer, serial in json.loads(row.recipients)]
        return any(r.matches(c) for r in recipients for c in certificates)

    def _ask_status(self, row: ReportRow, done: Pass) -> Event:
        try:
            status = self._gateway_for(row).report_status(row.digest)
        except (BureauError, KeyUnavailable) as error:
            return self._went_wrong(error, done)
        self._online()
        if status is None:
            return NeverSeen()
        if status.state == "partial":
            # Not again from the beginning: the gateway asks from where, and goes on there.
            self._part(row.digest, status.offset, row.size_bytes)
            return NeverSeen(partly=True, moved_on=self._has_moved_on(row.digest))
        if status.state == "receiving":
            return NoAnswer(float(status.ask_after_seconds or 30))
        return Taken(status.receipt_no or "?", float(status.ask_after_seconds))

    def _ask_result(self, row: ReportRow, done: Pass) -> None:
        try:
            answer = self._gateway_for(row).result(row.digest)
        except (BureauError, KeyUnavailable) as error:
            self._apply(row.digest, self._went_wrong(error, done), done)
            return
        self._online()
        if isinstance(answer, Processing):
            done.answers[row.digest] = "processing"
            self._apply(row.digest, StillProcessing(answer.retry_after), done)
            return
        try:
            proven = self._match(answer, row)
        except TaxferryError as error:
            # Not believed, and therefore no answer: the next one may be better.
            LOGGER.warning("%s: an answer was not believed: %s", row.digest[:12], error)
            done.problems.append(error)
            self._apply(row.digest, NoAnswer(), done)
            return
        self._believe(row, proven, answer, done)

    def _match(self, answer: bytes, row: ReportRow) -> ProvenResult:
        """Prove a result and that it is this report's.

        Raises:
            TaxferryError: It is not to be believed.
        """
        proven = prove_result(answer, self.trust.store, at=self._clock.now())
        result, header = proven.result, row.header
        for field_name, theirs, ours in (
            (Text("抄税信息", "name"), result.name, header.name),
            (Text("卡号", "card"), result.card_no, header.card_no),
            (Text("报告摘要", "digest"), result.report_digest, row.digest),
            (Text("清卡随机数", "nonce"), result.nonce, header.nonce),
        ):
            if theirs != ours:
                raise OtherReport(field=field_name, theirs=result.name.in_words, ours=header.name.in_words)
        return proven

    def _believe(self, row: ReportRow, proven: ProvenResult, data: bytes, done: Pass) -> None:
        result = proven.result
        success = result.outcome == "success"
        fault = None if success else faults.find(result.code, result.message)
        known = row.snapshot.result_no
        if known is not None and result.result_no <= known:
            repeated = row.state in (OnlineState.ACCEPTED, OnlineState.PROCESSING)
            done.answers[row.digest] = "processing" if repeated else result.outcome
        else:
            done.answers[row.digest] = result.outcome
            write_durably(self.home.result_file(row.digest, result.result_no), data)
            self._checkpoint("result kept")
        event = ResultProven(
            result.result_no,
            success,
            result.code,
            result.message,
            "" if fault is None else _resend(fault.resend.value),
            fault is not None and fault.stage_to_offline,
        )
        kept = ResultRow(
            row.digest, result.result_no, result.outcome, result.code, proven.body_sha256, self._clock.now()
        )
        self._apply(row.digest, event, done, note=f"{result.result_no} {result.code}".strip(), result=kept)

    def _stage(self, row: ReportRow, done: Pass) -> None:
        number = row.snapshot.result_no
        assert number is not None
        data = self.home.result_file(row.digest, number).read_bytes()
        now = self._clock.now()
        path = stage(data, self.outbox, self.trust.store, self.store, self.home.quarantine, now)
        self._checkpoint("result staged")
        if path is not None:
            done.staged.append(path)
        self._apply(row.digest, Staged(), done, note="" if path is None else path.name)

    # Clear receipts

    def _deliver(self, ack: AckRow, done: Pass) -> None:
        if self._offline:
            return
        attempts = ack.attempts + 1
        now = self._clock.now()
        if ack.state == ACK_UNKNOWN and self._arrived(ack, done) is not False:
            return
        self.store.set_ack(ack.sha256, ACK_SENDING, attempts=attempts, due_at=None)
        self._checkpoint("ack sending")
        later = _ACK_BACKOFF.due(now, attempts, ack.sha256)
        try:
            self._gateway_of(ack).put_ack(ack.digest, self.home.ack_file(ack.sha256).read_bytes())
        except OutcomeUnknown as error:
            done.problems.append(OutcomeUnknown(report=ack.stem))
            due = _ACK_BACKOFF.due(now, attempts, ack.sha256, _retry_after(error))
            self.store.set_ack(ack.sha256, ACK_UNKNOWN, attempts=attempts, due_at=due)
        except ClockSkew as error:
            done.problems.append(error)
            self.store.set_ack(ack.sha256, ACK_WAITING, attempts=attempts, due_at=later)
        except BureauRefused as error:
            done.problems.append(error)
            if error.context.get("status") in _ABOUT_THE_REQUEST:
                self.store.set_ack(ack.sha256, ACK_WAITING, attempts=attempts, due_at=later)
                return
            self.store.set_ack(ack.sha256, ACK_REFUSED, attempts=attempts, due_at=None, message=str(error.text))
            source = self.home.ack_file(ack.sha256)
            keep_copy(self.home.quarantine, source, f"{ack.stem}.ack", error, self.store, now)
        except (BureauError, KeyUnavailable) as error:
            self._went_wrong(error, done)
            self.store.set_ack(ack.sha256, ACK_WAITING, attempts=attempts, due_at=later)
        else:
            self._checkpoint("ack answered")
            self._delivered(ack, attempts, done)

    def _arrived(self, ack: AckRow, done: Pass) -> bool | None:
        """Ask whether a clear receipt of unknown outcome arrived; None if there was no answer."""
        try:
            status = self._gateway_of(ack).report_status(ack.digest)
        except (BureauError, KeyUnavailable) as error:
            self._went_wrong(error, done)
            due = _ACK_BACKOFF.due(self._clock.now(), ack.attempts + 1, ack.sha256)
            self.store.set_ack(ack.sha256, ACK_UNKNOWN, attempts=ack.attempts + 1, due_at=due)
            return None
        if status is not None and status.state == "closed":
            self._delivered(ack, ack.attempts, done)
            return True
        return False

    def _delivered(self, ack: AckRow, attempts: int, done: Pass) -> None:
        # The report first: if the process dies in between, the receipt is delivered once more, which changes nothing.
        if self.store.report(ack.digest) is not None:
            self._apply(ack.digest, AckDelivered(), done)
        self.store.set_ack(ack.sha256, ACK_DELIVERED, attempts=attempts, due_at=None)
        done.acks.append(ack.digest)
        self._tell("ack-delivered", report_digest=ack.digest)

    # The bureau as a whole

    def _gateway_for(self, row: ReportRow) -> Gateway:
        return self.keyring.voice(row.header.taxpayer_id).gateway

    def _gateway_of(self, ack: AckRow) -> Gateway:
        return self.keyring.voice(parse_stem(ack.stem).taxpayer_id).gateway

    def _refresh_trust(self, done: Pass, *, every: timedelta = _TRUST_EVERY) -> None:
        """Fetch the trust file if the last one was fetched longer ago than `every`, or none is in force."""
        now = self._clock.now()
        asked = self.store.setting("trust_asked_at")
        fresh = asked is not None and timedelta() <= now - datetime.fromisoformat(asked) < every
        if (fresh and self.trust.current is not None) or self._offline:
            return
        try:
            changed = self.trust.refresh(self.keyring.own.gateway, now)
        except (BureauError, KeyUnavailable) as error:
            self._went_wrong(error, done)
            return
        except (TrustError, FormatError) as error:
            # Not believed; what is in force stays in force, and the reports go on.
            done.problems.append(error)
            changed = False
        self._online()
        self.store.set(trust_asked_at=now.isoformat())
        if changed and self.trust.current is not None:
            LOGGER.info("trust file %d is in force", self.trust.current.version)
            self._tell("trust", version=self.trust.current.version)

    def _went_wrong(self, error: TaxferryError, done: Pass) -> NoAnswer:
        """Note that a question got no answer; after an unreachable bureau nobody asks for a while."""
        if isinstance(error, OutcomeUnknown):
            # Asking changes nothing, so that nothing is unknown: there was no answer, and it is asked again.
            reason = Text("没有得到可用的答复，稍后再问", "it gave no usable answer, and is asked again later")
            done.problems.append(BureauUnreachable(host=self.keyring.own.gateway.name, reason=reason))
        else:
            done.problems.append(error)
        if isinstance(error, BureauUnreachable):
            # One dead connection is enough: a thousand reports would wait for a thousand time-outs.
            self._failures += 1
            self._offline_until = self._monotonic() + Backoff(5, 300).seconds(
                self._failures, self.keyring.own.gateway.name
            )
        return NoAnswer(_retry_after(error))

    def _online(self) -> None:
        self._failures = 0
        self._offline_until = 0.0

    def _tell(self, event: str, **facts: object) -> None:
        if self._notify is not None:
            self._notify({"event": event, "at": self._clock.now().isoformat(), **facts})


def _refused(error: BureauRefused) -> Refused:
    code = str(error.context.get("bureau_code", "")) or f"HTTP{error.context.get('status', '')}"
    message = str(error.context.get("bureau_message", ""))
    fault = faults.find(code, message)
    return Refused(code, message, _resend(fault.resend.value))


def _resend(value: str) -> Resend:
    match value:
        case "same-bytes":
            return "same-bytes"
        case "wait":
            return "wait"
        case "new-report":
            return "new-report"
        case _:
            return "never"


def _retry_after(error: TaxferryError) -> float | None:
    value = error.context.get("retry_after")
    return float(value) if isinstance(value, int | float) else None


def _merge(into: Harvest, found: Harvest) -> None:
    into.reports.extend(d for d in found.reports if d not in into.reports)
    into.acks.extend(found.acks)
    into.known += found.known
    into.quarantined.extend(found.quarantined)
    into.rejected.extend(found.rejected)
    into.warnings.extend(found.warnings)
    into.waiting = list(found.waiting)
    into.foreign = found.foreign
