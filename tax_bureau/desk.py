"""The desk: takes reports in, has them judged, signs the answers, closes them.

Every change is one transaction that begins with what is in the store now and ends with what everyone may see: a
decision is committed before anybody hears of it, and what was decided is not decided again. Opening a report may take
minutes and is done outside; the transaction then checks that the report still waits for that very judgement (JUDGE-11)
and that the worker still has it (`shared.jobs`).
"""

from __future__ import annotations

import hashlib
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from shared.canonical import clean_value
from shared.clock import CHINA, Clock, format_time
from shared.envelope.opening import ProvenReport, open_report, prove_report
from shared.envelope.roles import fingerprint
from shared.envelope.textsign import sign_text
from shared.errors import (
    AckInvalid,
    FormatError,
    NotFound,
    ReportContentInvalid,
    ReportInvalid,
    ReportNotForUs,
    TrustError,
    WrongState,
)
from shared.faults.catalogue import find
from shared.faults.model import Resend
from shared.ids import Nonce, ReportDigest
from shared.jobs.rows import Claim, worker_name
from shared.keys.port import Decrypter
from shared.model.ack import Ack, prove_ack
from shared.model.receipt import Receipt, render_receipt
from shared.model.report import PublicHeader
from shared.model.result import MAX_MESSAGE, Outcome, Result, parse_result, render_result
from shared.model.standing import ReportStateText, ReportStatus, Standing
from shared.money import format_fen
from shared.states import BUREAU, BureauEvent, BureauState, allowed
from shared.text import Text
from tax_bureau.audit import PROGRAM, By
from tax_bureau.authority import Authority, FilingDay, after_success, month_text, next_month
from tax_bureau.book import Book
from tax_bureau.calendar import FilingCalendar
from tax_bureau.judge import card_known, enrolled, envelope_opened, machines_complete, order
from tax_bureau.judge.detail import read_content
from tax_bureau.judge.facts import Declaration, Examination, Facts, Figures, Finding
from tax_bureau.keyring import Keyring
from tax_bureau.pace import Pace, seconds_until_judged
from tax_bureau.parts import GIVES_WAY_SECONDS, Part, Partial, Parts, TooManyUploads
from tax_bureau.refusal import Kind, Refusal
from tax_bureau.spool import Arrival, Spool
from tax_bureau.store import Line, Report, StationKey, Store, StoredResult, Transaction, claimed

SUPERSEDED: Final = "SUPERSEDED"
"""错误号 of a report whose card has made a newer copy: it can no longer clear."""
_PROCESSING_SETTING: Final = "processing_seconds"
_DEFAULT_PROCESSING_SECONDS: Final = 2.0
_SHORTEST: Final = 0.6
"""A report waits at least for this part of the time that was set, and at most for all of it: 300 s are 3 to 5 minutes."""
_LEASE_SECONDS: Final = 60.0
_FRESH_SECONDS: Final = 1.0
"""How old what is said about the queue may be: everybody asks, and counting takes time."""
_SIGNATURE: Final = b"-----BEGIN CMS-----"
_RETRY_SECONDS: Final = 60.0
_PROVING_SECONDS: Final = 5
_UNDECIDED: Final = (BureauState.STORED, BureauState.WAITING, BureauState.FAILED)


@dataclass(frozen=True)
class Taken:
    """A report that is on file.

    Attributes:
        receipt: The signed receipt, always the same octets.
        new: It was not on file before.
    """

    receipt: bytes
    new: bool


@dataclass(frozen=True)
class Answer:
    """What there is to say about a report's result.

    Attributes:
        text: The newest signed result; None while the report is to be judged.
        retry_after: Seconds after which to ask again, in that case.
    """

    text: bytes | None
    retry_after: int = 0


