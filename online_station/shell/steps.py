"""The steps of a report and of a clear receipt, each done by whoever holds its lease.

Decide, save, then act: `Store.apply` commits a decision before anything is done about it, and whatever is done can be
done twice. The points where a crash would be interesting are told to `checkpoint`, through which tests kill the
process (GW-6, GW-7). A worker whose lease another one has by now changes nothing (`LeaseLost`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from online_station.core.backoff import Backoff
from online_station.core.decide import (
    AckDelivered,
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
from online_station.core.story import ARRIVED_IN_PART, ENDED_WHILE_SENDING
from online_station.shell import files
from online_station.shell.gateway import Gateway, Processing
from online_station.shell.home import Home
from online_station.shell.intake import Checkpoint, Harvest
from online_station.shell.keyring import Keyring
from online_station.shell.log import LOGGER
from online_station.shell.quarantine import keep_copy
from online_station.shell.records import AckRow, ReportRow, ResultRow
from online_station.shell.staging import stage
from online_station.shell.store import (
    ACK_DELIVERED,
    ACK_REFUSED,
    ACK_SENDING,
    ACK_UNKNOWN,
    ACK_WAITING,
    LeaseLost,
    Store,
    ack_of,
    report_of,
)
from online_station.shell.trust import Trust
from shared import faults
from shared.clock import Clock
from shared.durable import write_durably
from shared.envelope.cms import RecipientId
from shared.errors import (
    BureauBusy,
    BureauError,
    BureauRefused,
    BureauUnreachable,
    ClockSkew,
    FormatError,
    KeyUnavailable,
    OtherReport,
    OutcomeUnknown,
    ReportInvalid,
    TaxferryError,
    TrustError,
)
from shared.ids import parse_stem
from shared.jobs.limiter import ANSWERED, OUTAGE, Heard, Word
from shared.jobs.rows import Claim
from shared.model.receipt import Receipt, prove_receipt
from shared.model.result import ProvenResult, prove_result
from shared.model.standing import Standing
from shared.states import IllegalTransition, OnlineState
from shared.text import Text

ASKING: Final = frozenset({Step.CHECK, Step.SEND, Step.ASK_STATUS, Step.ASK_RESULT})
"""Steps that speak to the bureau."""
_TRUST_EVERY: Final = timedelta(hours=12)
_TRUST_AT_LEAST: Final = timedelta(seconds=30)
_BUSY_FOR_ALL: Final = 3
"""After so many refusals in a row the wish to be left alone is taken for everybody's, not for one report's."""
ACK_BACKOFF: Final = Backoff(5, 3600)
_ABOUT_THE_REQUEST: Final = (400, 401, 408)
"""Refusals that say nothing about what was sent (GW-15)."""


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
        offline: The bureau could not be reached: one dead connection is enough for a pass.
        heard: What the last request showed about the bureau.
    """

    harvest: Harvest = field(default_factory=Harvest)
    moved: dict[str, tuple[OnlineState, OnlineState]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    staged: list[Path] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    problems: list[TaxferryError] = field(default_factory=list)
    warnings: list[Text] = field(default_factory=list)
    offline: bool = False
    heard: Heard | None = None


class Steps:
    """What can be done next, for one station; safe to be used by several threads."""

    def __init__(
        self,
        home: Home,
        store: Store,
        trust: Trust,
        keyring: Keyring,
        clock: Clock,
        *,
        outbox: Path,
        checkpoint: Checkpoint,
        tell: Callable[..., None],
        trust_asked: str = "trust_asked_at",
    ) -> None:
        """Work on the reports of a station.

        Args:
            home: The folders.
            store: The database.
            trust: What is believed.
            keyring: The ways to the bureau.
            clock: The time.
            outbox: Where results go.
            checkpoint: Told where a crash would be interesting.
            tell: Told about everything that happens.
            trust_asked: The setting that remembers when this node fetched its trust file.
        """
        self._home = home
        self._store = store
        self._trust = trust
        self._keyring = keyring
        self._clock = clock
        self._outbox = outbox
        self._checkpoint = checkpoint
        self._tell = tell
        self._trust_asked = trust_asked
        self._refreshing = threading.Lock()
        self._busy = 0
        self._arrived_of: dict[str, int] = {}
        self._moved_on: set[str] = set()

    def report(self, claim: Claim, done: Pass) -> None:
        """Do the next step of a report and give it back.

        Args:
            claim: The lease of it.
            done: Where it is noted what was done.

        Raises:
            LeaseLost: Another worker has it by now.
            TaxferryError, OSError, DBAPIError: This PC failed, not the report. Its row is still under lease.
        """
        row = report_of(claim.row)
        step = next_step(row.snapshot)
        if step is Step.STAGE:
            self._stage(row, row.snapshot, claim, done)
        elif step is Step.CHECK:
            event, standing = self._check(row, done)
            obstacle = event.obstacle if isinstance(event, Checked) else None
            self._apply(claim, event, done, note="" if obstacle is None else obstacle.value, standing=standing)
        elif step is Step.SEND:
            self._apply(claim, SendDue(), done)
        elif step is Step.ASK_STATUS:
            if row.state is OnlineState.SENDING:
                # Whoever was sending is gone, and the answer with it: asked, and never sent again unasked (GW-6).
                self._apply(claim, ReplyLost(), done, note=ENDED_WHILE_SENDING, keep=True)
            event = self._ask_status(row, done)
            partly = isinstance(event, NeverSeen) and event.partly
            self._apply(claim, event, done, note=ARRIVED_IN_PART if partly else "")
        elif step is Step.ASK_RESULT:
            self._ask_result(row, claim, done)
        else:
            self._store.give_back(claim)  # a person was faster

    def _apply(
        self,
        claim: Claim,
        event: Event,
        done: Pass,
        *,
        note: str = "",
        result: ResultRow | None = None,
        papers: Mapping[str, bytes] = MappingProxyType({}),
        standing: str | None = None,
        keep: bool = False,
    ) -> Snapshot | None:
        """Decide and save; return the report after it, or None if the event came too late."""
        digest, now = str(claim.key), self._clock.now()
        if isinstance(event, Refused):
            note = event.code
        try:
            before, after, send = self._store.apply(
                digest,
                event,
                now,
                note=note,
                result=result,
                papers=papers,
                standing=standing,
                claim=claim,
                keep=keep,
            )
        except IllegalTransition as error:
            # An operator's verb in another process was faster: the answer was to a question of before.
            LOGGER.warning("%s: %s came too late (%s)", digest[:12], type(event).__name__, error)
            return None
        self._moved(digest, before, after, done)
        self._checkpoint(f"decided {type(event).__name__}")
        if send:
            self._upload(claim, done)
        return after

    def _moved(self, digest: str, before: Snapshot, after: Snapshot, done: Pass) -> None:
        if before.state is not after.state:
            first = done.moved.get(digest, (before.state, before.state))[0]
            done.moved[digest] = (first, after.state)
            LOGGER.info("%s: %s -> %s %s", digest[:12], before.state, after.state, after.code)
            self._tell(
                "state",
                report_digest=digest,
                **{"from": before.state.value, "to": after.state.value, "code": after.code},
            )

    def _upload(self, claim: Claim, done: Pass) -> None:
        row = report_of(claim.row)
        digest, file = row.digest, self._home.report_file(row.digest)
        papers: dict[str, bytes] = {}
        try:
            self._store.bring(file, files.report_name(digest), row.file_sha256)
            self._still_ours(claim)
            gateway = self._keyring.voice(row.header.taxpayer_id).gateway
            data = gateway.put_report(
                digest, file, row.file_sha256, progress=lambda n, of: self._part(digest, n, of, done, claim)
            )
            self._checkpoint("upload answered")
            receipt = self._receipt(data, row)
            write_durably(self._home.receipt_file(digest), data)
            papers[files.receipt_name(digest)] = data
            self._online(done)
            event: Event = Taken(receipt.receipt_no, receipt.ask_after_seconds)
        except OutcomeUnknown as error:
            self._problem(OutcomeUnknown(report=row.header.name.stem), done)
            done.heard = OUTAGE
            event = ReplyLost(_retry_after(error))
        except ClockSkew as error:
            self._problem(error, done)
            event = NotTaken()
        except BureauRefused as error:
            self._problem(error, done)
            # 400 and 401 are about this request, not about the report: damaged on its way, or not signed in time.
            event = NotTaken() if error.context.get("status") in _ABOUT_THE_REQUEST else _refused(error)
        except (BureauUnreachable, BureauBusy) as error:
            self._went_wrong(error, done)
            event = NotTaken(_retry_after(error), moved_on=self._has_moved_on(digest))
        except KeyUnavailable as error:
            self._problem(error, done)
            event = NotTaken()
        except ReportInvalid as error:
            self._problem(error, done)
            event = Refused(error.code, str(error.text))
        except (TaxferryError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError):
                missing = ReportInvalid(reason=Text("上网机保存的副本不见了", "this PC's copy is gone"))
                self._problem(missing, done)
                event = Refused(missing.code, str(missing.text))
            else:
                # A yes that nobody signed: perhaps it was not the bureau. Only asking tells.
                self._problem(error, done)
                event = ReplyLost(60.0)
        if isinstance(event, Taken | Refused):
            self._arrived_of.pop(digest, None)
            self._moved_on.discard(digest)
        self._apply(claim, event, done, papers=papers)

    def _still_ours(self, claim: Claim) -> None:
        """Begin no effect if this process was stopped for so long that another worker has the report.

        Between this question and the request it can be stopped all the same; then the bureau gets the same octets twice, and
        answers with the same receipt.
        """
        if not self._store.holds(claim):
            raise LeaseLost(claim.key)

    def _part(self, digest: str, arrived: int, size: int, done: Pass, claim: Claim | None = None) -> None:
        """Note that the bureau has more of a large report than before."""
        if claim is not None:
            self._still_ours(claim)
        self._checkpoint("part arrived")
        self._online(done)
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
        receipt = prove_receipt(data, self._trust.store, at=self._clock.now()).receipt
        if (receipt.report_digest, receipt.name) != (row.digest, row.header.name):
            raise OtherReport(
                field=Text("受理回执", "receipt"), theirs=receipt.name.in_words, ours=row.header.name.in_words
            )
        return receipt

    def _check(self, row: ReportRow, done: Pass) -> tuple[Event, str | None]:
        """Look at everything that could stop the upload; return also the bureau's word on the taxpayer, if it gave one."""
        header = row.header
        if not self._sealed_to_current_key(row):
            # The invoicing PC may have a newer trust file than we: look before blaming the report.
            self.refresh_trust(done, every=_TRUST_AT_LEAST)
            if not self._sealed_to_current_key(row):
                return Checked(HoldReason.ENVELOPE_OUTDATED), None
        try:
            voice = self._keyring.voice(header.taxpayer_id)
        except KeyUnavailable as error:
            self._problem(error, done)
            return Checked(HoldReason.KEY_MISSING, message=str(error.text)), None
        try:
            standing = voice.gateway.standing(header.taxpayer_id, header.period)
        except ClockSkew as error:
            self._problem(error, done)
            return NoAnswer(), None
        except BureauRefused as error:
            self._online(done)
            code = str(error.context.get("bureau_code", ""))
            message = str(error.context.get("bureau_message", ""))
            reason = {"2735": HoldReason.NOT_ENROLLED, "2734": HoldReason.KEY_NOT_ON_FILE}.get(code)
            if reason is None and error.context.get("status") == 403:
                reason = HoldReason.NOT_OURS
            if reason is None:
                self._problem(error, done)
                return NoAnswer(), None
            return Checked(reason, code, message), None
        except (BureauError, KeyUnavailable) as error:
            return self._went_wrong(error, done), None
        self._online(done)
        return self._obstacle(row, standing, voice.keyid), json.dumps(standing.model_dump(mode="json"))

    @staticmethod
    def _obstacle(row: ReportRow, standing: Standing, keyid: str) -> Checked:
        if not standing.enrolled:
            return Checked(HoldReason.NOT_ENROLLED, "2735")
        if keyid not in standing.key_fingerprints:
            return Checked(HoldReason.KEY_NOT_ON_FILE, "2734")
        if row.snapshot.period_report and not standing.declared:
            return Checked(HoldReason.NOT_DECLARED, "271D")
        return Checked(None)

    def _sealed_to_current_key(self, row: ReportRow) -> bool:
        current = self._trust.current
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
        self._online(done)
        if status is None:
            return NeverSeen()
        if status.state == "partial":
            # Not again from the beginning: the gateway asks from where, and goes on there.
            self._part(row.digest, status.offset, row.size_bytes, done)
            return NeverSeen(partly=True, moved_on=self._has_moved_on(row.digest))
        if status.state == "receiving":
            return NoAnswer(float(status.ask_after_seconds or 30))
        return Taken(status.receipt_no or "?", float(status.ask_after_seconds))

    def _ask_result(self, row: ReportRow, claim: Claim, done: Pass) -> None:
        try:
            answer = self._gateway_for(row).result(row.digest)
        except (BureauError, KeyUnavailable) as error:
            self._apply(claim, self._went_wrong(error, done), done)
            return
        self._online(done)
        if isinstance(answer, Processing):
            done.answers[row.digest] = "processing"
            self._apply(claim, StillProcessing(answer.retry_after), done)
            return
        try:
            proven = self._match(answer, row)
        except TaxferryError as error:
            # Not believed, and therefore no answer: the next one may be better.
            LOGGER.warning("%s: an answer was not believed: %s", row.digest[:12], error)
            self._problem(error, done)
            self._apply(claim, NoAnswer(), done)
            return
        self._believe(row, claim, proven, answer, done)

    def _match(self, answer: bytes, row: ReportRow) -> ProvenResult:
        """Prove a result and that it is this report's.

        Raises:
            TaxferryError: It is not to be believed.
        """
        proven = prove_result(answer, self._trust.store, at=self._clock.now())
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

    def _believe(self, row: ReportRow, claim: Claim, proven: ProvenResult, data: bytes, done: Pass) -> None:
        result = proven.result
        success = result.outcome == "success"
        fault = None if success else faults.find(result.code, result.message)
        known = row.snapshot.result_no
        if known is not None and result.result_no <= known:
            repeated = row.state in (OnlineState.ACCEPTED, OnlineState.PROCESSING)
            done.answers[row.digest] = "processing" if repeated else result.outcome
        else:
            done.answers[row.digest] = result.outcome
            write_durably(self._home.result_file(row.digest, result.result_no), data)
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
        papers = {files.result_name(row.digest, result.result_no): data}
        note = f"{result.result_no} {result.code}".strip()
        keep = event.success or event.stage_failure
        # What is staged at once needs no second worker; if this one dies in between, the next one stages it.
        after = self._apply(claim, event, done, note=note, result=kept, papers=papers, keep=keep)
        if after is not None and after.to_stage:
            self._stage(row, after, claim, done)
        elif after is not None and keep:
            self._store.give_back(claim)

    def _stage(self, row: ReportRow, snapshot: Snapshot, claim: Claim, done: Pass) -> None:
        number = snapshot.result_no
        assert number is not None
        file = self._home.result_file(row.digest, number)
        self._store.bring(file, files.result_name(row.digest, number))
        data = file.read_bytes()
        now = self._clock.now()
        path = stage(data, self._outbox, self._trust.store, self._store, self._home.quarantine, now)
        self._checkpoint("result staged")
        if path is not None:
            done.staged.append(path)
        self._apply(claim, Staged(), done, note="" if path is None else path.name)

    # Clear receipts

    def ack(self, claim: Claim, done: Pass) -> None:
        """Deliver a clear receipt, or ask whether it arrived, and give it back.

        Args:
            claim: The lease of it.
            done: Where it is noted what was done.

        Raises:
            LeaseLost: Another worker has it by now.
            TaxferryError, OSError, DBAPIError: This PC failed. The row is still under lease.
        """
        ack = ack_of(claim.row)
        attempts = ack.attempts + 1
        now = self._clock.now()
        # One that was being sent when its sender died may have arrived.
        if ack.state in (ACK_UNKNOWN, ACK_SENDING):
            if self._arrived(ack, claim, done) is False:
                # Sent under the next lease: a lease is one request, and so the host's limits count them.
                self._store.set_ack(claim, ACK_WAITING, attempts=ack.attempts, due_at=now)
            return
        self._store.set_ack(claim, ACK_SENDING, attempts=attempts, due_at=now, keep=True)
        self._checkpoint("ack sending")
        later = ACK_BACKOFF.due(now, attempts, ack.sha256)
        file = self._home.ack_file(ack.sha256)
        try:
            self._store.bring(file, files.ack_name(ack.sha256))
            self._gateway_of(ack).put_ack(ack.digest, file.read_bytes())
        except OutcomeUnknown as error:
            self._problem(OutcomeUnknown(report=ack.stem), done)
            done.heard = OUTAGE
            due = ACK_BACKOFF.due(now, attempts, ack.sha256, _retry_after(error))
            self._store.set_ack(claim, ACK_UNKNOWN, attempts=attempts, due_at=due)
        except ClockSkew as error:
            self._problem(error, done)
            self._store.set_ack(claim, ACK_WAITING, attempts=attempts, due_at=later)
        except BureauRefused as error:
            self._problem(error, done)
            if error.context.get("status") in _ABOUT_THE_REQUEST:
                self._store.set_ack(claim, ACK_WAITING, attempts=attempts, due_at=later)
                return
            self._store.set_ack(claim, ACK_REFUSED, attempts=attempts, due_at=None, message=str(error.text))
            keep_copy(self._home.quarantine, file, f"{ack.stem}.ack", error, self._store, now)
        except (BureauError, KeyUnavailable) as error:
            self._went_wrong(error, done)
            due = ACK_BACKOFF.due(now, attempts, ack.sha256, _retry_after(error))
            self._store.set_ack(claim, ACK_WAITING, attempts=attempts, due_at=due)
        else:
            self._online(done)
            self._checkpoint("ack answered")
            self._delivered(ack, claim, attempts, done)

    def _arrived(self, ack: AckRow, claim: Claim, done: Pass) -> bool | None:
        """Ask whether a clear receipt of unknown outcome arrived; None if there was no answer."""
        try:
            status = self._gateway_of(ack).report_status(ack.digest)
        except (BureauError, KeyUnavailable) as error:
            self._went_wrong(error, done)
            due = ACK_BACKOFF.due(self._clock.now(), ack.attempts + 1, ack.sha256, _retry_after(error))
            self._store.set_ack(claim, ACK_UNKNOWN, attempts=ack.attempts + 1, due_at=due)
            return None
        self._online(done)
        if status is not None and status.state == "closed":
            self._delivered(ack, claim, ack.attempts, done)
            return True
        return False

    def _delivered(self, ack: AckRow, claim: Claim, attempts: int, done: Pass) -> None:
        # The report first: if the process dies in between, the receipt is delivered once more, which changes nothing.
        if self._store.report(ack.digest) is not None:
            self._tell_report(ack.digest, done)
        self._store.set_ack(claim, ACK_DELIVERED, attempts=attempts, due_at=None, durable=False)
        done.acks.append(ack.digest)
        self._tell("ack-delivered", report_digest=ack.digest)

    def _tell_report(self, digest: str, done: Pass) -> None:
        """Tell a report that its clear receipt has arrived; whoever works on it finds out when it saves."""
        try:
            before, after, _ = self._store.apply(digest, AckDelivered(), self._clock.now())
        except IllegalTransition as error:
            LOGGER.warning("%s: its clear receipt came too early (%s)", digest[:12], error)
            return
        self._moved(digest, before, after, done)
        self._checkpoint("decided AckDelivered")

    # The bureau as a whole

    def _gateway_for(self, row: ReportRow) -> Gateway:
        return self._keyring.voice(row.header.taxpayer_id).gateway

    def _gateway_of(self, ack: AckRow) -> Gateway:
        return self._keyring.voice(parse_stem(ack.stem).taxpayer_id).gateway

    def refresh_trust(self, done: Pass, *, every: timedelta = _TRUST_EVERY) -> None:
        """Fetch the trust file if the last one was fetched longer ago than `every`, or none is in force."""
        with self._refreshing:
            now = self._clock.now()
            asked = self._store.setting(self._trust_asked)
            fresh = asked is not None and timedelta() <= now - datetime.fromisoformat(asked) < every
            if (fresh and self._trust.current is not None) or done.offline:
                return
            try:
                changed = self._trust.refresh(self._keyring.own.gateway, now)
            except (BureauError, KeyUnavailable) as error:
                self._went_wrong(error, done)
                return
            except (TrustError, FormatError) as error:
                # Not believed; what is in force stays in force, and the reports go on.
                self._problem(error, done)
                changed = False
            self._online(done)
            self._store.set(**{self._trust_asked: now.isoformat()})
            if changed and self._trust.current is not None:
                LOGGER.info("trust file %d is in force", self._trust.current.version)
                self._tell("trust", version=self._trust.current.version)

    def _problem(self, error: TaxferryError, done: Pass) -> None:
        LOGGER.warning("%s %s", error.code, error)
        done.problems.append(error)

    def _went_wrong(self, error: TaxferryError, done: Pass) -> NoAnswer:
        """Note that a question got no answer."""
        if isinstance(error, OutcomeUnknown):
            # Asking changes nothing, so that nothing is unknown: there was no answer, and it is asked again.
            reason = Text("没有得到可用的答复，稍后再问", "it gave no usable answer, and is asked again later")
            self._problem(BureauUnreachable(host=self._keyring.own.gateway.name, reason=reason), done)
        else:
            self._problem(error, done)
        after = _retry_after(error)
        if isinstance(error, BureauUnreachable | OutcomeUnknown):
            done.heard = OUTAGE
            # One dead connection is enough for a pass: a thousand reports would wait for a thousand time-outs.
            done.offline = done.offline or isinstance(error, BureauUnreachable)
        elif isinstance(error, BureauBusy):
            self._busy += 1
            done.heard = Heard(Word.BUSY, after if self._busy >= _BUSY_FOR_ALL else None)
        return NoAnswer(after)

    def _online(self, done: Pass) -> None:
        done.offline = False
        done.heard = ANSWERED
        self._busy = 0


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