class Desk:
    """The bureau's work on reports."""

    def __init__(
        self,
        store: Store,
        keyring: Callable[[], Keyring],
        spool: Spool,
        parts: Parts,
        clock: Clock,
        calendar: FilingCalendar,
        book: Book,
    ) -> None:
        """Work with these.

        Args:
            store: The memory.
            keyring: The bureau's keys as they are now.
            spool: The received files.
            parts: The uploads in parts that are under way.
            clock: The bureau's time, which is the time of every decision.
            calendar: Until when a month can be filed.
            book: The record of what people do.
        """
        self._store = store
        self._keys = keyring
        self._spool = spool
        self._parts = parts
        self._proving: set[tuple[str, str]] = set()
        self._clock = clock
        self._filing_day: FilingDay = calendar
        self._calendar = calendar
        self._book = book
        self._chance = random.Random()  # noqa: S311  it spreads the work, and guards nothing
        self._worker = worker_name()
        self._guard = threading.Lock()
        self._seen: tuple[float, Line, Pace] | None = None

    @property
    def _keyring(self) -> Keyring:
        return self._keys()

    def set_processing_seconds(self, seconds: float, by: By = PROGRAM) -> None:
        """Let reports wait that long for their judgement from now on."""
        with self._store.write() as tx:
            if float(tx.setting(_PROCESSING_SETTING) or _DEFAULT_PROCESSING_SECONDS) != seconds:
                self._book.write(tx, by, "processing-seconds", "bureau", seconds=float(seconds))
            tx.set_setting(_PROCESSING_SETTING, repr(float(seconds)))

    def sweep(self) -> int:
        """Remove uploads that a crash left behind before they were taken; return how many."""
        now = self._clock.now().timestamp()
        return self._spool.sweep(now, self._on_file) + self._parts.sweep(now, self._on_file, at_start=True)

    def queue(self) -> tuple[Line, Pace]:
        """Return how long the queue is and how fast it gets shorter; what is said may be a second old."""
        with self._guard:
            seen = self._seen
        moment = time.monotonic()
        if seen is not None and moment - seen[0] < _FRESH_SECONDS:
            return seen[1], seen[2]
        now = self._clock.now().timestamp()
        with self._store.read() as tx:
            line, pace = tx.in_line(now), Pace.of(tx.workers(now - Pace.HEARD_SECONDS))
        with self._guard:
            self._seen = (moment, line, pace)
        return line, pace

    def _on_file(self, digest: str) -> bool:
        with self._store.read() as tx:
            return tx.report(digest) is not None

    # --- taking in -------------------------------------------------------------------------------------------------

    def check_upload(self, key: StationKey, digest: str) -> Report | None:
        """Refuse, before a byte is read, an upload that could not be taken whatever it holds.

        Returns:
            The report, if it is on file already.

        Raises:
            Refusal: The key is not on file, or the report is another taxpayer's.
        """
        with self._store.read() as tx:
            return _report_on_file(tx, key, digest)

    def take(self, key: StationKey, digest: str, arrival: Arrival, known: Report | None = None) -> Taken:
        """Take an uploaded report, or say again that it was taken (GW-4).

        Args:
            key: Who brings it.
            digest: What the request says it is.
            arrival: The complete, durable upload.
            known: What `check_upload` returned: the same octets need not be proven again.

        Raises:
            Refusal: Nothing was stored.
        """
        # Two files of one report may differ in the signature's octets (ECDSA): only a proof tells what this is.
        same_file = known is not None and known.file_sha256 == arrival.sha256.hex()
        proven = None if same_file else self._prove(digest, arrival)
        if proven is not None:
            owner: str = proven.header.taxpayer_id
        else:
            assert known is not None, "what is not on file was proven"
            owner = known.header.taxpayer_id
        line, pace = self.queue()
        now = self._clock.now()
        with self._store.write() as tx:
            tx.hold(digest, owner)
            report = _report_on_file(tx, key, digest)
            if report is not None:
                return self._take_again(tx, report, now)
            assert proven is not None, "reports are never forgotten"
            header = proven.header
            _check_entitled(tx, key, header.taxpayer_id)
            if not tx.enrolled_keys(header.taxpayer_id):
                raise _not_enrolled()
            if _sequence_taken(tx, header):
                raise Refusal(
                    Kind.SEQUENCE_TAKEN,
                    Text(
                        f"卡号 {header.card_no} 的第 {header.sequence} 次抄税已有另一份报告",
                        f"another report of copy {header.sequence} of card {header.card_no} is on file",
                    ),
                )
            # The file has its name before the row exists: a row never points at nothing.
            self._spool.accept(arrival, digest)
            return self._take_new(tx, key, proven, arrival, now, wait=seconds_until_judged(line, pace))

    def take_part(self, key: StationKey, digest: str, part: Part, arrival: Arrival) -> Taken | Partial:
        """Take a part of a large report (GW-30 to GW-36); with the last one, the report.

        Args:
            key: Who brings it.
            digest: What the request says the report is.
            part: What the request says about the part; its digest was compared with its octets.
            arrival: Its octets.

        Returns:
            What a whole upload returns, if the bureau has the report now; otherwise how far the upload is.

        Raises:
            Refusal: The part does not count. If it is the whole that is refused, nothing of it is kept.
        """
        self._parts.sweep(self._clock.now().timestamp(), self._on_file)
        with self._parts.locked(key.taxpayer_id, digest):
            taken = self._take_known(key, digest, part)
            if taken is not None:
                self._parts.discard(key.taxpayer_id, digest)
                return taken
            now = self._clock.now().timestamp()
            partial = self._upload_for(key, digest, part, now)
            if part.first != partial.offset:
                if self._parts.holds(partial, part):
                    return partial
                raise _not_at_offset(partial.offset)
            longer = self._parts.append(partial, part, arrival.path, now)
            return self._take_whole(key, longer) if part.is_last else longer

    def forget_parts(self, key: StationKey, digest: str) -> None:
        """Forget the parts of a report that came in one piece after all."""
        with self._parts.locked(key.taxpayer_id, digest):
            self._parts.discard(key.taxpayer_id, digest)

    def _take_known(self, key: StationKey, digest: str, part: Part) -> Taken | None:
        """Take a report again whose very octets are on file: they need not come once more (GW-36)."""
        with self._store.read() as tx:
            report = _report_on_file(tx, key, digest)
        if report is None or (report.size_bytes, report.file_sha256) != (part.total, part.whole_sha256.hex()):
            return None
        with self._store.write() as tx:
            tx.hold(digest, report.header.taxpayer_id)
            report = _report_on_file(tx, key, digest)
            assert report is not None, "reports are never forgotten"
            return self._take_again(tx, report, self._clock.now())

    def _upload_for(self, key: StationKey, digest: str, part: Part, now: float) -> Partial:
        """Return the upload to which a part belongs, begun now if it is the first part."""
        partial = self._parts.find(key.taxpayer_id, digest, now)
        if partial is not None and not self._is_there(partial):
            partial = None
        if partial is not None and not partial.is_of(part):
            wait = partial.touched + GIVES_WAY_SECONDS - now
            if wait > 0:
                raise Refusal(
                    Kind.OTHER_UPLOAD,
                    Text("这份报告正由另一个文件分段上传", "another file of this report is being uploaded in parts"),
                    retry_after=math.ceil(wait),
                )
            partial = None
        if partial is not None:
            return partial
        self._parts.discard(key.taxpayer_id, digest)
        if part.first:
            raise _not_at_offset(0)
        try:
            return self._parts.begin(key.taxpayer_id, digest, part, now)
        except TooManyUploads:
            raise Refusal(
                Kind.BUSY,
                Text("本纳税人未传完的分段上传太多", "this taxpayer has too many uploads in parts under way"),
            ) from None

    def _is_there(self, partial: Partial) -> bool:
        """Return whether an upload has its octets, after taking them back from an acceptance that was cut short."""
        if self._parts.has_data(partial):
            return True
        with self._store.write() as tx:
            # Inside the transaction, so that nobody accepts another file of this report meanwhile.
            tx.hold(partial.digest)
            return tx.report(partial.digest) is None and self._spool.give_back(
                partial.digest, partial.total, self._parts.data(partial)
            )

    def _take_whole(self, key: StationKey, partial: Partial) -> Taken:
        """Take an upload whose last part was written, exactly like one that came in one piece (GW-33)."""
        whose = (partial.taxpayer_id, partial.digest)
        self._proving.add(whose)
        try:
            whole = self._parts.whole(partial)
            if (whole.size_bytes, whole.sha256.hex()) != (partial.total, partial.whole_sha256):
                raise Refusal(
                    Kind.BODY_DIGEST,
                    Text(
                        "各段合起来与 Repr-Digest 不符，请从头上传",
                        "the parts together are not what Repr-Digest says: begin anew",
                    ),
                )
            taken = self.take(key, partial.digest, whole)
        except Refusal:
            self._parts.discard(*whose)
            raise
        finally:
            self._proving.discard(whose)
        self._parts.discard(*whose)
        return taken

    def _prove(self, digest: str, arrival: Arrival) -> ProvenReport:
        try:
            with arrival.path.open("rb") as file:
                proven = prove_report(file, self._keyring.store, at=self._clock.now())
        except (FormatError, TrustError) as error:
            raise Refusal(
                Kind.REPORT_INVALID,
                error.text,
                code="2734" if error.field_code else error.code,
                field_code=error.field_code,
                error=error.code,
            ) from error
        if proven.digest != digest:
            identity = proven.header.name.in_words
            raise Refusal(
                Kind.DIGEST_MISMATCH,
                Text(f"上传的是另一份报告：{identity.zh}", f"another report was uploaded: {identity.en}"),
                report_digest=proven.digest,
            )
        return proven

    def _take_again(self, tx: Transaction, report: Report, now: datetime) -> Taken:
        if report.state is not BureauState.FAILED or not resendable(report):
            return Taken(report.receipt, new=False)
        self._reopen(tx, report, now, due=now.timestamp() + self._processing_seconds(tx), why="resent")
        tx.line_up(report.header.taxpayer_id, now.timestamp())
        return Taken(report.receipt, new=False)

    def _processing_seconds(self, tx: Transaction) -> float:
        """Return how long a report waits before it may be judged: what was set, or somewhat less."""
        return _processing_seconds(tx) * self._chance.uniform(_SHORTEST, 1.0)

    def _take_new(
        self, tx: Transaction, key: StationKey, proven: ProvenReport, arrival: Arrival, now: datetime, *, wait: float
    ) -> Taken:
        digest, header = proven.digest, proven.header
        seconds = self._processing_seconds(tx)
        receipt = Receipt(
            name=header.name,
            report_digest=digest,
            receipt_no=f"{now:%Y%m%d}{tx.next_receipt():08d}",
            received_at=now,
            ask_after_seconds=max(1, math.ceil(seconds + wait)),
        )
        report = Report(
            digest=digest,
            header=header,
            signer=fingerprint(proven.signer),
            signed_on=proven.signing_time.astimezone(CHINA).date(),
            size_bytes=arrival.size_bytes,
            file_sha256=arrival.sha256.hex(),
            received_at=format_time(now),
            uploaded_by=key.fingerprint,
            receipt_no=receipt.receipt_no,
            ask_after=receipt.ask_after_seconds,
            receipt=sign_text(render_receipt(receipt), self._keyring.result, signing_time=now),
            due_at=now.timestamp() + seconds,
        )
        tx.add_report(report)
        tx.add_event(digest, now, "received", receipt.receipt_no)
        self._supersede(tx, report, now)
        tx.line_up(header.taxpayer_id, now.timestamp())
        return Taken(report.receipt, new=True)

    def _supersede(self, tx: Transaction, new: Report, now: datetime) -> None:
        """Let the newest copy of a card count, in whatever order the copies arrived (JUDGE-14).

        A card holds one uncleared copy at a time. So what had not succeeded when the card copied again can no longer
        clear; and a success for the same period has not cleared, or the card could not have copied that period again.
        A copy that was sealed anew (to another key of the bureau) has the same sequence: the later upload counts.
        """
        for other in tx.reports_of_card(new.header.card_no):
            if other.digest == new.digest:
                continue
            older, newer = (other, new) if other.header.sequence <= new.header.sequence else (new, other)
            again = older.header.kind == newer.header.kind == "period" and older.header.period == newer.header.period
            if older.state in _UNDECIDED or (older.state is BureauState.SUCCEEDED and again):
                moved = tx.move(older, BureauEvent.SUPERSEDED)
                tx.add_event(older.digest, now, "superseded", newer.digest)
                finding = Finding(SUPERSEDED, "该卡已重新抄税，本报告作废；请使用最近一次抄税的报告")
                self._fail(tx, moved, finding, now)
                if older is new:
                    return

    # --- judging ---------------------------------------------------------------------------------------------------

    def judge_next(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Judge the report whose turn it is, if one is due; return whether there was one.

        Args:
            stopped: Asked while a report is read, which may take a minute: if it says so, the report stays due.
        """
        with self._store.write() as tx:
            claim = tx.claim(self._worker, self.lease_clock(), _LEASE_SECONDS)
        return claim is not None and self.judge(claim, stopped)

    def judge_all(self) -> int:
        """Judge everything that is due; return how many there were."""
        done = 0
        while self.judge_next():
            done += 1
        return done

    def judge(self, claim: Claim, stopped: Callable[[], bool]) -> bool:
        """Judge a claimed report and give it back; what another worker has taken over meanwhile is left alone.

        Args:
            claim: The report, which this worker has for a while.
            stopped: Asked while the report is read: if it says so, the report is given back and stays due.

        Returns:
            Whether it was looked at.
        """
        now = self._clock.now()
        report = claimed(claim)
        examination: Examination | None = None
        trouble = ""
        done = True
        try:
            if report.state is BureauState.STORED:
                examination = report.examination or self._examine(report, now, stopped)
        except _Stopped:
            done = False
        except OSError as error:
            # The bureau's own disk, so no answer about the report: it waits until the office works again.
            trouble = clean_value(str(error))
        with self._store.write() as tx:
            tx.hold(report.header.taxpayer_id)
            if not tx.give_back(claim):
                return True
            present = tx.report(report.digest)
            assert present is not None, "reports are never forgotten"
            if trouble:
                tx.postpone(report.digest, now.timestamp() + _RETRY_SECONDS)
                tx.add_event(report.digest, now, "postponed", trouble)
            elif examination is not None and present.state is BureauState.STORED and present.round == report.round:
                self._decide(tx, present, examination)
            if done:
                tx.line_up(report.header.taxpayer_id, self._clock.now().timestamp())
        return done

    def lease_clock(self) -> float | None:
        """Return the present for leases; None for the database's clock, where several machines share one."""
        return None if self._store.database.is_server else self._clock.now().timestamp()

    def _examine(self, report: Report, now: datetime, stopped: Callable[[], bool]) -> Examination:
        """Open a report and read it once; what is wrong with it is part of the answer."""
        openers = self._keyring.openers(now)
        # A key that was renewed opens reports for a while: the first one to which the report is sealed does it.
        for opener in openers[:-1]:
            examination = self._examine_with(opener, report, now, stopped)
            if examination is not None:
                return examination
        examination = self._examine_with(openers[-1], report, now, stopped)
        return examination or Examination(fault="envelope", reason=ReportNotForUs().text.zh)

    def _examine_with(
        self, opener: Decrypter, report: Report, now: datetime, stopped: Callable[[], bool]
    ) -> Examination | None:
        """Examine a report with one key; None if it is not sealed to that one."""
        with self._spool.path(report.digest).open("rb") as file:
            try:
                with open_report(file, self._keyring.store, opener, at=now) as opened:
                    reading = read_content(opened.proven.header, _until(stopped, opened.rows()))
            except ReportNotForUs:
                return None
            except ReportContentInvalid as error:
                return Examination(fault="content", reason=clean_value(error.text.zh), code=error.code)
            except ReportInvalid as error:
                return Examination(fault="envelope", reason=clean_value(error.text.zh))
            except TrustError as error:
                return Examination(fault="signature", reason=clean_value(error.text.zh))
        return Examination(differences=reading.differences, collected=reading.collected)

    def _facts(self, tx: Transaction, report: Report, examination: Examination) -> Facts:
        header = report.header
        card = tx.card(header.card_no)
        others = [o for o in reported(tx, header.taxpayer_id, header.period) if o.digest != report.digest]
        return Facts(
            header=header,
            signer=report.signer,
            signed_on=report.signed_on,
            enrolled=bool(tx.enrolled_keys(header.taxpayer_id)),
            card=card.on_file if card is not None else None,
            examination=examination,
            declaration=tx.declaration(header.taxpayer_id, header.period),
            expected=expected_machines(tx, header.taxpayer_id),
            reported=frozenset({header.machine_no, *(other.header.machine_no for other in others)}),
            collected=_sum_up(e for e in (examination, *(o.examination for o in others)) if e is not None),
        )

    def _decide(self, tx: Transaction, report: Report, examination: Examination) -> None:
        now = self._clock.now()
        judged = order.judge(self._facts(tx, report, examination))
        name, finding = judged if judged is not None else ("", None)
        counted = name not in order.ABOUT_THE_FILE
        # What a repair at the bureau may change (a lost key, an unknown root) is looked at again next time.
        settled = examination.fault in ("", "content")
        tx.keep_judgement(report.digest, counted=counted, examination=examination if settled else None)
        if finding is None:
            self._succeed(tx, tx.move(report, BureauEvent.SUCCESS), now)
        else:
            event = BureauEvent.MACHINES_MISSING if finding.code == machines_complete.CODE else BureauEvent.FAILURE
            self._fail(tx, tx.move(report, event), finding, now)
        if finding is None or name == "cross_check":
            self._wake_others(tx, report, now, compared=finding is None)

    def _wake_others(self, tx: Transaction, report: Report, now: datetime, *, compared: bool) -> None:
        """Have the machines that came first judged again at once, now that the last one is there (JUDGE-12).

        Args:
            tx: The transaction of the decision.
            report: The one that was decided.
            now: The moment of the decision.
            compared: The comparison succeeded: those that failed it before are judged again too.
        """
        if report.header.kind != "period":
            return
        for other in tx.reports_of_period(report.header.taxpayer_id, report.header.period):
            if other.digest == report.digest or other.header.kind != "period":
                continue
            failed_it = compared and other.state is BureauState.FAILED and other.code == "271D"
            if other.state is BureauState.WAITING or failed_it:
                self._reopen(tx, other, now, due=now.timestamp(), why="machines-complete")

    def _reopen(self, tx: Transaction, report: Report, now: datetime, *, due: float, why: str) -> Report:
        tx.add_event(report.digest, now, "reopened", why)
        return tx.move(report, BureauEvent.REOPEN, due_at=due)

    # --- answering -------------------------------------------------------------------------------------------------

    def _succeed(self, tx: Transaction, report: Report, now: datetime, *, by_hand: bool = False) -> None:
        header = report.header
        card = tx.card(header.card_no)
        assert card is not None, "no unregistered card succeeds"
        present = Authority(card.on_file.lock_date, card.next_period_start, card.upload_deadline)
        days = after_success(header, present, now.date(), self._filing_day)
        tx.set_authority(header.card_no, days)
        doubt = self._calendar.doubt(days.lock_date)
        result = Result(
            name=header.name,
            card_no=header.card_no,
            report_digest=ReportDigest(report.digest),
            nonce=Nonce(header.nonce),
            receipt_no=report.receipt_no,
            result_no=_next_result_no(tx, header.card_no),
            last_acknowledged=card.last_acknowledged,
            outcome="success",
            code="",
            message=doubt.zh if doubt is not None else "",
            bureau_time=now,
            lock_date=days.lock_date,
            next_period_start=days.next_period_start,
            upload_deadline=days.upload_deadline,
            offline_hours=card.offline_hours,
            offline_limits=card.offline_limits,
        )
        self._keep(tx, result, by_hand=by_hand)

    def _fail(self, tx: Transaction, report: Report, finding: Finding, now: datetime, *, by_hand: bool = False) -> None:
        header = report.header
        card = tx.card(header.card_no)
        result = Result(
            name=header.name,
            card_no=header.card_no,
            report_digest=ReportDigest(report.digest),
            nonce=Nonce(header.nonce),
            receipt_no=report.receipt_no,
            result_no=_next_result_no(tx, header.card_no),
            last_acknowledged=card.last_acknowledged if card is not None else None,
            outcome="failure",
            code=finding.code,
            message=clean_value(finding.message, limit=MAX_MESSAGE),
            bureau_time=now,
        )
        self._keep(tx, result, field_code=finding.field_code, by_hand=by_hand)

    def _keep(self, tx: Transaction, result: Result, *, field_code: str = "", by_hand: bool, what: str = "") -> None:
        body = render_result(result)
        tx.add_result(
            StoredResult(
                card_no=result.card_no,
                result_no=result.result_no,
                digest=result.report_digest,
                outcome=result.outcome,
                code=result.code,
                field_code=field_code,
                message=result.message,
                decided_at=format_time(result.bureau_time),
                by_hand=by_hand,
                body_sha256=hashlib.sha256(body).hexdigest(),
                text=sign_text(body, self._keyring.result, signing_time=result.bureau_time),
            )
        )
        detail = f"{result.result_no} {result.code}".strip() + (" (by hand)" if by_hand else "")
        tx.add_event(result.report_digest, result.bureau_time, what or result.outcome, detail)

    def status(self, key: StationKey, digest: str) -> ReportStatus:
        """Return where a report stands.

        Raises:
            Refusal: Never received, or another taxpayer's.
        """
        now = self._clock.now().timestamp()
        # The upload first: between it and the report's row there is no moment at which the bureau knows of neither.
        partial = self._parts.find(key.taxpayer_id, digest, now)
        with self._store.read() as tx:
            report = _report_on_file(tx, key, digest)
            mine = 0 if report is None else self._ahead(tx, report, now)
        if report is None:
            if partial is None:
                raise _unknown_report()
            return self._status_of_upload(partial)
        due = report.state is BureauState.STORED
        state: ReportStateText = "processing" if due and (report.due_at or now) <= now else _STATES[report.state]
        return ReportStatus(
            report_digest=digest,
            state=state,
            offset=report.size_bytes,
            receipt_no=report.receipt_no,
            ask_after_seconds=self._seconds_until(report, now, mine) if due else 0,
            code=report.code,
            message=report.message,
        )

    def _status_of_upload(self, partial: Partial) -> ReportStatus:
        proving = (partial.taxpayer_id, partial.digest) in self._proving
        return ReportStatus(
            report_digest=partial.digest,
            state="receiving" if proving else "partial",
            offset=partial.offset if proving or self._is_there(partial) else 0,
            ask_after_seconds=_PROVING_SECONDS if proving else 0,
        )

    def answer(self, key: StationKey, digest: str) -> Answer:
        """Return a report's newest result, or when to ask again.

        Raises:
            Refusal: Never received, or another taxpayer's.
        """
        with self._store.read() as tx:
            report = _report_for(tx, key, digest)
            now = self._clock.now().timestamp()
            if report.state is not BureauState.STORED:
                return Answer(tx.results(digest)[-1].text)
            mine = self._ahead(tx, report, now)
        return Answer(None, self._seconds_until(report, now, mine))

    def _ahead(self, tx: Transaction, report: Report, now: float) -> int:
        """Return how many reports of its own taxpayer a report stands behind at most."""
        if report.state is not BureauState.STORED or (report.due_at or now) > now:
            return 0
        return max(0, tx.in_line_of(report.header.taxpayer_id, report.due_at or now) - 1)

    def _seconds_until(self, report: Report, now: float, mine: int) -> int:
        """Return after how many seconds it makes sense to ask: when it may be judged, and then its place in the queue."""
        line, pace = self.queue()
        wait = seconds_until_judged(line, pace, mine)
        return max(1, math.ceil(max(0.0, (report.due_at or now) - now) + wait))

    def receipt(self, key: StationKey, digest: str) -> bytes:
        """Return the receipt of a report, the same octets as at its upload.

        Raises:
            Refusal: Never received, or another taxpayer's.
        """
        with self._store.read() as tx:
            return _report_for(tx, key, digest).receipt

    def standing(self, key: StationKey, taxpayer_id: str, period: str) -> Standing:
        """Return a taxpayer's month, also to a key that is not on file: it asks in order to find that out (GW-10).

        Raises:
            Refusal: Another taxpayer's.
        """
        now = self._clock.now()
        with self._store.read() as tx:
            _check_entitled(tx, key, taxpayer_id)
            cards = tx.cards(taxpayer_id)
            keys = tx.enrolled_keys(taxpayer_id)
            return Standing(
                taxpayer_id=taxpayer_id,
                period=period,
                enrolled=bool(keys),
                declared=tx.declaration(taxpayer_id, period) is not None,
                machines_expected=tuple(sorted(expected_machines(tx, taxpayer_id))),
                machines_reported=tuple(sorted({r.header.machine_no for r in reported(tx, taxpayer_id, period)})),
                key_fingerprints=tuple(key.fingerprint for key in keys)[:64],
                lock_date=cards[0].on_file.lock_date.isoformat() if cards else "",
                upload_deadline=self._deadline(period),
                bureau_time=format_time(now),
            )

    def _deadline(self, period: str) -> str:
        year, month = int(period[:4]), int(period[5:])
        return self._filing_day(month_text(next_month(date(year, month, 1)))).isoformat() if year < 9999 else ""

    # --- closing ---------------------------------------------------------------------------------------------------

    def acknowledge(self, key: StationKey, digest: str, data: bytes) -> None:
        """Take a clear receipt: the card was cleared, the report is closed (JUDGE-17).

        Raises:
            Refusal: It is not the receipt of this report's success. Nothing has changed.
        """
        now = self._clock.now()
        with self._store.read() as tx:
            report = _report_for(tx, key, digest)
        ack = self._prove_ack(report, data, now)
        with self._store.write() as tx:
            tx.hold(report.header.taxpayer_id)
            report = _report_for(tx, key, digest)
            if not any(_cleared_with(result, ack) for result in tx.results(digest)):
                raise Refusal(
                    Kind.NOT_SUCCEEDED,
                    Text("清卡回执不对应本报告的报税成功结果", "it does not belong to a success of this report"),
                )
            if tx.ack(digest) is not None:
                return
            tx.add_ack(digest, ack.result_no, data, now)
            tx.set_last_acknowledged(ack.card_no, ack.result_no)
            tx.add_event(digest, now, "acknowledged", str(ack.result_no))
            # A receipt for a success that a newer copy superseded says that the card cleared all the same.
            if allowed(BUREAU, report.state, BureauEvent.ACKNOWLEDGED):
                tx.move(report, BureauEvent.ACKNOWLEDGED)

    def _prove_ack(self, report: Report, data: bytes, now: datetime) -> Ack:
        try:
            proven = prove_ack(data, self._keyring.store, at=now)
        except (AckInvalid, TrustError) as error:
            code = "2734" if error.field_code else error.code
            raise Refusal(
                Kind.ACK_INVALID, error.text, code=code, field_code=error.field_code, error=error.code
            ) from error
        ack = proven.ack
        if (ack.report_digest, ack.card_no, ack.name) != (report.digest, report.header.card_no, report.header.name):
            raise Refusal(
                Kind.ACK_INVALID,
                Text(
                    f"这是另一份报告的清卡回执：{ack.name.in_words.zh}",
                    f"it is the clear receipt of another report: {ack.name.in_words.en}",
                ),
            )
        return ack

    # --- what people do at the bureau --------------------------------------------------------------------------------

    def declare(
        self, taxpayer_id: str, period: str, declaration: Declaration, by: By = PROGRAM
    ) -> tuple[int, tuple[str, ...]]:
        """Take a declaration; reports that failed for want of it are judged again by themselves (JUDGE-13).

        Returns:
            The declaration's version, and the digests of those reports.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            tx.hold(taxpayer_id)
            version = tx.add_declaration(taxpayer_id, period, declaration, now)
            due = now.timestamp() + self._processing_seconds(tx)
            again = [
                report
                for report in tx.reports(taxpayer_id=taxpayer_id, period=period)
                if report.state is BureauState.FAILED and report.code == "271D"
            ]
            for report in again:
                self._reopen(tx, report, now, due=due, why=f"declaration {version}")
            tx.line_up(taxpayer_id, now.timestamp())
            self._book.write(
                tx,
                by,
                "declare",
                taxpayer_id,
                period=period,
                version=version,
                declared=declared_text(declaration),
                judged_again=len(again),
            )
        return version, tuple(report.digest for report in again)

    def reconsider(self, taxpayer_id: str) -> tuple[str, ...]:
        """Have judged again what hung on the register, after an enrolment or a change of cards (JUDGE-13).

        That are the taxpayer's reports that failed for want of an enrolment or of a known card, and those that wait for
        a machine that may be expected no longer.

        Returns:
            Their digests.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            tx.hold(taxpayer_id)
            again = [
                report
                for report in tx.reports(taxpayer_id=taxpayer_id)
                if report.state is BureauState.WAITING
                or (report.state is BureauState.FAILED and _hangs_on_the_register(report))
            ]
            for report in again:
                self._reopen(tx, report, now, due=now.timestamp() + _processing_seconds(tx), why="register")
            tx.line_up(taxpayer_id, now.timestamp())
        return tuple(report.digest for report in again)

    def decide(
        self, digest: str, outcome: Outcome, *, code: str = "", message: str = "", by: By = PROGRAM
    ) -> StoredResult:
        """Decide a report by hand, whatever the checks say or would say.

        Raises:
            NotFound: No such report.
            WrongState: It is closed, superseded or has its success; or its card is not registered. Nothing changed.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            report = _open_report_of(tx, digest)
            if report.state is not BureauState.STORED:
                report = self._reopen(tx, report, now, due=now.timestamp(), why="by hand")
            if outcome == "success":
                if tx.card(report.header.card_no) is None:
                    raise WrongState(
                        reason=Text("该卡没有登记", "its card is not registered"),
                        next_action=Text("先发行金税卡", "issue the card first"),
                    )
                tx.keep_judgement(digest, counted=True, examination=report.examination)
                self._succeed(tx, tx.move(report, BureauEvent.SUCCESS), now, by_hand=True)
            else:
                moved = tx.move(report, BureauEvent.FAILURE)
                self._fail(tx, moved, Finding(code, message), now, by_hand=True)
            tx.line_up(report.header.taxpayer_id, now.timestamp())
            result = tx.results(digest)[-1]
            self._book.write(
                tx, by, "decide", digest, outcome=outcome, code=code, message=result.message, result_no=result.result_no
            )
            return result

    def reissue(self, digest: str, by: By = PROGRAM) -> StoredResult:
        """Sign a report's newest decision anew, under the next number (JUDGE-18).

        The decision stays what it was, its days included. Needed when the signed file is lost, or when the key that
        signed it is no longer to be believed.

        Raises:
            NotFound: No such report.
            WrongState: It has no decision to be issued again: it is to be judged, or its card was cleared. Nothing
                changed.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            report = tx.report(digest)
            if report is not None:
                tx.hold(report.header.taxpayer_id)
                report = tx.report(digest)
            if report is None:
                raise NotFound(what=digest)
            results = tx.results(digest)
            if report.state in (BureauState.STORED, BureauState.CLOSED) or not results:
                closed = report.state is BureauState.CLOSED
                raise WrongState(
                    reason=Text("该卡已经清卡", "its card was cleared")
                    if closed
                    else Text("这份报告还没有结果", "it has no result yet"),
                    next_action=Text("无需操作", "nothing to do")
                    if closed
                    else Text("等待审核", "wait for its judgement"),
                )
            old = results[-1]
            decided = parse_result(old.text.split(_SIGNATURE, 1)[0])
            card = tx.card(report.header.card_no)
            again = replace(
                decided,
                result_no=_next_result_no(tx, report.header.card_no),
                last_acknowledged=card.last_acknowledged if card is not None else None,
                bureau_time=now,
            )
            self._keep(tx, again, field_code=old.field_code, by_hand=old.by_hand, what="reissued")
            self._book.write(
                tx, by, "reissue", digest, outcome=old.outcome, code=old.code, old=old.result_no, new=again.result_no
            )
            return tx.results(digest)[-1]

    def judge_again(self, digest: str, by: By = PROGRAM) -> None:
        """Have a waiting or failed report judged again now, after a repair at the bureau.

        Raises:
            NotFound: No such report.
            WrongState: It is closed, superseded or has its success. Nothing changed.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            report = _open_report_of(tx, digest)
            if report.state is not BureauState.STORED:
                self._reopen(tx, report, now, due=now.timestamp(), why="by hand")
                tx.line_up(report.header.taxpayer_id, now.timestamp())
            self._book.write(tx, by, "rejudge", digest, code=report.code)


class _Stopped(Exception):
    """The office closes while a report is being read."""


def _until(stopped: Callable[[], bool], rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    for row in rows:
        if stopped():
            raise _Stopped
        yield row


_STATES: Final[Mapping[BureauState, ReportStateText]] = {
    BureauState.STORED: "stored",
    BureauState.WAITING: "waiting",
    BureauState.FAILED: "failed",
    BureauState.SUPERSEDED: "failed",
    BureauState.SUCCEEDED: "succeeded",
    BureauState.CLOSED: "closed",
}


def reported(tx: Transaction, taxpayer_id: str, period: str) -> list[Report]:
    """Return the period reports that count for their machines: good files that no newer copy superseded."""
    return [
        report
        for report in tx.reports_of_period(taxpayer_id, period)
        if report.counted and report.header.kind == "period" and report.state is not BureauState.SUPERSEDED
    ]


def expected_machines(tx: Transaction, taxpayer_id: str) -> frozenset[int]:
    """Return the machines of a taxpayer that have to report for a period."""
    cards = tx.cards(taxpayer_id)
    main = next((card for card in cards if card.on_file.machine_no == 0), None)
    numbers = [card.on_file.machine_no for card in cards]
    return machines_complete.expected(numbers, main.sub_machines if main is not None else None)


def resendable(report: Report) -> bool:
    """Return whether the same bytes may be sent again after this report's failure; the fault catalogue says which."""
    return find(report.code, f"{report.message} {report.field_code}").resend is Resend.SAME_BYTES


def declared_text(declaration: Declaration) -> str:
    """Return a declaration in one line: `004 100.00+13.00`, or `matching`."""
    if declaration.matching:
        return "matching"
    found = sorted(declaration.figures.items())
    return " ".join(f"{kind} {format_fen(sums.amount)}+{format_fen(sums.tax)}" for kind, sums in found) or "nothing"


def _open_report_of(tx: Transaction, digest: str) -> Report:
    report = tx.report(digest)
    if report is not None:
        tx.hold(report.header.taxpayer_id)
        report = tx.report(digest)
    if report is None:
        raise NotFound(what=digest)
    if report.state not in _UNDECIDED:
        raise WrongState(
            reason=Text(f"报告的状态是 {report.state.value}", f"the report is {report.state.value}"),
            next_action=Text("无需操作", "nothing to do"),
        )
    return report


def _hangs_on_the_register(report: Report) -> bool:
    return report.code == enrolled.CODE or report.field_code == card_known.FIELD_CODE


def _processing_seconds(tx: Transaction) -> float:
    return float(tx.setting(_PROCESSING_SETTING) or _DEFAULT_PROCESSING_SECONDS)


def _next_result_no(tx: Transaction, card_no: str) -> int:
    return tx.next_number(f"result {card_no}")


def _sum_up(examinations: Iterable[Examination]) -> dict[str, Figures]:
    total: dict[str, Figures] = {}
    for examination in examinations:
        for kind, figures in examination.collected.items():
            total[kind] = total.get(kind, Figures()) + figures
    return total


def _sequence_taken(tx: Transaction, header: PublicHeader) -> bool:
    """Return whether another report of this copy is on file that the bureau could open (JUDGE-15).

    One that was sealed to a wrong key is no other version of the figures: nobody has read it, and the card seals the
    same copy again.
    """
    return any(
        not any(result.field_code == envelope_opened.FIELD_CODE for result in tx.results(other.digest))
        for other in tx.reports_of_card(header.card_no)
        if other.header.sequence == header.sequence
    )


def _cleared_with(result: StoredResult, ack: Ack) -> bool:
    return (result.outcome, result.result_no, result.body_sha256) == ("success", ack.result_no, ack.result_sha256)


def _check_on_file(tx: Transaction, key: StationKey) -> None:
    """Check that reports may come and go under this key."""
    present = tx.station_key(key.fingerprint)
    if present is not None and present.enrolled:
        return
    if not tx.enrolled_keys(key.taxpayer_id):
        raise _not_enrolled()
    raise Refusal(
        Kind.KEY_NOT_ON_FILE,
        Text(
            "验证签名失败：所用的U棒不是开户登记的那一个",
            "the signature does not verify: the key in use is not the one on file",
        ),
        code="2734",
        field_code="0x8204000D",
    )


def _not_enrolled() -> Refusal:
    return Refusal(Kind.NOT_ENROLLED, Text("企业未开户或开户不成功", "the taxpayer is not enrolled"), code="2735")


def _check_entitled(tx: Transaction, key: StationKey, taxpayer_id: str) -> None:
    if key.taxpayer_id != taxpayer_id and not tx.is_delegate(taxpayer_id, key.taxpayer_id):
        raise Refusal(
            Kind.NOT_YOURS,
            Text("不是本纳税人的，也没有登记代理关系", "it is another taxpayer's, and no delegation is on file"),
        )


def _report_on_file(tx: Transaction, key: StationKey, digest: str) -> Report | None:
    """Return a report that may come and go under a key, or None if it was never received."""
    _check_on_file(tx, key)
    report = tx.report(digest)
    if report is not None:
        _check_entitled(tx, key, report.header.taxpayer_id)
    return report


def _report_for(tx: Transaction, key: StationKey, digest: str) -> Report:
    report = _report_on_file(tx, key, digest)
    if report is None:
        raise _unknown_report()
    return report


def _unknown_report() -> Refusal:
    return Refusal(Kind.UNKNOWN_REPORT, Text("税局没有收到过这份报告", "this report was never received"))


def _not_at_offset(offset: int) -> Refusal:
    return Refusal(
        Kind.PART_OFFSET,
        Text(f"税局已有 {offset} 字节，请从该处继续", f"the bureau holds {offset} bytes: go on from there"),
        offset=offset,
    )
